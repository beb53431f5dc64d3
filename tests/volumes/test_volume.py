"""Volumes: reading, mirroring, fingerprints, pickling."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from vol2vol.errors import BadInput, CannotWrite
from vol2vol.geometry import Box
from vol2vol.volumes import Volume, create_volume, open_volume
from vol2vol.volumes.stored import Stored


def in_memory(array: np.ndarray, axes: str = "zyx", log: list | None = None) -> Volume:
    def read(slices):
        if log is not None:
            log.append(array[slices].shape)
        return array[slices]

    return Volume(
        Stored(
            path="memory",
            format="array",
            shape=array.shape,
            dtype=array.dtype,
            axes=axes,
            chunks=array.shape,
            read=read,
            stamp=lambda: 0,
        ),
        voxel_size=(1, 1, 1),
    )


sizes = st.tuples(*[st.integers(1, 6)] * 3)
overhang = st.tuples(*[st.integers(0, 20)] * 3)


@settings(deadline=None, max_examples=150)
@given(sizes, overhang, overhang)
def test_read_padded_mirrors_like_numpy(size, before, after):
    array = np.arange(np.prod(size), dtype=np.uint16).reshape(size)
    expected = array
    for axis in range(3):  # numpy takes a size-1 axis as edge, and repeated reflection as we do
        width = [(0, 0)] * 3
        width[axis] = (before[axis], after[axis])
        expected = np.pad(expected, width, mode="reflect" if size[axis] > 1 else "edge")
    got = in_memory(array).read_padded(Box.of(size).grow(before, after))
    np.testing.assert_array_equal(got[0], expected)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_read_padded_of_any_box_is_a_crop_of_the_mirrored_space(data):
    size = data.draw(sizes)
    array = np.random.default_rng(0).integers(0, 99, size)
    start = [data.draw(st.integers(-15, 15)) for _ in range(3)]
    shape = [data.draw(st.integers(1, 12)) for _ in range(3)]
    wide = in_memory(array).read_padded(Box((-15,) * 3, (27,) * 3))
    box = Box(tuple(start), tuple(a + n for a, n in zip(start, shape, strict=True)))
    there = box.relative_to((-15,) * 3).slices
    np.testing.assert_array_equal(in_memory(array).read_padded(box), wide[(slice(None), *there)])


def test_read_padded_reads_only_what_it_shows():
    log: list = []
    volume = in_memory(np.zeros((100, 100, 100), np.uint8), log=log)
    volume.read_padded(Box((-3, 40, 95), (5, 50, 103)))
    assert log == [(5, 10, 5)]  # x: 95..99, and 98..96 again as their mirror image


def test_read_gives_native_contiguous_arrays_of_the_dtype():
    volume = in_memory(np.arange(24, dtype=">i2").reshape(2, 3, 4), axes="xyz")
    block = volume.read(Box.of(volume.spatial))
    assert block.shape == (1, 4, 3, 2)
    assert block.dtype == np.dtype("<i2") or block.dtype.isnative
    assert block.flags.c_contiguous
    assert in_memory(np.ones((2, 3), bool), axes="yx").read(Box.of((1, 2, 3))).dtype == np.uint8
    assert volume.read(Box((0, 0, 0), (0, 2, 2))).shape == (1, 0, 2, 2)


def test_read_outside_the_volume_is_our_mistake():
    with pytest.raises(AssertionError):
        in_memory(np.zeros((4, 4, 4))).read(Box((0, 0, 0), (5, 4, 4)))


def test_complex_voxels_are_refused():
    with pytest.raises(BadInput, match="complex"):
        in_memory(np.zeros((4, 4, 4), complex))


def test_user_units_and_metadata_units_must_agree():
    stored = Stored(
        path="memory", format="array", shape=(2, 2, 2), dtype=np.dtype("u1"), axes="zyx", chunks=(2, 2, 2),
        voxel_size={"z": 0.04, "y": 0.004, "x": 0.004}, unit="micrometer", read=lambda s: np.zeros((2, 2, 2)),
        stamp=lambda: 0,
    )  # fmt: skip
    assert Volume(stored).unit == "micrometer"
    volume = Volume(stored, voxel_size=(40, 4, 4), unit="nm")
    assert (volume.voxel_size, volume.unit) == ((40, 4, 4), "nanometer")
    with pytest.raises(BadInput, match="is 40,4,4, not 50,4,4"):
        Volume(stored, voxel_size=(50, 4, 4), unit="nm")
    with pytest.raises(BadInput, match="leave out `unit`"):
        Volume(stored, unit="nm")


def _zarr(path, array):
    zarr.create_array(path, shape=array.shape, chunks=(8, 8, 8), dtype=array.dtype, overwrite=True)[:] = array


def _hdf5(path, array):
    with h5py.File(path, "w") as file:
        file["raw"] = array


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.zarr", _zarr), ("a.h5", _hdf5), ("a.tif", tifffile.imwrite)],
)
def test_fingerprints_notice_changes_and_nothing_else(tmp_path, name, write):
    array = np.random.default_rng(0).integers(0, 255, (20, 21, 22), np.uint8)
    write(tmp_path / name, array)
    first = open_volume(tmp_path / name, voxel_size=(1, 1, 1))
    print_1 = first.fingerprint()
    assert open_volume(tmp_path / name, voxel_size=(1, 1, 1)).fingerprint() == print_1
    assert open_volume(tmp_path / name, voxel_size=(2, 1, 1)).fingerprint() != print_1
    first.close()
    array[10, 10, 10] ^= 1
    write(tmp_path / name, array)
    assert open_volume(tmp_path / name, voxel_size=(1, 1, 1)).fingerprint() != print_1


def test_attributes_of_an_output_do_not_change_its_fingerprint(tmp_path):
    volume = create_volume(tmp_path / "a.zarr", shape=(1, 8, 8, 8), dtype="u1", voxel_size=(1, 1, 1), unit="nm")
    before = volume.fingerprint()
    volume.set_attrs({"note": "read me"})
    assert volume.fingerprint() == before


def _sum(volume):
    return int(volume.read(Box.of(volume.spatial)).sum())


def test_a_volume_travels_to_spawned_processes(tmp_path):
    array = np.arange(1000, dtype=np.uint16).reshape(10, 10, 10)
    _zarr(tmp_path / "a b.zarr", array)
    volume = open_volume(tmp_path / "a b.zarr", voxel_size=(3, 1, 1), unit="nm")
    again = pickle.loads(pickle.dumps(volume))
    assert (again.voxel_size, again.unit, _sum(again)) == (volume.voxel_size, volume.unit, array.sum())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_sum, [volume]) == [array.sum()]


def test_formats_that_are_only_read_say_so(tmp_path):
    _hdf5(tmp_path / "a.h5", np.zeros((4, 4, 4), np.uint8))
    volume = open_volume(tmp_path / "a.h5", voxel_size=(1, 1, 1))
    with pytest.raises(CannotWrite, match="cannot be written to"):
        volume.write(Box.of((4, 4, 4)), np.zeros((1, 4, 4, 4), np.uint8))
    with pytest.raises(CannotWrite):
        volume.set_attrs({"a": 1})


def _tiled(path, array):
    tifffile.imwrite(path, array, compression="zlib", tile=(16, 16), photometric="minisblack")


@pytest.mark.parametrize(
    ("name", "write"), [("a.zarr", _zarr), ("a.h5", _hdf5), ("a.tif", tifffile.imwrite), ("b.tif", _tiled)]
)
def test_threads_read_the_same_as_one(tmp_path, monkeypatch, name, write):
    monkeypatch.setattr("vol2vol.volumes.formats.segments.CACHE_BYTES", 4096)  # nearly every read goes to the file
    array = np.random.default_rng(0).integers(0, 60000, (30, 100, 100), np.uint16)
    write(tmp_path / name, array)

    def right(number):
        start = np.random.default_rng(number).integers(0, (25, 80, 80))
        box = Box(tuple(map(int, start)), tuple(map(int, np.add(start, (5, 20, 20)))))
        return np.array_equal(volume.read(box)[0], array[box.slices])

    for _ in range(3):  # a fresh file each time: pages are found while reading
        with open_volume(tmp_path / name, voxel_size=(1, 1, 1)) as volume, ThreadPoolExecutor(8) as pool:
            assert all(pool.map(right, range(60)))
