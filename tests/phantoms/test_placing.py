"""Circles, spheres and ellipsoids are placed without overlap, or refused at once."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.phantoms import Circles, Picture
from vol2vol.phantoms.placing import Ellipsoids, paint, separate


def spheres(centres, radii):
    return Ellipsoids(np.array(centres, float), np.eye(3) * np.array(radii, float)[:, None, None] ** 2)


def turned(rng, count, radii=(3, 9)):
    turns = Rotation.from_quat(rng.standard_normal((count, 4))).as_matrix()
    return turns @ (np.eye(3) * rng.uniform(*radii, (count, 1, 3)) ** 2) @ turns.swapaxes(1, 2)


@given(
    shape=st.one_of(
        st.tuples(st.integers(2, 90), st.integers(2, 90)),
        st.tuples(st.integers(1, 30), st.integers(2, 30), st.integers(2, 30)),
    ),
    diameter=st.floats(1, 25),
    elongation=st.sampled_from([(1.0, 1.0), (0.5, 1.5)]),
    sub_pixel=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_no_voxel_belongs_to_two(shape, diameter, elongation, sub_pixel, seed):
    how = Circles(shape=shape, diameter=diameter, elongation=elongation, sub_pixel=sub_pixel, seed=seed)
    bodies = Picture(how, "source", 0).bodies
    assert len(bodies) == how.objects
    box = Box.of(how.spatial)
    alone = [paint(bodies[[n]], box) > 0 for n in range(len(bodies))]
    assert sum(map(int, (np.count_nonzero(one) for one in alone))) == np.count_nonzero(paint(bodies, box))
    assert ((bodies.centres > -0.51) & (bodies.centres < np.array(how.spatial) - 0.49)).all()
    if elongation == (1, 1) and len(bodies) > 1:
        apart = np.sqrt(((bodies.centres[:, None] - bodies.centres) ** 2).sum(-1))
        assert apart[~np.eye(len(bodies), dtype=bool)].min() >= diameter * (1 - 1e-6)


@given(st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_spheres_are_separate_from_the_sum_of_their_radii_on(seed):
    rng = np.random.default_rng(seed)
    radii, centres = rng.uniform(1, 9, (2, 30)), rng.uniform(0, 20, (2, 30, 3))
    found = separate(*(spheres(c, r) for c, r in zip(centres, radii, strict=True)))
    gap = np.sqrt(((centres[0] - centres[1]) ** 2).sum(1)) - radii.sum(0)
    assert found[gap < 0].sum() == 0
    assert found[gap > 0.1].all()


def test_circles_may_touch_and_a_hair_less_is_too_near():
    pair = spheres([[0, 0, 0], [0, 24, 32], [0, 24, 31.999]], [20, 20, 20])
    assert separate(pair[[0]], pair[[1]]).tolist() == [True]
    assert separate(pair[[0]], pair[[2]]).tolist() == [False]


def test_ellipsoids_that_are_called_separate_have_no_common_point():
    """Against points drawn inside: none of them lies in the other; and what shares no point of many is mostly seen."""
    rng = np.random.default_rng(0)
    first = Ellipsoids(np.zeros((200, 3)), turned(rng, 200))
    second = Ellipsoids(rng.uniform(-12, 12, (200, 3)), turned(rng, 200))
    ball = rng.standard_normal((4000, 3))
    ball *= (rng.uniform(0, 1, 4000) ** (1 / 3) / np.sqrt((ball**2).sum(1)))[:, None]
    found, common = separate(first, second), []
    for a, b, offset in zip(first.spreads, second.spreads, second.centres, strict=True):
        points = ball @ np.linalg.cholesky(a).T - offset
        common.append(((points @ np.linalg.inv(b)) * points).sum(1).min() < 1)
    assert not (found & common).any()
    assert np.mean(found == ~np.array(common)) > 0.9
    assert 0.2 < found.mean() < 0.9


def test_painting_is_what_the_equation_says():
    rng = np.random.default_rng(3)
    body = Ellipsoids(np.array([[7.3, 9.1, 11.6]]), turned(rng, 1))
    places = np.stack(np.meshgrid(*map(np.arange, (15, 19, 24)), indexing="ij"), -1) - body.centres[0]
    inside = np.einsum("...i,ij,...j", places, np.linalg.inv(body.spreads[0]), places) < 1
    np.testing.assert_array_equal(paint(body, Box.of(inside.shape)) > 0, inside)


@pytest.mark.parametrize(("shape", "count"), [((90, 90), 30), ((30, 30, 30), 24), ((1, 90, 90), 30)])
def test_densities_that_cannot_be_placed_are_refused(shape, count):
    """Fewer than what all space has room for, more than random placing can reach; and far more than all space."""
    began = time.process_time()
    with pytest.raises(BadInput, match=f"^only .* of {count} ") as caught:
        Picture(Circles(shape=shape, diameter=20, count=count), "source", 0).labels(Box((0, 0, 0), (1, 1, 1)))
    assert str(caught.value).endswith("could be placed without overlap: ask for fewer or smaller")
    assert time.process_time() - began < 10
    with pytest.raises(ValidationError, match=r"would take .* times its space: ask for fewer or smaller"):
        Circles(shape=shape, diameter=20, count=10**9)


def test_the_order_of_drawing_decides():
    """The first circles of a fuller image of the same seed need not agree, but the same image is the same."""
    how = Circles(shape=(200, 200), diameter=20)
    one, two = (Picture(how, "source", 4).bodies.centres for _ in range(2))
    np.testing.assert_array_equal(one, two)
    different = [Picture(how, role, number).bodies.centres for role in ("source", "test") for number in (0, 1)]
    assert all(not np.array_equal(a, b) for a, b in pairwise(different))
