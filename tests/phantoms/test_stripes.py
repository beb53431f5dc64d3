"""Striped objects: every block is a crop, stripes have their period, and what is free is drawn freely."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vol2vol.geometry import Box
from vol2vol.phantoms import Circles, Stripes

FLAT = Stripes(shape=(96, 80), diameter=30, period=6, sub_pixel=True, seed=3)
DEEP = Stripes(shape=(20, 40, 44), diameter=18, period=6)


@pytest.mark.parametrize("how", [FLAT, DEEP], ids=["images", "volumes"])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_any_box_is_a_crop(how, data):
    picture, whole = how.picture("target", 1), Box.of(how.spatial)
    ends = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in how.spatial]
    box = Box(tuple(a for a, _ in ends), tuple(max(a + 1, b) for a, b in ends))
    np.testing.assert_array_equal(picture.coloured(box), picture.coloured(whole)[:, *box.slices])


@pytest.mark.parametrize("how", [FLAT, DEEP], ids=["images", "volumes"])
def test_half_of_each_object_is_bright_in_one_colour_and_the_mask_is_white(how):
    quiet = how.model_copy(update={"noise": "none"})
    picture, whole = quiet.picture("target", 0), Box.of(how.spatial)
    image, labels = picture.coloured(whole), picture.labels(whole)[0]
    assert not image[:, labels == 0].any()
    np.testing.assert_array_equal(picture.white(whole)[0] > 0, labels > 0)
    for number, colour in enumerate(picture.colours):
        inside = image[:, labels == number + 1]
        if inside.shape[1] > 100:
            assert {*np.flatnonzero(inside.any(1))} == {colour}
            assert 0.35 < (inside[colour] > 0).mean() < 0.65


def test_waves_have_the_period_and_directions_are_free():
    picture = Stripes(shape=(400, 400), diameter=20, period=7).picture("target", 0)
    ways, phases = picture.waves
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1 / 7)
    assert not ways[:, 0].any()
    angles = np.mod(np.arctan2(ways[:, 1], ways[:, 2]), np.pi)
    for values, top in ((angles, np.pi), (phases, 1)):
        counts, _ = np.histogram(values, 4, (0, top))
        assert counts.min() > 0.15 * len(values)
    assert (
        len({round(float(way), 9) for way in Stripes(shape=(9, 40, 40), diameter=8).picture("test", 0).waves[0][:, 0]})
        > 1
    )


def test_objects_are_those_of_the_circles_and_noise_is_theirs():
    how, plain = Stripes(shape=(60, 60), diameter=20), Circles(shape=(60, 60), diameter=20)
    box = Box.of(how.spatial)
    for role in ("source", "target"):
        np.testing.assert_array_equal(how.picture(role, 2).labels(box), plain.picture(role, 2).labels(box))
    np.testing.assert_array_equal(how.picture("source", 2).white(box), plain.picture("source", 2).white(box))


def test_stripes_that_voxels_cannot_show_are_refused():
    with pytest.raises(ValidationError, match="period"):
        Stripes(period=3)
