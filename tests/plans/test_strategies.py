"""Strategies as values: the numbers of the paper, and laws over random plans."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol import plans
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint
from vol2vol.plans import Plan


def unet(levels: int, dims: int = 1, *, padded: bool = False) -> Footprint:
    """The footprint of the paper's U-Net, from its printed formulae (section 8.2)."""
    reach, period = 2 ** (levels + 1) - 2, 2**levels
    residue = 0 if padded else period - 2
    minimum = reach * 2 + (2 if not padded else period - (reach * 2) % period)
    side = (reach,) * dims
    return Footprint(
        reach=(side, side),
        period=(period,) * dims,
        residue=(residue,) * dims,
        minimum=(minimum,) * dims,
        trim=((0,) * dims, (0,) * dims),
    )


def test_the_papers_numbers():
    exact = plans.exact(unet(5), (190,))
    assert (exact.margin, exact.step, exact.kept) == (((64,), (62,)), (64,), (64,))
    printed = plans.printed(unet(5), (190,))
    assert (printed.margin, printed.step) == (((63,), (63,)), (64,))
    average = plans.average(unet(5, padded=True), (192,))
    assert (average.margin, average.step) == (((16,), (16,)), (128,))
    assert plans.disjoint(unet(5), (190,)).step == (190,)
    with pytest.raises(BadInput, match="try 192 or 224"):
        plans.average(unet(5, padded=True), (222,))
    assert plans.smallest_exact_tile(unet(5), 0) == 158
    assert round(plans.exact(unet(5, 3), (190,) * 3).redundancy((6400,) * 3), 1) == 26.2


@given(levels=st.integers(1, 5), more=st.integers(0, 6), padded=st.booleans())
def test_exact_tiles_start_on_the_period_grid_and_keep_only_certain_voxels(levels, more, padded):
    foot = unet(levels, padded=padded)
    tile = plans.smallest_exact_tile(foot, 0) + more * foot.period[0]
    plan = plans.exact(foot, (tile,))
    before, after = plan.margin[0][0], plan.margin[1][0]
    assert before >= foot.reach[0][0]
    assert after >= foot.reach[1][0]
    for box in plan.kept_boxes(Box((-50,), (500,))):
        assert plan.read_box(box).start[0] % foot.period[0] == 0
    assert not plan.overlaps
    if more == 0:
        assert plan.step == foot.period


axis = st.tuples(st.integers(1, 12), st.integers(0, 4), st.integers(0, 4), st.integers(1, 12), st.integers(-6, 6))


@st.composite
def random_plans(draw, dims=2):
    parts = [draw(axis) for _ in range(dims)]
    kept, before, after, step, origin = zip(*parts, strict=True)
    return Plan(
        tile=tuple(k + b + a for k, b, a in zip(kept, before, after, strict=True)),
        margin=(before, after),
        step=tuple(min(s, k) for s, k in zip(step, kept, strict=True)),
        origin=origin,
        window=draw(st.sampled_from(plans.WINDOWS)),
    )


@given(plan=random_plans(), size=st.tuples(st.integers(1, 64), st.integers(1, 64)))
def test_l1_kept_boxes_cover_and_flat_plans_without_overlap_partition(plan, size):
    whole = Box.of(size)
    count = np.zeros(size, int)
    for box in plan.kept_boxes(whole):
        assert (box & whole).size > 0
        count[(box & whole).slices] += 1
    assert (count >= 1).all()
    if not plan.overlaps:
        assert (count == 1).all()


@given(plan=random_plans())
def test_weights_are_positive_symmetric_and_survive_json(plan):
    weight = plan.weight()
    assert weight.shape == plan.kept
    assert weight.min() > 0
    assert weight.max() <= 1
    np.testing.assert_allclose(weight, weight[::-1, ::-1], rtol=1e-12)
    if plan.window == "flat":
        assert (weight == 1).all()
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_borders_are_where_tiles_begin():
    plan = plans.exact(unet(5), (190,))
    assert plan.borders((200,), 0) == [64, 128, 192]
    assert plans.planar(plans.exact(unet(5, 2), (190, 222)), 0).borders((3, 100, 100), 2) == [96]


@pytest.mark.parametrize(
    ("change", "cure"),
    [({"step": (9,)}, "gaps"), ({"margin": ((4,), (4,))}, "larger tile"), ({"window": "cosine"}, "gaussian")],
)
def test_impossible_plans_are_refused(change, cure):
    good = {"tile": (8,), "margin": ((0,), (0,)), "step": (8,), "origin": (0,)}
    with pytest.raises(BadInput, match=cure):
        Plan(**{**good, **change})


def test_too_small_tiles_name_the_smallest():
    with pytest.raises(BadInput, match="158"):
        plans.exact(unet(5), (126,))
    with pytest.raises(BadInput, match="halo 16 and overlap 32"):
        plans.average(unet(3, padded=True), (48,))
