"""Partial files of killed writers never become part of the next file."""

import fcntl
import os
import struct
import threading
import time

import numpy as np
import pytest

from vol2vol.geometry import Box
from vol2vol.volumes import build_pyramid, create_volume, leftovers, open_volume
from vol2vol.volumes.formats.store import exchange_key, read_key, write_key

ARRAY = np.random.default_rng(0).integers(0, 9, (2, 40, 20, 24), np.uint8)
JUNK = b"junk" * 50_000


def test_keys_and_claims(tmp_path):
    for n, write in enumerate((write_key, lambda *where: exchange_key(*where, expected=None))):
        (tmp_path / f"{n}.__lock").write_bytes(JUNK)
        write(str(tmp_path), f"{n}", b"short")
        assert read_key(str(tmp_path), f"{n}") == b"short"


@pytest.mark.parametrize(("version", "shards"), [("0.5", (32, 32, 32)), ("0.5", None), ("0.4", None)])
def test_every_file_of_an_image_is_found(version, shards, tmp_path):
    """Written twice, over leftovers of all its shards, an image has the same bytes."""
    out = tmp_path / "a.zarr"
    volume = create_volume(
        out,
        shape=ARRAY.shape,
        dtype="u1",
        voxel_size=(1, 1, 1),
        unit="nm",
        chunks=(16, 16, 16),
        shards=shards,
        version=version,
    )
    volume.write(Box.of(volume.spatial), ARRAY)
    build_pyramid(str(out))
    files = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    for path in files:
        path.with_name(f"{path.name}.__lock").write_bytes(JUNK)
    volume.write(Box.of(volume.spatial), ARRAY)
    build_pyramid(str(out))
    left = {path.name for path in out.rglob("*.__lock")}
    assert left <= {".zgroup.__lock"} | {f"{name}.__lock" for name in ("zarr.json", ".zarray")}  # level 0's own
    assert {path: path.read_bytes() for path in files} == files


def test_shards_and_attributes_over_leftovers(tmp_path):
    out = tmp_path / "a.zarr"
    volume = create_volume(
        out, shape=(1, 40, 20, 24), dtype="u1", voxel_size=(1, 1, 1), unit="nm", chunks=(16,) * 3, shards=(32,) * 3
    )
    for key in ("0/c/0/0/0", "0/c/1/0/0", "zarr.json"):
        path = out / f"{key}.__lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JUNK)
    volume.write(Box.of((40, 20, 24)), ARRAY[:1])
    volume.set_attrs({"note": 1})
    again = open_volume(out)
    np.testing.assert_array_equal(again.read(Box.of((40, 20, 24))), ARRAY[:1])
    assert again.attrs == {"note": 1}
    assert not list(out.rglob("*.__lock"))


def test_a_living_writer_is_left_alone_and_waited_for(tmp_path):
    path = tmp_path / "a.__lock"
    with path.open("wb") as file:
        file.write(JUNK)
        file.flush()
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        thread = threading.Thread(target=write_key, args=(str(tmp_path), "a", b"later"))
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
        assert path.stat().st_size == len(JUNK)
        path.rename(tmp_path / "a")
    thread.join(100)
    assert read_key(str(tmp_path), "a") == b"later"


def test_many_writers_of_one_key_never_leave_it_empty(tmp_path):
    values = {b"%d" % n * (1 + 500 * n) for n in range(4)}
    seen = set()

    def write(value):
        for _ in range(60):
            write_key(str(tmp_path), "a", value)
            seen.add(read_key(str(tmp_path), "a"))

    threads = [threading.Thread(target=write, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= values


def test_a_writer_that_is_quicker_keeps_what_it_wrote(tmp_path, monkeypatch):
    lock = tmp_path / "a.__lock"
    lock.write_bytes(b"whole")

    def renamed_meanwhile(file):
        lock.rename(tmp_path / "a")
        return True

    monkeypatch.setattr(leftovers, "_locked", renamed_meanwhile)
    leftovers.empty_leftovers(str(tmp_path), ["a"])
    assert (tmp_path / "a").read_bytes() == b"whole"
