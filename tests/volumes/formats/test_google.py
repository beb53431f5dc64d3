"""Google Cloud Storage, through a server with its JSON interface on this machine."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

from vol2vol.errors import AlreadyExists, NotFound
from vol2vol.geometry import Box, grid
from vol2vol.volumes import build_pyramid, create_volume, open_volume
from vol2vol.volumes.formats.store import exchange_key

ARRAY = np.random.default_rng(6).integers(0, 255, (1, 40, 20, 24), np.uint8)
WHOLE = Box.of(ARRAY.shape[1:])


class Bucket(BaseHTTPRequestHandler):
    """One bucket in memory: objects by name, each with the number of the request that wrote it."""

    held: dict[str, tuple[int, bytes]]
    count = 0

    def log_message(self, *_):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def about(self, name):
        version, body = self.held[name]
        return {"name": name, "bucket": "cells", "generation": str(version), "size": str(len(body))}

    def asked(self):
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        return unquote(parts.path.partition("/o/")[2]) or query.get("name", ""), query

    def do_GET(self):
        name, query = self.asked()
        if not name:
            low, high = query.get("startOffset", ""), query.get("endOffset", "\uffff")
            found = [self.about(key) for key in sorted(self.held) if low <= key < high]
            self.answer(200, json.dumps({"items": found}).encode(), Content_Type="application/json")
        elif name not in self.held:
            self.answer(404)
        elif query.get("alt") == "json":
            self.answer(200, json.dumps(self.about(name)).encode(), Content_Type="application/json")
        else:
            self.send_part(*self.held[name])

    def send_part(self, version, body):
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self.answer(200, body, x_goog_generation=str(version))
            return
        start = int(asked[1]) if asked[1] else len(body) - int(asked[2])
        stop = min(len(body), int(asked[2]) + 1) if asked[1] and asked[2] else len(body)
        span = f"bytes {start}-{stop - 1}/{len(body)}"
        self.answer(206, body[start:stop], x_goog_generation=str(version), Content_Range=span)

    def do_POST(self):
        name, query = self.asked()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if int(query.get("ifGenerationMatch", -1)) not in (-1, self.held.get(name, (0, b""))[0]):
            self.answer(412)
            return
        Bucket.count += 1
        self.held[name] = (Bucket.count, body)
        self.answer(200, json.dumps(self.about(name)).encode(), Content_Type="application/json")

    def do_DELETE(self):
        self.answer(204 if self.held.pop(self.asked()[0], None) else 404)


@pytest.fixture
def bucket(monkeypatch):
    Bucket.held = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
    yield "gs://cells"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_volume_is_written_read_and_replaced(bucket):
    where = f"{bucket}/deep/a.zarr"
    for number in range(2):
        about = {"voxel_size": (8, 4, 4), "unit": "nm", "chunks": (16, 16, 16), "shards": (32, 32, 32)}
        volume = create_volume(where, shape=ARRAY.shape, dtype="u1", overwrite=number > 0, **about)
        for box in grid(WHOLE, volume.shards[1:]):
            volume.write(box, ARRAY[(slice(None), *box.slices)])
        volume.set_attrs({"number": number})
    assert build_pyramid(where) == 4
    volume = open_volume(where)
    np.testing.assert_array_equal(volume.read(WHOLE), ARRAY)
    assert (volume.attrs, volume.voxel_size) == ({"number": 1}, (8, 4, 4))
    assert open_volume(f"{where}/1").voxel_size == (8, 8, 8)
    before = volume.fingerprint()
    volume.write(Box((0, 0, 0), (32, 20, 24)), ARRAY[:, :32] + 1)
    assert open_volume(where).fingerprint() != before
    with pytest.raises(AlreadyExists, match="`overwrite`"):
        create_volume(where, shape=ARRAY.shape, dtype="u1", voxel_size=(8, 4, 4), unit="nm")
    with pytest.raises(NotFound, match="holds no Zarr or N5"):
        open_volume(f"{bucket}/nothing.zarr")
    claims = [
        exchange_key(bucket, "claim", text, expected=old) for text, old in ((b"a", None), (b"b", None), (b"b", b"a"))
    ]
    assert claims == [True, False, True]
