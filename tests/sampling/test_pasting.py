"""Tests of random changes with masks: pasting of foreground, and another appearance inside the mask."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from tests.sampling.test_aligned import Memory, labelled, patches

from vol2vol.intensity import fixed
from vol2vol.sampling import Augment
from vol2vol.sampling.appearance import Look
from vol2vol.sampling.pasting import RIM, SMALLER, pasted

GREY = fixed(0, 255)


SOFT = RIM + 7
"""Voxels around a pasted object that may change: its rim, and the corners of the Gaussian that blends it."""


def changed(augment, image, mask, random):
    return Look.drawn(augment, random, masked=True)(image, mask, GREY, random)


def ball(shape, radius):
    """Return the mask of a ball in the middle, (1, *shape)."""
    centre = [(n - 1) / 2 for n in shape]
    away = sum((i - c) ** 2 for i, c in zip(np.indices(shape), centre, strict=True))
    return (away <= radius**2).astype(np.float32)[None]


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=2) | st.lists(st.integers(1, 14), min_size=3, max_size=3),
    st.integers(0, 999),
)
def test_pasted_things_bring_their_grey_and_leave_the_rest_alone(shape, seed):
    random = np.random.default_rng(seed)
    image, mask = np.full((1, *shape), -0.5, np.float32), np.zeros((1, *shape), np.float32)
    thing = ball(shape, min(shape) / 4)
    other = np.full((1, *shape), 0.75, np.float32)
    seen, there = pasted(image, mask, other, thing, random)
    assert (image == -0.5).all(), "what was handed in is left alone"
    assert seen.shape == there.shape == image.shape
    assert set(np.unique(there)) <= {0.0, 1.0}
    if there.any():
        away = distance_transform_edt(there == 0)
        assert (seen[away > SOFT] == -0.5).all()
        assert seen[there == 1].min() > 0.125, "inside, more of the other patch than of this one"
    else:
        assert (thing.sum() < 9) or (seen == -0.5).all()


def test_pasted_things_are_smaller_by_the_factors_named():
    thing = ball((101, 101), 25)
    empty = np.zeros_like(thing)
    random = np.random.default_rng(0)
    shares = [pasted(empty, empty, empty, thing, random)[1].sum() / thing.sum() for _ in range(300)]
    low, high = (factor**2 for factor in SMALLER)
    assert low * 0.85 < min(shares) < low * 1.3
    assert high * 0.8 < max(shares) < high * 1.1


def test_a_pasted_rim_takes_the_old_mask_away():
    full, thing = np.ones((1, 60, 60), np.float32), ball((60, 60), 20)
    _, mask = pasted(full, full, full, thing, np.random.default_rng(1))
    assert 0 < (mask == 0).sum() < 60 * 60 / 4, "a ring of background around the pasted thing, nothing else"


@pytest.mark.parametrize("shape", [(48, 50), (20, 24, 28)])
def test_shade_and_texture_stay_inside_the_mask(shape):
    random = np.random.default_rng(3)
    image = random.uniform(-0.4, 0.4, (1, *shape)).astype(np.float32)
    mask = ball(shape, 7)
    outside = distance_transform_edt(mask[0] == 0) > SOFT
    for augment in (Augment(texture=1.0), Augment(shade=0.2), Augment(texture=0.5, shade=0.1)):
        seen = changed(augment, image, mask, random)
        assert seen.dtype == np.float32
        assert np.array_equal(seen[0][outside], image[0][outside])
        assert not np.allclose(seen[mask == 1], image[mask == 1])


def test_shade_moves_by_no_more_than_it_says_and_texture_leaves_flat_things_flat():
    random = np.random.default_rng(4)
    flat, mask = np.zeros((1, 40, 40), np.float32), ball((40, 40), 12)
    middle = (0, 20, 20)
    moves = [changed(Augment(shade=0.1), flat, mask, random)[middle] for _ in range(200)]
    assert 0.18 < max(np.abs(moves)) <= 0.2 + 1e-6, "a tenth of a range of 2"
    np.testing.assert_allclose(changed(Augment(texture=2.0), flat, mask, random), 0, atol=1e-6)


def test_texture_multiplies_what_is_finer_than_the_gaussian():
    random = np.random.default_rng(5)
    stripes = np.tile(np.float32([-0.1, 0.1]), (40, 20))[None]
    mask = np.ones_like(stripes)
    spans = [np.abs(changed(Augment(texture=1.0), stripes, mask, random)[0, 15:25, 15:25]).mean() for _ in range(300)]
    assert 0.1 * np.exp(-1) * 0.98 < min(spans) < 0.1 * np.exp(-0.9)
    assert 0.1 * np.exp(0.9) < max(spans) < 0.1 * np.exp(1) * 1.02


def test_nothing_is_pasted_from_what_is_held_out():
    grey = np.full((1, 4, 40, 80), 50, np.uint8)
    grey[..., 60:] = 250
    mask = np.zeros_like(grey)
    mask[..., 10:14, 10:50], mask[..., 20:30, 62:78] = 1, 1
    learnt, _ = labelled(Memory(grey), Memory(mask), GREY).split(0.25, (1, 20, 20))
    data = patches([learnt], (20, 20), augment=Augment(paste=1.0))
    items = [data[i] for i in range(40)]
    assert max(item["source"].max() for item in items) < 0, "the bright part is held out"
    assert len({float(item["target"].sum()) for item in items}) > 5
    assert all(torch.equal(data[i]["target"], items[i]["target"]) for i in range(5))
