"""Tests of augmentation: aligned domains change alike, intensities only in named images, and zero changes nothing."""

import pickle
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from tests.sampling.test_aligned import Memory

from vol2vol.errors import BadInput
from vol2vol.intensity import Intensity, fixed
from vol2vol.protocol import Need
from vol2vol.sampling import STILL, Aligned, AlignedPatches, Augment, DataSettings, Patches, PatchSets, dataset
from vol2vol.sampling.appearance import Look

AS_STORED = Intensity(low=(0.0,), high=(1.0,), network=(0.0, 1.0), clip=False)
NEEDS = (
    Need(name="where"),
    Need(name="image", along="where"),
    Need(name="mask", kind="mask", along="where"),
    Need(name="labels", kind="labels", along="where"),
)
LIES = {"flips": (), "turns": "none"}
"""Augmentation without flips and turns."""


def world(shape, seed=0, voxel_size=(8.0, 8.0, 8.0)):
    """Aligned volumes; the channels of the first one hold the coordinates of every voxel."""
    random = np.random.default_rng(seed)
    where = np.indices(shape).astype(np.float32)
    image = random.integers(0, 65536, (1, *shape), dtype=np.uint16)
    labels = random.choice(np.array([0, 3, 17, 65535], np.uint16), (1, *shape))
    arrays = {"where": where, "image": image, "mask": (labels == 17).astype(np.uint8), "labels": labels}
    return {name: Memory(array, voxel_size=voxel_size) for name, array in arrays.items()}


def drawn(volumes, patch, augment, **options):
    intensity = {"where": AS_STORED, "image": AS_STORED}
    together = Aligned(NEEDS, volumes, intensity)
    return PatchSets([AlignedPatches([together], patch, augment=augment, foreground=0, **options)])


sizes = st.sampled_from([1, 2, 3, 5, 7, 11, 13, 19])


@settings(deadline=None, max_examples=40)
@given(
    patch=st.lists(sizes, min_size=2, max_size=2) | st.lists(sizes.filter(lambda n: n < 12), min_size=3, max_size=3),
    room=st.integers(0, 9),
    zoom=st.sampled_from([0.0, 0.3, 1.0]),
    amplitude=st.sampled_from([0.0, 0.5, 4.0]),
    z=st.sampled_from([8.0, 20.0]),
    seed=st.integers(0, 99),
)
def test_all_domains_come_from_the_places_that_one_of_them_shows(patch, room, zoom, amplitude, z, seed):
    """The oracle is scipy's interpolation of the mirrored volume at the coordinates that the patch shows."""
    shape = tuple(n + room for n in (*([] if len(patch) == 3 else [2]), *patch))
    volumes = world(shape, seed, (z, 8.0, 8.0))
    augment = Augment(zoom=zoom, elastic={"amplitude": amplitude, "length": 10})
    item = {name: part.numpy() for name, part in drawn(volumes, tuple(patch), augment, seed=seed)[seed].items()}
    assert {part.shape[1:] for part in item.values()} == {tuple(patch)}
    places = item["where"]
    assert (places > -1e-3).all()
    assert (places < np.reshape(shape, (3, *[1] * len(patch))) - 1 + 1e-3).all()

    def at(name, order, values=None):
        values = volumes[name].array[0].astype(np.float64) if values is None else values
        return map_coordinates(values, places.astype(np.float64), order=order, mode="mirror")

    np.testing.assert_allclose(item["image"][0], at("image", 1), rtol=1e-4, atol=30)
    share = at("mask", 1)
    clear = np.abs(share - 0.5) > 1e-3
    assert np.array_equal(item["mask"][0][clear], (share >= 0.5)[clear])
    assert set(np.unique(item["mask"])) <= {0, 1}
    clear = (np.abs(places % 1 - 0.5) > 1e-3).all(0)
    assert np.array_equal(item["labels"][0][clear], at("labels", 0)[clear])
    assert set(np.unique(item["labels"])) <= {0, 3, 17, 65535}


def test_nothing_is_changed_at_zero():
    volumes = world((4, 23, 29))
    zero = Augment(zoom=0, elastic={"amplitude": 0, "length": 5}, contrast=0, noise=0, shot_noise=0, blur=0)
    for patch in ((13, 11), (3, 7, 11)):
        plain, same = (drawn(volumes, patch, augment) for augment in (None, zero))
        for i in range(5):
            assert all(torch.equal(plain[i][name], same[i][name]) for name in plain[i])
    as_it_lies = drawn(volumes, (13, 11), STILL)[3]
    z, y, x = (int(n) for n in as_it_lies["where"][:, 0, 0])
    assert torch.equal(
        as_it_lies["image"][0], torch.from_numpy(volumes["image"].array[0, z, y : y + 13, x : x + 11] * 1.0)
    )


@pytest.mark.parametrize(("patch", "rms"), [((60, 70), 0.277), ((31, 33, 35), 0.191)])
def test_nothing_moves_further_than_the_amplitude_and_the_root_mean_square_is_as_documented(patch, rms):
    volumes = world((80, 80, 80))
    data = drawn(volumes, patch, Augment(elastic={"amplitude": 3.0, "length": 9.0}, **LIES))
    still = np.indices(patch)
    shifts = np.stack([data[i]["where"].numpy()[-len(patch) :] - still for i in range(8)])
    shifts -= shifts.mean(axis=tuple(range(2, shifts.ndim)), keepdims=True).round()
    assert np.abs(shifts).max() <= 3 + 1e-4
    assert np.sqrt((shifts**2).mean()) == pytest.approx(3 * rms, rel=0.06)


@pytest.mark.parametrize("dims", [2, 3])
def test_at_the_steepest_setting_nothing_folds(dims):
    volumes = world((60, 60, 60))
    data = drawn(volumes, (40,) * dims, Augment(elastic={"amplitude": 4.0, "length": 10.0}, **LIES))
    items = (data[i]["where"].numpy()[-dims:].astype(np.float64) for i in range(30))
    inside = [places for places in items if places.min() > 0.5 and places.max() < 58.5]
    assert len(inside) > 3
    for places in inside:  # what is mirrored folds at the volume's end
        slopes = np.stack([np.stack(np.gradient(places[a]), -1) for a in range(dims)], -2)
        assert np.linalg.det(slopes).min() > 0


def test_lengths_are_the_same_distance_along_every_axis():
    volumes = world((50, 50, 50), voxel_size=(40.0, 8.0, 8.0))
    for unit, amplitude, length in (("voxels", 4.0, 12.0), ("volume", 32.0, 96.0)):
        elastic = {"amplitude": amplitude, "length": length, "unit": unit}
        data = drawn(volumes, (20, 20, 20), Augment(elastic=elastic, **LIES))
        shifts = np.stack([data[i]["where"].numpy() - np.indices((20, 20, 20)) for i in range(12)])
        deviation = shifts.std(axis=(2, 3, 4)).mean(0)
        assert deviation[0] * 5 == pytest.approx(deviation[1], rel=0.25)
        assert deviation[1] == pytest.approx(deviation[2], rel=0.25)
    for name in volumes:
        volumes[name].sized = False
    with pytest.raises(BadInput, match=r"no voxel size, which data\.augment\.elastic\.unit=volume needs"):
        drawn(volumes, (20, 20, 20), Augment(elastic={"amplitude": 4, "unit": "volume"}, turns="none"))


def orientations(patches, count=300):
    """Return the orientations of drawn patches as matrices, from an array that numbers its voxels."""
    shape = patches.patch
    strides = [int(np.prod(shape[a + 1 :])) for a in range(len(shape))]
    orders = set()
    for i in range(count):
        values = patches.draw(i)[0].numpy()
        origin = (0,) * len(shape)
        steps = [int(values[tuple(int(a == b) for b in range(len(shape)))] - values[origin]) for a in range(len(shape))]
        orders.add(tuple(tuple(int(np.sign(s)) * int(abs(s) == stride) for stride in strides) for s in steps))
    return orders


@pytest.mark.parametrize(
    ("options", "dims", "voxel_size", "count", "mirrors"),
    [
        ({}, 2, (40, 8, 8), 8, True),
        ({"flips": ()}, 2, (40, 8, 8), 4, False),
        ({"turns": "none"}, 2, (40, 8, 8), 4, True),
        ({"turns": "none", "flips": ("x",)}, 2, (40, 8, 8), 2, True),
        ({"flips": ("x",)}, 2, (40, 8, 8), 8, True),
        ({"flips": ()}, 3, (8, 8, 8), 24, False),
        ({"flips": ()}, 3, (40, 8, 8), 4, False),
        ({"flips": ("z",)}, 3, (40, 8, 8), 8, True),
        ({"flips": (), "turns": "all"}, 3, (40, 8, 8), 24, False),
        ({"turns": "all"}, 3, (40, 8, 10), 48, True),
        ({"flips": ("y", "x")}, 3, (40, 8, 8), 8, True),
    ],
)
def test_flips_and_turns_are_those_asked_for(options, dims, voxel_size, count, mirrors):
    """Each orientation is a rotation or a mirror image; without flips there are rotations alone."""
    shape = (1, *([1] if dims == 2 else []), *[3] * dims)
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    patches = Patches([Memory(numbers, voxel_size)], AS_STORED, (3,) * dims, background=0, augment=Augment(**options))
    orders = orientations(patches, 600 if count > 24 else 300)
    assert len(orders) == count
    determinants = {round(np.linalg.det(np.array(matrix))) for matrix in orders}
    assert determinants == ({1, -1} if mirrors else {1})
    if options.get("flips") == ("y", "x"):
        assert all(matrix[0] == (1, 0, 0) for matrix in orders)


def test_a_patch_turned_back_is_the_crop_it_was():
    volumes = world((40, 40, 40))
    data = drawn(volumes, (5, 7, 6), Augment())
    for i in range(20):
        item = {name: part.numpy() for name, part in data[i].items()}
        z, y, x = item["where"].astype(int)
        for name in ("image", "labels"):
            assert np.array_equal(item[name][0], volumes[name].array[0, z, y, x])
        assert len(set(zip(z.flat, y.flat, x.flat, strict=True))) == 5 * 7 * 6


def flat(value, shape=(200, 200)):
    return np.full((1, *shape), value, np.float32)


@pytest.mark.parametrize("value", [0.1, 0.5, 0.8])
def test_noise_has_the_statistics_it_is_asked_for(value):
    """Normal noise has the fixed standard deviation; the variance of photon noise is proportional to brightness."""
    random, unit = np.random.default_rng(0), fixed(0, 1, network=(0.0, 1.0))
    plain = (1.0, 1.0, 0.0)
    grainy = Look(None, plain, None, None, 0.02)(flat(value), None, unit, random)
    assert grainy.std() == pytest.approx(0.02, rel=0.03)
    assert grainy.mean() == pytest.approx(value, abs=5e-4)
    counted = Look(None, plain, None, 0.05, 0.0)(flat(value), None, unit, random)
    assert counted.mean() == pytest.approx(value, abs=2e-3)
    assert counted.std() == pytest.approx(0.05 * value**0.5, rel=0.03)
    faint = Look(None, plain, None, 1e-6, 0.0)(flat(value), None, unit, random)
    np.testing.assert_allclose(faint, value, atol=1e-6)


@given(st.integers(0, 9999))
def test_looks_stay_within_their_bounds(seed):
    random, grey = np.random.default_rng(seed), fixed(0, 255)
    ramp = np.linspace(-1, 1, 101, dtype=np.float32)[None, None]
    a = Augment(contrast=0.4, brightness=0.2, gamma=0.5)
    seen = Look.drawn(a, random, masked=False)(ramp, None, grey, random)
    assert seen.dtype == np.float32
    assert (np.diff(seen) >= 0).all(), "contrast, brightness and gamma keep the order of values"
    assert (seen >= -1).all()
    assert (seen <= 1).all()
    assert -0.6 - 0.4 - 1e-5 <= seen[0, 0, 0] <= -0.6 + 0.4 + 1e-5 or seen[0, 0, 0] == -1


def test_noise_is_blurred_only_where_asked():
    random, grey = np.random.default_rng(1), fixed(0, 255)
    image = random.uniform(-1, 1, (1, 64, 64)).astype(np.float32)
    soft = Look(None, (1.0, 1.0, 0.0), 2.0, None, 0.0)(image, None, grey, random)
    assert soft.std() < 0.2 * image.std()


def split_free(**augment):
    return DataSettings(augment=Augment(**LIES, **augment), background=0)


def arranged(needs, inputs, settings, *, judged=False):
    random = np.random.default_rng(0)
    base = random.integers(60, 190, (1, 2, 80, 80), dtype=np.uint8)
    volumes = {need.name: [Memory(base if need.kind != "mask" else (base > 120).astype(np.uint8))] for need in needs}
    intensity = {need.name: fixed(0, 255) for need in needs}
    context = ((0, 0), (0, 0))
    return dataset(needs, volumes, intensity, settings, patch=(16, 16), context=context, inputs=inputs, judged=judged)[
        0
    ]


PAIR = (Need(name="source"), Need(name="second", along="source"), Need(name="target", along="source"))


def test_inputs_change_and_targets_do_not():
    plain = arranged(PAIR, {"source", "second"}, split_free(), judged=True)[2]
    seen = arranged(PAIR, {"source", "second"}, split_free(contrast=0.5, brightness=0.3), judged=True)[2]
    assert torch.equal(plain["target"], seen["target"])
    assert torch.equal(plain["source"], plain["second"])
    changed = [seen["source"], seen["second"]]
    assert not any(torch.allclose(plain["source"], part) for part in changed)
    assert not torch.allclose(*changed), "each stain has a contrast of its own"


def test_named_domains_change_and_exposures_of_one_domain_change_alike():
    needs = (Need(name="source"), Need(name="target", along="source", like="source"))
    named = split_free(contrast=0.5, brightness=0.3, domains=("source", "target"))
    item = arranged(needs, (), named)[1]
    assert torch.equal(item["source"], item["target"])
    noisy = arranged(needs, (), split_free(noise=0.3, domains=("source", "target")))[1]
    assert not torch.equal(noisy["source"], noisy["target"]), "noise is each exposure's own"
    patches = arranged(needs, (), split_free(contrast=0.5, domains=("target",)))[1]
    assert torch.equal(patches["source"], arranged(needs, (), split_free())[1]["source"])
    assert not torch.equal(patches["source"], patches["target"])


def test_unpaired_domains_change_where_they_are_named():
    needs = (Need(name="source"), Need(name="target"))
    plain, seen = (arranged(needs, (), s) for s in (split_free(), split_free(gamma=0.5, domains=("source",))))
    for i in range(3):
        assert torch.equal(plain[i]["target"], seen[i]["target"])
        assert not torch.allclose(plain[i]["source"], seen[i]["source"])
    assert torch.equal(seen[1]["source"], seen[1]["source"])
    with pytest.raises(BadInput, match=r"data\.augment\.gamma .* none: name in .*domains .* source, target"):
        arranged(needs, (), split_free(gamma=0.5))


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ({"texture": 0.5}, r"data\.augment\.texture needs a mask"),
        ({"paste": 0.5}, r"data\.augment\.paste needs a mask"),
        ({"noise": 0.1, "domains": ("nuclei",)}, r"data\.augment\.domains: nuclei is not an image domain here: use so"),
    ],
)
def test_what_the_domains_do_not_allow_is_named(augment, words):
    for needs in (PAIR, (Need(name="source"),)):
        with pytest.raises(BadInput, match=words):
            arranged(needs, {"source"}, split_free(**augment))


def test_a_mask_is_not_an_image_to_change():
    needs = (Need(name="source"), Need(name="target", kind="mask", along="source"))
    with pytest.raises(BadInput, match="target is not an image domain"):
        arranged(needs, {"source"}, split_free(noise=0.1, domains=("target",)))


def test_folding_deformations_are_refused():
    with pytest.raises(ValueError, match=r"amplitude 5 could fold the image: use a length of 12\.5 or more"):
        Augment(elastic={"amplitude": 5, "length": 12})


def test_items_are_pure_functions_of_their_number_on_any_number_of_threads():
    everything = Augment(
        zoom=0.3, elastic={"amplitude": 2, "length": 8}, contrast=0.2, gamma=0.2, blur=1, shot_noise=0.1, noise=0.1,
        paste=0.5, texture=0.3, shade=0.1,
    )  # fmt: skip
    needs = (Need(name="source"), Need(name="target", kind="mask", along="source"))
    data = arranged(needs, {"source"}, DataSettings(augment=everything, background=0), judged=True)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = {}
        for epoch, index in product(range(2), range(4)):
            data.set_epoch(epoch)
            whole[epoch, index] = data[index]
        torch.set_num_threads(2)
        again = pickle.loads(pickle.dumps(data))
        for epoch, index in ((1, 2), (0, 3), (1, 0)):
            again.set_epoch(epoch)
            assert all(torch.equal(again[index][name], whole[epoch, index][name]) for name in ("source", "target"))
    finally:
        torch.set_num_threads(threads)
    assert len({float(item["source"].sum()) for item in whole.values()}) == len(whole)
