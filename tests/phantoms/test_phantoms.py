"""Phantoms: pure functions of position, alike in shape and unlike in look."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vol2vol.geometry import Box
from vol2vol.phantoms import DOMAINS, Scene, mask, render

SCENE = Scene(7, mitochondria=0.6)
WHOLE = Box((-9, 13, -30), (31, 77, 50))


@pytest.fixture(scope="module")
def whole():
    return {name: render(SCENE, domain, WHOLE) for name, domain in DOMAINS.items()} | {"mask": mask(SCENE, WHOLE)}


axes = [
    st.tuples(st.integers(a, b - 1), st.integers(1, 40)).map(lambda p, b=b: (p[0], min(p[0] + p[1], b)))
    for a, b in zip(WHOLE.start, WHOLE.stop, strict=True)
]


@given(spans=st.tuples(*axes))
@settings(max_examples=20, deadline=None)
def test_any_box_is_a_crop_of_a_larger_one(whole, spans):
    box = Box(*zip(*spans, strict=True))
    part = (slice(None), *box.relative_to(WHOLE.start).slices)
    for name, domain in DOMAINS.items():
        np.testing.assert_array_equal(render(SCENE, domain, box), whole[name][part])
    np.testing.assert_array_equal(mask(SCENE, box), whole["mask"][part])
