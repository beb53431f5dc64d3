"""Tests of patches with masks: image and mask stay aligned, have enough foreground, and avoid the held-out part."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.protocol import Need
from vol2vol.sampling import STILL, Aligned, AlignedPatches, Augment, PatchSets
from vol2vol.sampling.warping import warped
from vol2vol.volumes import Volume

GREY = fixed(0, 255)
NEEDS = (Need(name="source"), Need(name="target", kind="mask", along="source"))


def labelled(image, mask, intensity):
    return Aligned(NEEDS, {"source": image, "target": mask}, {"source": intensity})


def patches(*args, **options):
    return PatchSets([AlignedPatches(*args, **options)])


@dataclass
class Memory:
    """An array with the interface of a volume."""

    array: np.ndarray
    voxel_size: tuple[float, float, float] = (8.0, 8.0, 8.0)
    sized: bool = True
    path: str = "ein Ordner/image.tif"
    unit: str = "nanometer"
    placed: bool = False

    shape = property(lambda self: self.array.shape)
    spatial = property(lambda self: self.array.shape[1:])
    channels = property(lambda self: self.array.shape[0])
    dtype = property(lambda self: self.array.dtype)

    def read(self, box):
        assert Box.of(self.spatial).contains(box)
        return self.array[:, *box.slices].copy()

    read_padded = Volume.read_padded


def pair(shape=(6, 40, 50), seed=0):
    """An image whose bright voxels are its mask, so that each follows from the other."""
    image = np.random.default_rng(seed).integers(0, 256, (1, *shape), dtype=np.uint8)
    return Memory(image), Memory((image > 200).astype(np.uint8) * 255)


def agree(item):
    return torch.equal(item["source"] > 200.5 / 127.5 - 1, item["target"] > 0.5)


@pytest.mark.parametrize("patch", [(16, 20), (5, 16, 17)])
def test_image_and_mask_are_flipped_and_turned_as_one(patch):
    data = patches([labelled(*pair(), GREY)], patch)
    items = [data[i] for i in range(20)]
    assert all(agree(item) for item in items)
    assert {tuple(item["source"].shape) for item in items} == {(1, *patch)}
    assert set(items[0]["target"].unique().tolist()) == {0.0, 1.0}


def test_items_are_pure_functions_of_epoch_and_index():
    augment = Augment(contrast=0.2, brightness=0.1, gamma=0.3, noise=0.1)
    first, second = (patches([labelled(*pair(), GREY)], (16, 16), augment=augment) for _ in "ab")
    second[3]
    torch.testing.assert_close(first[5], second[5], rtol=0, atol=0)
    second.set_epoch(1)
    assert not torch.equal(first[5]["source"], second[5]["source"])


def test_every_patch_has_its_foreground():
    image, mask = pair((4, 60, 200))
    mask.array[:] = 0
    mask.array[..., 30:36, 90:100] = 1
    data = patches([labelled(image, mask, GREY)], (32, 32), foreground=0.02)
    assert all(data[i]["target"].mean() >= 0.02 for i in range(30))
    mask.array[:] = 0
    with pytest.raises(BadInput, match=r"foreground or check the mask"):
        data[0]


def test_the_held_out_part_is_the_end_of_the_longest_axis():
    whole = labelled(*pair((6, 40, 50)), GREY)
    kept, held = whole.split(0.2, (1, 10, 10))
    assert (kept.spatial, held.spatial) == ((6, 40, 40), (6, 40, 10))
    np.testing.assert_array_equal(held.read(Box.of(held.spatial)), whole.read(Box((0, 0, 40), (6, 40, 50))))
    np.testing.assert_array_equal(kept.read(Box((1, 2, 3), (2, 4, 5))), whole.read(Box((1, 2, 3), (2, 4, 5))))
    kept, held = whole.split(0.1, (1, 10, 16))
    assert held.spatial == (6, 40, 16)
    kept, held = whole.split(0.2, (1, 10, 30))
    assert (kept.spatial, held.spatial) == ((6, 30, 50), (6, 10, 50))
    kept, held = whole.split(0.2, (1, 10, 20), (0, 3, 14))
    assert (kept.part, held.part) == (Box((0, 0, 0), (6, 40, 44)), Box((0, 0, 30), (6, 40, 50)))
    kept, held = whole.split(0.2, (1, 10, 30), (0, 0, 14))
    assert (kept.spatial, held.spatial) == ((6, 40, 34), (6, 40, 30))
    with pytest.raises(BadInput, match="too few to hold back"):
        whole.split(0.2, (5, 30, 40))
    again, _ = held.split(0.5, (1, 1, 1))
    np.testing.assert_array_equal(again.read(Box.of((1, 1, 1))), held.read(Box.of((1, 1, 1))))


@pytest.mark.parametrize(("share", "least", "shared", "margin"), [(0.2, 20, 0, 0), (0.1, 17, 6, 5), (0.4, 9, 1, 0)])
def test_volumes_too_small_to_divide_are_told_the_smallest_size_that_is_divided(share, least, shared, margin):
    def split(size):
        image = labelled(*pair((1, 8, size)), GREY).mirrored((0, margin, margin))
        return image.split(share, (1, 99, least), (0, 0, shared))

    with pytest.raises(BadInput, match=rf"has \(1, 8, 8\) voxels.*held_out {share:g}.*smaller data.patch") as caught:
        split(8)
    enough = int(re.search(r"(\d+) voxels along x", str(caught.value))[1])
    assert enough > 8
    split(enough)
    with pytest.raises(BadInput, match=f"{enough} voxels along x"):
        split(enough - 1)


def test_the_margin_mirrors_image_and_mask():
    (image, mask), margin = pair((3, 12, 14)), (0, 5, 4)
    grown = labelled(image, mask, GREY).mirrored(margin)
    assert grown.spatial == (3, 22, 22)
    around = [(0, 0), *((n, n) for n in margin)]
    padded = grown.read(Box.of(grown.spatial))
    np.testing.assert_array_equal(padded[:1], GREY.to_network(np.pad(image.array, around, mode="reflect")))
    np.testing.assert_array_equal(padded[1:], np.pad(mask.array, around, mode="reflect") > 0)
    training, held_out = grown.split(0.2, (1, 6, 6), (0, 2, 2))
    np.testing.assert_array_equal(held_out.read(Box.of(held_out.spatial)), padded[:, :, 16:])
    np.testing.assert_array_equal(training.read(Box.of(training.spatial)), padded[:, :, :18])


def test_intensities_change_in_the_image_alone_and_stay_in_range():
    still, shaken = (
        patches([labelled(*pair(), GREY)], (16, 16), augment=augment, seed=3)
        for augment in (None, Augment(contrast=0.5, brightness=0.5, gamma=0.5, noise=0.2))
    )
    before, after = still[0], shaken[0]
    assert torch.equal(before["target"], after["target"])
    assert not torch.allclose(before["source"], after["source"])
    assert after["source"].dtype == torch.float32
    assert after["source"].min() >= -1
    assert after["source"].max() <= 1


@pytest.mark.parametrize("patch", [(17, 20), (9, 11, 13)])
def test_zoom_magnifies_image_and_mask_as_one(patch):
    z, y, x = np.indices((24, 64, 64))
    disc = ((z - 11.5) ** 2 * (len(patch) == 3) + (y - 31.5) ** 2 + (x - 31.5) ** 2 < 49).astype(np.uint8)
    image, mask = Memory(disc[None] * 255), Memory(disc[None])
    data = patches([labelled(image, mask, GREY)], patch, augment=Augment(zoom=0.5, flips=(), turns="none"))
    items = [data[i] for i in range(12)]
    assert {tuple(item["source"].shape) for item in items} == {(1, *patch)}
    for item in items:
        assert torch.equal(item["source"] >= 0, item["target"] == 1)
        assert set(item["target"].unique().tolist()) <= {0.0, 1.0}


def test_zoom_spans_its_range_and_keeps_the_middle():
    augment, patch, random = Augment(zoom=0.4), (41, 41), np.random.default_rng(0)
    room = augment.room(patch)
    assert room == (62, 62)
    y, x = np.indices(room) - 30.5
    disc = (y**2 + x**2 < 100).astype(np.float32)[None]
    zoomed = [warped(disc, patch, augment, random, sizes=(1, 1)) for _ in range(200)]
    areas = np.array([(patch >= 0.5).sum() for patch in zoomed]) / disc.sum()
    assert np.exp(-0.8) * 0.9 < areas.min() < np.exp(-0.6)
    assert np.exp(0.6) < areas.max() < np.exp(0.8) * 1.1
    assert warped(disc, room, STILL, random, sizes=(1, 1)) is disc


def test_blur_smooths_the_image_alone():
    sharp, soft = (
        patches([labelled(*pair(), GREY)], (16, 16), augment=augment, seed=3) for augment in (None, Augment(blur=3.0))
    )
    assert all(torch.equal(sharp[i]["target"], soft[i]["target"]) for i in range(5))
    assert np.mean([soft[i]["source"].std() / sharp[i]["source"].std() for i in range(10)]) < 0.6


def test_covering_with_zoom_keeps_the_patch():
    items = list(patches([labelled(*pair(), GREY)], (16, 16), augment=Augment(zoom=0.5)).covering(5))
    assert {tuple(item["source"].shape) for item in items} == {(1, 16, 16)}
    with pytest.raises(BadInput, match="too few for patches"):
        patches([labelled(*pair(), GREY)], (41, 41), augment=Augment(zoom=0.5))


def test_covering_is_even_and_unchanged():
    image, mask = pair((1, 32, 32))
    items = list(patches([labelled(image, mask, GREY)], (16, 16), augment=Augment(noise=1)).covering(99))
    assert len(items) == 4
    assert all(agree(item) for item in items)


def test_masks_that_do_not_fit_their_image():
    image, mask = pair()
    with pytest.raises(BadInput, match="crop one of them"):
        labelled(image, Memory(mask.array[:, :, :30]), GREY)
    mask.voxel_size = (8.0, 4.0, 4.0)
    with pytest.raises(BadInput, match="resample one of them"):
        labelled(image, mask, GREY)
