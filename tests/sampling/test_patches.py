"""Tests of patches: functions of their index, from the whole volume, without background, turned where allowed."""

import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.intensity import fixed, measure
from vol2vol.sampling import STILL, Alone, Augment, Patches, PatchSets
from vol2vol.volumes import create_volume, open_volume

RAW = fixed(0, 65535, network=(0.0, 65535.0))
"""An intensity map that keeps the stored values."""


@dataclass
class Memory:
    """An array with the interface of a volume, which counts how often each voxel was read."""

    array: np.ndarray
    voxel_size: tuple[float, float, float] = (10.0, 10.0, 10.0)
    sized: bool = True
    path: str = "folder/some volume.zarr"
    largest: int = 0
    counts: np.ndarray = field(init=False)

    shape = property(lambda self: self.array.shape)
    spatial = property(lambda self: self.array.shape[1:])
    channels = property(lambda self: self.array.shape[0])
    dtype = property(lambda self: self.array.dtype)
    chunks = property(lambda self: self.array.shape)

    def __post_init__(self):
        self.counts = np.zeros(self.spatial, int)

    def read(self, box):
        assert Box.of(self.spatial).contains(box)
        self.counts[box.slices] += 1
        self.largest = max(self.largest, box.size)
        return self.array[:, *box.slices].copy()


def unpaired(source, target):
    return PatchSets([Alone("source", source, 0), Alone("target", target, 1)])


def numbered(shape, first=0):
    """Return an array whose voxels all have different values."""
    return (np.arange(np.prod(shape), dtype=np.int64) + first).reshape(shape).astype(np.uint16)


def noisy(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def is_crop(patch, array, across=None):
    """Return whether a patch is an unchanged crop of an array of unique numbers."""
    values = patch.numpy()[0]
    if across is not None:
        values = np.expand_dims(values, across)
    start = np.argwhere(array[0] == values.flat[0])[0]
    part = array[0][tuple(slice(a, a + n) for a, n in zip(start, values.shape, strict=True))]
    return part.shape == values.shape and np.array_equal(part, values)


def test_items_are_pure_functions_of_seed_epoch_and_index():
    def build(seed=0):
        source = Patches([Memory(noisy((1, 9, 20, 21)))], fixed(0, 255), (8, 8), seed=seed)
        return unpaired(source, Patches([Memory(noisy((1, 5, 30, 17), 1))], fixed(0, 255), (8, 8), seed=seed))

    first, second = build(), build()
    for index in (5, 0, 3, 3, 10**6):
        torch.testing.assert_close(first[index], second[index], rtol=0, atol=0)
    [second[i] for i in range(7)]
    second.set_epoch(1)
    assert not torch.equal(first[3]["source"], second[3]["source"])
    second.set_epoch(0)
    torch.testing.assert_close(first[3], second[3], rtol=0, atol=0)
    assert not torch.equal(first[3]["source"], build(seed=1)[3]["source"])
    assert not torch.equal(first[3]["source"], first[4]["source"])


def test_both_domains_are_drawn_on_their_own():
    volume = Memory(noisy((1, 9, 40, 40)))
    both = Patches([volume], fixed(0, 255), (8, 8))
    pairs = unpaired(both, both)
    assert not any(torch.equal(pairs[i]["source"], pairs[i]["target"]) for i in range(20))


@given(
    shape=st.tuples(*[st.integers(3, 9)] * 3),
    patch=st.tuples(*[st.integers(2, 3)] * 3),
    seed=st.integers(0, 50),
)
@settings(max_examples=25, deadline=None)
def test_patches_are_crops(shape, patch, seed):
    array = numbered((1, *shape))
    drawn = Patches([Memory(array)], RAW, patch, augment=STILL, background=0, seed=seed).draw(seed)
    assert drawn.shape == (1, *patch)
    assert drawn.dtype == torch.float32
    assert is_crop(drawn, array)


def test_every_voxel_can_be_drawn_the_last_one_too():
    volume = Memory(numbered((1, 3, 7, 5)))
    patches = Patches([volume], RAW, (2, 3, 2), augment=STILL, background=0)
    volume.counts[:] = 0
    starts = [np.argwhere(volume.array[0] == patches.draw(i)[0, 0, 0, 0].item())[0] for i in range(3000)]
    assert (volume.counts > 0).all()
    positions, counts = np.unique(starts, axis=0, return_counts=True)
    assert len(positions) == 2 * 5 * 4
    expected = 3000 / len(positions)
    assert ((counts - expected) ** 2 / expected).sum() < 72  # chi-squared, 39 degrees of freedom, p = 0.001


def test_volumes_are_drawn_in_proportion_to_their_voxels():
    small, large = Memory(numbered((1, 4, 10, 10))), Memory(numbered((1, 4, 30, 10), 10000))
    patches = Patches([small, large], RAW, (5, 5), background=0)
    drawn = [float(patches.draw(i).max()) >= 10000 for i in range(1000)]
    assert 0.7 < np.mean(drawn) < 0.8
    assert len(patches) == 4 * 400 // 25


def test_domains_may_differ_in_everything():
    source = Patches([Memory(noisy((1, 1, 50, 60)))], fixed(0, 255), (16, 16))
    files = [Memory(noisy((3, 4, 20, 90), 1)), Memory(noisy((3, 7, 33, 16), 2))]
    pairs = unpaired(source, Patches(files, measure(files), (16, 16)))
    assert len(pairs) == max(len(source), *(len(group) for group in pairs.groups))
    item = pairs[0]
    assert item["source"].shape == (1, 16, 16)
    assert item["target"].shape == (3, 16, 16)
    assert -1 <= item["target"].min() < item["target"].max() <= 1


def test_background_is_rejected():
    array = np.zeros((1, 4, 100, 100), np.uint8)
    array[..., 50:] = noisy((1, 4, 100, 50))
    array[..., :50] = noisy((1, 4, 100, 50)) // 64
    patches = Patches([Memory(array)], fixed(0, 255), (8, 8), background=30.0)
    variances = [float(patches.draw(i).var(correction=0)) for i in range(200)]
    assert min(variances) >= patches.threshold > 0
    without = Patches([Memory(array)], fixed(0, 255), (8, 8), background=0.0)
    rejected = np.mean([float(without.draw(i).var(correction=0)) < patches.threshold for i in range(500)])
    assert abs(rejected - 0.3) < 0.07


def test_constant_patches_are_rejected_even_where_they_are_most():
    array = np.zeros((1, 2, 60, 60), np.uint8)
    array[..., 40:, 40:] = noisy((1, 2, 20, 20))
    patches = Patches([Memory(array)], fixed(0, 255), (8, 8))
    assert patches.threshold == 0
    assert min(float(patches.draw(i).var()) for i in range(100)) > 0


def orientations(patches, array, count=400):
    """Return the turns and flips of the only possible crop that were drawn."""
    return {tuple(patches.draw(i).numpy().ravel()) for i in range(count)}


@pytest.mark.parametrize(
    ("voxel_size", "expected"),
    [((10, 10, 10), 48), ((10, 10.1, 9.95), 48), ((40, 8, 8), 16), ((40, 8, 10), 8), ((8, 10, 8), 16)],
)
def test_turns_only_where_the_voxel_is_isotropic(voxel_size, expected):
    array = numbered((1, 2, 2, 2))
    patches = Patches([Memory(array, voxel_size)], RAW, (2, 2, 2), background=0)
    assert len(orientations(patches, array)) == expected
    plain = Patches([Memory(array, voxel_size)], RAW, (2, 2, 2), background=0, augment=STILL)
    assert orientations(plain, array) == {tuple(array.ravel().astype(float))}


@pytest.mark.parametrize(("voxel_size", "expected"), [((40, 8, 8), 8), ((8, 8, 9), 4)])
def test_planes_turn_in_their_own_plane(voxel_size, expected):
    array = numbered((1, 1, 3, 3))
    patches = Patches([Memory(array, voxel_size)], RAW, (3, 3), background=0)
    assert len(orientations(patches, array)) == expected


def test_oblong_patches_turn_if_the_volume_has_room():
    wide = numbered((1, 1, 6, 6))
    patches = Patches([Memory(wide)], RAW, (2, 5), background=0)
    steps = {abs(float(p[0, 0, 1] - p[0, 0, 0])) for p in map(patches.draw, range(50))}
    assert steps == {1.0, 6.0}
    flat = Patches([Memory(numbered((1, 1, 4, 6)))], RAW, (2, 5), background=0)
    assert {abs(float(p[0, 0, 1] - p[0, 0, 0])) for p in map(flat.draw, range(50))} == {1.0}


@pytest.mark.parametrize(("name", "across"), [("z", 0), ("y", 1), ("x", 2)])
def test_planes_across_any_axis_are_crops(name, across):
    array = numbered((1, 5, 6, 7))
    patches = Patches([Memory(array)], RAW, (3, 4), planes=(name,), augment=STILL, background=0)
    assert all(is_crop(patches.draw(i), array, across) for i in range(20))


def test_planes_of_all_axes_take_turns():
    array = numbered((1, 6, 6, 6))
    patches = Patches([Memory(array)], RAW, (4, 4), planes=("z", "y", "x"), augment=STILL, background=0)
    matches = [[is_crop(patches.draw(i), array, across) for across in range(3)] for i in range(300)]
    assert (np.sum(matches, axis=1) == 1).all()
    assert (np.mean(matches, axis=0) > 0.25).all()
    assert len(patches) == 6**3 // 16


def test_calibration_covers_small_volumes_wholly_and_large_ones_evenly():
    small = Memory(numbered((1, 3, 7, 10)))
    patches = Patches([small], RAW, (2, 3, 4), background=0)
    small.counts[:] = 0
    assert len(list(patches.covering(100))) == 2 * 3 * 3
    assert (small.counts > 0).all()
    large = Memory(numbered((1, 16, 40, 40)))
    patches = Patches([large], RAW, (8, 8), background=0)
    first, second = list(patches.covering(64)), list(patches.covering(64))
    assert len(first) == 64
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert all(is_crop(p, large.array, 0) for p in first)
    numbers = np.array([p[0, 0, 0].item() for p in first]).astype(int)
    planes, rows, columns = np.unravel_index(numbers, large.spatial)
    assert [len(set(v)) for v in (planes, rows, columns)] == [16, 5, 5]
    two = Patches([Memory(numbered((1, 4, 8, 8))), Memory(numbered((1, 12, 8, 8), 5000))], RAW, (8, 8), background=0)
    assert sorted(float(p.max()) >= 5000 for p in two.covering(8)) == [False] * 2 + [True] * 6


def test_a_read_is_never_larger_than_a_patch():
    volume = Memory(noisy((1, 30, 40, 50)))
    patches = Patches([volume], fixed(0, 255), (4, 5, 6))
    [patches.draw(i) for i in range(20)]
    list(patches.covering(20))
    assert volume.largest == 4 * 5 * 6


def test_spawned_processes_read_the_same_patches(tmp_path):
    path = tmp_path / "with space é.zarr"
    with create_volume(path, shape=(1, 8, 32, 32), dtype="uint8", voxel_size=(1, 1, 1), unit="nanometer") as volume:
        volume.write(Box.of(volume.spatial), noisy((1, 8, 32, 32)))
    augment = Augment(zoom=0.3, elastic={"amplitude": 2, "length": 6}, noise=0.1, shot_noise=0.1)
    plain, changed = (Patches([open_volume(path)], fixed(0, 255), (8, 8), augment=a) for a in (None, augment))
    pairs = PatchSets([Alone("source", plain, 0), Alone("target", changed, 1, changed=True)])
    loaded = list(DataLoader(pairs, batch_size=4, sampler=range(8), num_workers=1, multiprocessing_context="spawn"))
    here = list(DataLoader(pickle.loads(pickle.dumps(pairs)), batch_size=4, sampler=range(8)))
    torch.testing.assert_close(loaded, here, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (
            noisy((1, 4, 20, 9)),
            {"patch": (16, 16)},
            r"\(20, 9\).*too few for patches of \(16, 16\).*at most \(16, 9\)",
        ),
        (noisy((1, 1, 20, 20)), {"patch": (8, 8, 8)}, r"use patches of at most \(1, 8, 8\)"),
        (noisy((1, 4, 4, 4)), {"patch": (4,)}, "two or three"),
        (noisy((1, 4, 4, 4)), {"patch": (4, 0)}, "positive"),
        (noisy((1, 4, 4, 4)), {"patch": (4, 4), "planes": ("w",)}, "use z, y or x"),
        (
            np.full((1, 4, 20, 20), 3, np.uint8),
            {"patch": (8, 8)},
            "constant.*leave the file out or crop it to the specimen$",
        ),
        (
            np.full((1, 4, 20, 20), np.nan, np.float32),
            {"patch": (8, 8)},
            r"NaN or infinity at voxel \(",
        ),
    ],
)
def test_mistakes_are_named(array, options, message):
    with pytest.raises(BadInput, match=message) as caught:
        Patches([Memory(array)], fixed(0, 255), **options)
    assert "\n" not in str(caught.value)
    assert "volume.zarr" in str(caught.value) or "patch" in options or "planes" in options


def test_an_empty_volume_beside_a_full_one_is_named():
    empty = Memory(np.zeros((1, 4, 40, 40), np.uint8), path="empty.zarr")
    with pytest.raises(BadInput, match=r"empty\.zarr.*constant"):
        Patches([Memory(noisy((1, 4, 40, 40))), empty], fixed(0, 255), (8, 8))


def test_a_needle_in_a_haystack_is_an_error_not_a_hang():
    array = np.zeros((1, 1, 2000, 2000), np.uint8)
    array[0, 0, 1000, 1000] = 9
    with pytest.raises(BadInput, match=r"constant|show no structure"):
        Patches([Memory(array)], fixed(0, 255), (8, 8)).draw(0)


def test_slanted_planes_of_anisotropic_volumes_are_refused():
    with pytest.raises(BadInput, match="planes z"):
        Patches([Memory(noisy((1, 20, 20, 20)), (40, 8, 8))], fixed(0, 255), (8, 8), planes=("z", "x"))


def test_unlike_channels_and_no_volume_are_refused():
    with pytest.raises(BadInput, match="channels"):
        Patches([Memory(noisy((1, 4, 9, 9))), Memory(noisy((3, 4, 9, 9)))], fixed(0, 255), (8, 8))
    with pytest.raises(BadInput, match="at least one volume"):
        Patches([], fixed(0, 255), (8, 8))
