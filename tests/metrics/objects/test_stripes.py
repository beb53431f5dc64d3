"""Stripes that go on, and stripes that do not: known answers, in images and volumes."""

import numpy as np
import pytest
from scipy import ndimage

from vol2vol.metrics.objects.stripes import Striping, striped_object

HOW = Striping(period=8)


def disc(*shape):
    """A disc or ball that fills a box."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return sum(g * g for g in grid) < 1


def stripes(shape, *, way, phase=0.0, colour=0, period=8):
    """Three channels, one of them striped along a direction."""
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    along = sum(w * g for w, g in zip(np.array(way) / np.linalg.norm(way), grid, strict=True))
    image = np.zeros((3, *shape), np.float32)
    image[colour] = np.cos(2 * np.pi * (along / period + phase)) > 0
    return image


def halves(first, second, share=0.5):
    """The first image, and from a share of its last axis on the second."""
    at = round(first.shape[-1] * share)
    return np.concatenate([first[..., :at], second[..., at:]], -1)


@pytest.mark.parametrize("shape", [(60, 70), (61, 53), (30, 40, 37)])
@pytest.mark.parametrize("noise", [0.0, 0.23])
def test_stripes_that_go_on_have_not_changed(shape, noise):
    rng = np.random.default_rng(0)
    mask = disc(*shape)
    for _ in range(5):
        image = stripes(shape, way=rng.standard_normal(len(shape)), phase=rng.random(), colour=rng.integers(3)) * mask
        image = np.clip(image + noise * rng.standard_normal(image.shape), 0, 1).astype(np.float32)
        found = striped_object(image, mask, HOW)
        assert found.visible(HOW)
        assert found.other == 0
        assert np.linalg.norm(found.wave) == pytest.approx(1 / 8, rel=0.02)


@pytest.mark.parametrize(
    ("change", "colour", "phase"),
    [
        ({"colour": 2}, True, False),
        ({"phase": 0.5}, False, True),
        ({"way": (1, 0)}, False, True),
        ({"way": (1, 0), "colour": 1}, True, True),
    ],
)
def test_what_changes_is_told_apart(change, colour, phase):
    mask, usual = disc(64, 64), {"way": (1, 3), "phase": 0.1, "colour": 0}
    image = halves(stripes((64, 64), **usual), stripes((64, 64), **{**usual, **change})) * mask
    found = striped_object(image.astype(np.float32), mask, HOW)
    assert found.changed(HOW)
    assert (found.other_colour > 0.2) == colour
    assert (found.other_phase > 0.2) == phase
    assert found.other < 0.7


def test_a_small_shift_of_the_phase_and_a_sliver_are_no_change():
    mask, usual = disc(64, 64), {"way": (1, 3), "phase": 0.1}
    for other, share in (({"phase": 0.2}, 0.5), ({"phase": 0.6}, 0.08)):
        image = halves(stripes((64, 64), **usual), stripes((64, 64), **{**usual, **other}), 1 - share) * mask
        assert not striped_object(image.astype(np.float32), mask, HOW).changed(HOW)


def test_objects_without_stripes_and_without_an_inside():
    plain = striped_object(np.full((3, 40, 40), 0.5, np.float32), disc(40, 40), HOW)
    assert not plain.visible(HOW)
    assert striped_object(np.ones((3, 6, 6), np.float32), disc(6, 6), HOW).inner == 0


def test_how_much_of_an_object_is_other_is_how_much_was_changed():
    mask = disc(90, 90)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > HOW.period / 2
    for share in (0.2, 0.35, 0.5):
        image = halves(stripes((90, 90), way=(2, 1)), stripes((90, 90), way=(-1, 2), colour=1), 1 - share) * mask
        expected = inside[:, round(90 * (1 - share)) :].sum() / inside.sum()
        assert striped_object(image.astype(np.float32), mask, HOW).other == pytest.approx(expected, abs=0.06)
