"""Volumes on S3 and HTTP servers of this machine."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import zarr

from vol2vol.errors import AlreadyExists, BadInput, CannotWrite, NotFound, Unreadable
from vol2vol.geometry import Box, grid
from vol2vol.volumes import build_pyramid, create_volume, open_volume

ARRAY = np.random.default_rng(6).integers(0, 255, (1, 40, 20, 24), np.uint8)
WHOLE = Box.of(ARRAY.shape[1:])


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket(monkeypatch):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="cells", ACL="public-read-write")
    yield "s3://cells"
    server.stop()


def write_all(location, **options):
    volume = create_volume(
        location, shape=ARRAY.shape, dtype="u1", voxel_size=(8, 4, 4), unit="nm", attrs={"k": 1}, **options
    )
    for box in grid(WHOLE, volume.shards[1:]):
        volume.write(box, ARRAY[(slice(None), *box.slices)])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_http(tmp_path, web, version):
    write_all(tmp_path / "a b.zarr", chunks=(16, 16, 16), version=version)
    for address in (f"{web}/a%20b.zarr", f"{web}/a%20b.zarr/"):
        volume = open_volume(address)
        assert (volume.voxel_size, volume.unit, volume.attrs) == ((8, 4, 4), "nanometer", {"k": 1})
        np.testing.assert_array_equal(volume.read(WHOLE), ARRAY)
    assert open_volume(f"{web}/a%20b.zarr/0").voxel_size == (8, 4, 4)
    with pytest.raises(CannotWrite):
        volume.write(WHOLE, ARRAY)
    with pytest.raises(BadInput, match="cannot be written"):
        create_volume(f"{web}/new.zarr", shape=ARRAY.shape, dtype="u1", voxel_size=(1, 1, 1), unit="nm")


def test_http_groups_need_a_name_or_a_list(tmp_path, web):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("raw", shape=(4, 5, 6), dtype="u1", chunks=(2, 5, 6))[...] = 7
    assert open_volume(f"{web}/a.zarr/raw", voxel_size=(1, 1, 1)).read(Box.of((4, 5, 6))).min() == 7
    with pytest.raises(BadInput, match=r"name one of them, such as http"):
        open_volume(f"{web}/a.zarr")
    with pytest.warns(zarr.errors.ZarrUserWarning):
        zarr.consolidate_metadata(tmp_path / "a.zarr")
    assert open_volume(f"{web}/a.zarr", voxel_size=(1, 1, 1)).spatial == (4, 5, 6)


def test_http_mistakes(web):
    with pytest.raises(NotFound, match="holds no Zarr or N5: download files of other formats, or check the address"):
        open_volume(f"{web}/nothing.zarr")
    with pytest.raises(Unreadable, match="cannot be read"):
        open_volume("http://127.0.0.1:9/a.zarr")


def test_s3_write_read_overwrite(bucket):
    where = f"{bucket}/deep/down/a.zarr"
    write_all(where, chunks=(16, 16, 16), shards=(32, 32, 32))
    assert build_pyramid(where) == 4
    volume = open_volume(where)
    np.testing.assert_array_equal(volume.read(WHOLE), ARRAY)
    assert open_volume(f"{where}/1").voxel_size == open_volume(where, level=1).voxel_size == (8, 8, 8)
    volume.set_attrs({"more": 2})
    assert open_volume(where).attrs == {"k": 1, "more": 2}
    with pytest.raises(AlreadyExists, match="`overwrite`"):
        write_all(where)
    write_all(where, overwrite=True)
    assert len(open_volume(where).describe()["levels"]) == 1
    with pytest.raises(NotFound, match="AWS_ENDPOINT_URL"):
        open_volume(f"{bucket}/nothing.zarr")


def test_s3_without_credentials_is_anonymous(bucket, monkeypatch, tmp_path):
    write_all(f"{bucket}/a.zarr")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    from vol2vol.volumes.formats import store

    store._keys.cache_clear()
    np.testing.assert_array_equal(open_volume(f"{bucket}/a.zarr").read(WHOLE), ARRAY)
