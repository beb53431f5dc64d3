"""Volumes as arrays: indices against NumPy's own, `np.asarray`, Dask; arrays as volumes."""

import pickle
from dataclasses import replace

import dask.array
import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.metrics.arrays import as_readable
from vol2vol.volumes import Volume, create_volume, open_volume, slicing
from vol2vol.volumes.memory import hold

SHAPE = (2, 5, 11, 7)
SIZES = st.tuples(*[st.integers(1, 13)] * 4)
BOUNDS = st.none() | st.integers(-16, 16)
SLICES = st.builds(slice, BOUNDS, BOUNDS, st.none() | st.integers(-5, 5).filter(bool))


class Counted(Volume):
    """An array in chunks that remembers which boxes were read."""

    def __init__(self, array, chunks):
        super().__init__(replace(hold(array), chunks=chunks), axes="czyx")
        self.boxes = []

    def _part(self, channels, box):
        self.boxes.append(box)
        return super()._part(channels, box)


def numbers(shape, dtype=np.uint16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@settings(deadline=None, max_examples=300)
@given(st.data(), SIZES, SIZES, st.sampled_from(["u1", "u2", "f4"]))
def test_an_index_picks_what_it_picks_of_the_array(data, shape, chunks, dtype):
    array = numbers(shape, dtype)
    entries = [data.draw(SLICES | st.integers(-n, n - 1)) for n in shape[: data.draw(st.integers(0, 4))]]
    for extra in data.draw(st.lists(st.sampled_from([None, None, ...]), max_size=2)):
        if extra is None or not any(entry is ... for entry in entries):
            entries.insert(data.draw(st.integers(0, len(entries))), extra)
    index = entries[0] if len(entries) == 1 and data.draw(st.booleans()) else tuple(entries)
    try:
        expected = array[index]
    except IndexError:  # the dots moved a number to an axis that is shorter
        with pytest.raises(IndexError):
            Counted(array, chunks)[index]
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slicing, "LONG", data.draw(st.sampled_from([1, 4, 256])))
        found = Counted(array, chunks)[index]
    assert found.dtype == expected.dtype
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "index", [[0, 1], np.array([0, 1]), True, np.array(True), 1.0, (0,) * 5, (..., ...), "x", 2, -3]
)
def test_other_indices_are_refused_in_one_line(index):
    with pytest.raises(IndexError) as refused:
        open_volume(numbers(SHAPE), axes="czyx")[index]
    assert "\n" not in str(refused.value)


def test_a_preview_reads_only_the_chunks_that_it_shows():
    volume = Counted(numbers((1, 40, 40, 40)), (1, 4, 4, 4))
    assert volume[0, ::10, 3, ::10].shape == (4, 4)
    assert sum(box.size for box in volume.boxes) == 16
    volume.boxes.clear()
    assert volume[:, 5:5].shape == (1, 0, 40, 40)
    assert volume[0, :, 4:2].shape == (40, 0, 40)
    assert not volume.boxes


def test_python_asks_volumes_as_it_asks_arrays():
    array = numbers(SHAPE)
    volume = open_volume(array, axes="czyx")
    assert (volume.ndim, volume.size, volume.nbytes, len(volume)) == (4, array.size, array.nbytes, 2)
    np.testing.assert_array_equal(np.stack(list(volume)), array)
    assert np.asarray(volume, dtype=np.float32).dtype == np.float32
    assert np.mean(volume) == array.mean()
    with pytest.raises(ValueError, match="copy=False"):
        np.array(volume, copy=False)


def test_nothing_is_written_into_the_array_of_a_volume():
    array = numbers(SHAPE)
    volume = open_volume(array, axes="czyx")
    with pytest.raises(ValueError, match="read-only"):
        volume[0][...] = 0
    np.array(volume)[...] = 0
    assert array[0, 0, 0, 1] == 1


def test_what_exceeds_the_memory_is_refused_before_it_is_read():
    huge = np.broadcast_to(np.uint8(7), (1 << 14, 1 << 14, 1 << 18))
    volume = open_volume(huge)
    for take in (np.asarray, lambda v: v[:], lambda v: v[0, ::2]):
        with pytest.raises(BadInput, match=r"array: an array of shape .* GB of memory, .* are free: take a part"):
            take(volume)
    assert volume[0, -1, -1, ::100_000].tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("axes", "shape"), [("yx", (9, 8)), ("zyx", (4, 9, 8)), ("yxc", (9, 8, 3)), ("czyx", (2, 4, 9, 8))]
)
def test_an_array_is_a_volume(axes, shape, tmp_path):
    array = numbers(shape)
    volume = open_volume(array, axes=axes, voxel_size=(8, 4, 4), unit="nm")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = array
    stored = open_volume(tmp_path / "a.h5", axes=axes, voxel_size=(8, 4, 4), unit="nm")
    assert (volume.shape, volume.dtype, volume.voxel_size, volume.unit) == (
        stored.shape, stored.dtype, (8, 4, 4), "nanometer",
    )  # fmt: skip
    np.testing.assert_array_equal(volume, stored)
    box = Box((0, 2, 3), (1, 5, 8))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).read(box), stored.read(box))
    assert volume.fingerprint() == open_volume(array.copy(), axes=axes, voxel_size=(8, 4, 4), unit="nm").fingerprint()


def test_arrays_are_asked_for_what_they_lack():
    assert open_volume(numbers((4, 9, 8))).axes == "zyx"
    assert open_volume(numbers((4, 9, 8)), axes="cyx", channels=[2, 0])[:, 0, 0, 0].tolist() == [144, 0]
    with pytest.raises(BadInput, match=r"array does not name its axes of shape \(9, 8, 3\)"):
        open_volume(numbers((9, 8, 3)))
    with pytest.raises(BadInput, match="array is empty"):
        open_volume(np.zeros((0, 4, 4)))
    with pytest.raises(BadInput, match="array holds complex"):
        open_volume(np.zeros((4, 4), complex))
    with pytest.raises(BadInput, match="no level 1"):
        open_volume(numbers((4, 4)), level=1)
    with pytest.raises(BadInput, match="array is not a folder"):
        open_volume(numbers((4, 4)), pattern="*")
    with pytest.raises(BadInput, match="array of shape"):
        as_readable(numbers((1, 1, 1, 4, 4)))


@pytest.mark.parametrize("kind", ["zarr", "tif", "h5", "array"])
def test_dask_takes_a_volume(kind, tmp_path):
    array = numbers((3, 20, 30, 40))
    if kind == "zarr":
        made = create_volume(
            tmp_path / "a.zarr", shape=array.shape, dtype="u2", voxel_size=(1, 1, 1), unit="nm",
            chunks=(5, 10, 10), shards=(10, 20, 20),
        )  # fmt: skip
        made.write(Box.of(made.spatial), array)
        made.close()
    elif kind == "tif":
        tifffile.imwrite(tmp_path / "a.tif", array, metadata={"axes": "CZYX"}, ome=True)
    elif kind == "h5":
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("raw", data=array, chunks=(1, 5, 10, 10))
    volume = open_volume(array if kind == "array" else tmp_path / f"a.{kind}", axes=None if kind == "tif" else "czyx")
    lazy = dask.array.from_array(volume)
    assert (lazy.shape, lazy.dtype) == (array.shape, array.dtype)
    parts = dask.array.from_array(volume, chunks=volume.chunks)
    for graph, expected in (
        (lazy, array),
        (parts, array),
        (parts[:, ::-3, 5, [1, 7, 3]], array[:, ::-3, 5, [1, 7, 3]]),
        (parts[1:, None, :, 4:4], array[1:, None, :, 4:4]),
        (parts.mean(axis=(1, 2)), array.mean(axis=(1, 2))),
    ):
        np.testing.assert_array_equal(graph.compute(scheduler="threads", num_workers=3), expected)
    assert dask.array.from_array(volume).name == lazy.name


def test_dask_knows_another_array_from_the_same_path(tmp_path):
    names = set()
    for value in (1, 2):
        tifffile.imwrite(tmp_path / "a.tif", np.full((4, 8, 8), value, np.uint8), photometric="minisblack")
        names.add(dask.array.from_array(open_volume(tmp_path / "a.tif")).name)
    assert len(names) == 2


def test_one_channel_is_read_without_the_others(tmp_path):
    reads = []
    stored = hold(numbers(SHAPE))
    spied = replace(stored, read=lambda where: reads.append(where[0]) or stored.read(where))
    volume = Volume(spied, axes="czyx")
    np.testing.assert_array_equal(volume[1], numbers(SHAPE)[1])
    assert reads == [slice(1, 2)]
