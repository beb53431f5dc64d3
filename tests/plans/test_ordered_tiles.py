"""Tiles in order: every voxel is kept by one, waves respect what is shown, a region needs what it depends on."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol import plans
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint
from vol2vol.plans.marching import shown
from vol2vol.plans.ordered_tiles import OrderedTiles


def pointwise(dims):
    one, none = (1,) * dims, (0,) * dims
    return Footprint(reach=(none, none), period=one, residue=none, minimum=one, trim=(none, none))


@st.composite
def ordered(draw, most=3):
    """Ordered tiles of volumes from one voxel to three tiles long, in 2D planes and 3D, and of regions."""
    planar = draw(st.sampled_from([None, 0]))
    dims = 3 if planar is None else 2
    tile = tuple(draw(st.integers(2, 7)) for _ in range(dims))
    overlap = draw(st.integers(1, min(tile) - 1))
    keep = draw(st.floats(0, 1))
    plan = plans.march(pointwise(dims), tile, plans.Overlap(overlap=overlap, keep=keep))
    spatial = [draw(st.integers(1, n + (most - 1) * s)) for n, s in zip(plan.tile, plan.step, strict=True)]
    plan = plan if planar is None else plans.planar(plan, planar)
    spatial = tuple(spatial) if planar is None else (draw(st.integers(1, 3)), *spatial)
    start = [draw(st.integers(0, n - 1)) for n in spatial] if draw(st.booleans()) else [0, 0, 0]
    stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, spatial, strict=True)]
    region = Box(tuple(start), tuple(stop)) if draw(st.booleans()) else Box.of(spatial)
    return OrderedTiles(plan, spatial, region, planar)


def every(tiles):
    return product(*map(range, tiles.count))


@given(ordered())
def test_every_voxel_is_kept_by_the_tile_that_painted_it_last(tiles):
    owner = np.full(tiles.spatial, -1)
    for number, index in enumerate(every(tiles)):
        box = tiles.painted(index) & Box.of(tiles.spatial)
        owner[box.slices] = number
    kept = np.full(tiles.spatial, -1)
    for number, index in enumerate(every(tiles)):
        box = tiles.kept(index)
        assert box.size
        assert Box.of(tiles.spatial).contains(box)
        assert (kept[box.slices] == -1).all()
        kept[box.slices] = number
        assert index in [*tiles.touching(box)]
    np.testing.assert_array_equal(kept, owner)


@given(ordered())
def test_no_tile_could_be_left_out(tiles):
    for axis, n in enumerate(tiles.count):
        ends = [k * tiles.plan.step[axis] + tiles.plan.tile[axis] for k in range(n)]
        assert ends[-1] >= tiles.spatial[axis]
        assert all(end < tiles.spatial[axis] for end in ends[:-1])


@given(ordered())
def test_what_a_tile_is_shown_is_what_training_pasted(tiles):
    """All voxels of earlier tiles, and no others, lie where `shown` says, so that one function decides both."""
    for index in every(tiles):
        box = tiles.box(index)
        canvas = np.zeros(box.shape, bool)
        for other in tiles.needs(index):
            canvas[(tiles.painted(other) & box).relative_to(box.start).slices] = True
        np.testing.assert_array_equal(canvas, shown(box.shape, tiles.overlap, tiles.before(index)))


@given(ordered())
def test_waves_come_after_all_that_they_are_shown(tiles):
    for index in every(tiles):
        assert all(tiles.wave(other) < tiles.wave(index) for other in tiles.needs(index))
    batches = tiles.batches(3)
    order = {index: number for number, batch in enumerate(batches) for index in batch}
    assert all(len(batch) <= 3 for batch in batches)
    assert sorted(order) == [*tiles.needed()] == sorted(set(tiles.needed()))
    assert all(order[other] < number for index, number in order.items() for other in tiles.needs(index))


@given(ordered())
def test_a_region_needs_all_that_it_depends_on_and_no_more(tiles):
    todo = [*tiles.touching(tiles.region)]
    depends = set(todo)
    while todo:
        for other in tiles.needs(todo.pop()):
            if other not in depends:
                depends.add(other)
                todo.append(other)
    assert depends <= set(tiles.needed())
    assert tiles.total == len([*tiles.needed()])
    assert {index for index in every(tiles) if tiles.is_needed(index)} == set(tiles.needed())
    if max(tiles.overlap) * 2 <= min(n for n in tiles.plan.tile if n > 1) and tiles.plan.margin[1][2]:
        assert set(tiles.needed()) == depends
    for index in tiles.needed():
        expected = [other for other in tiles.needed() if index in tiles.needs(other)]
        assert [*tiles.followers(index)] == expected


@given(ordered(most=5))
def test_no_more_tiles_are_alive_than_stated(tiles):
    alive, most, painted = set(), 0, set()
    for batch in tiles.batches(1 << 30):
        alive |= {*batch}
        painted |= {*batch}
        most = max(most, len(alive))
        alive = {index for index in alive if not painted.issuperset(tiles.followers(index))}
    assert most <= tiles.most_alive() <= tiles.total


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "tiles"), [(2048, 512, 128, 25), (2000, 512, 128, 25), (512, 512, 128, 1)]
)
def test_tiles_and_waves_of_the_published_benchmark(size, tile, overlap, tiles):
    plan = plans.planar(plans.march(pointwise(2), (tile,) * 2, plans.Overlap(overlap=overlap)), 0)
    ordered = OrderedTiles(plan, (1, size, size), Box.of((1, size, size)), 0)
    assert ordered.total == tiles
    assert ordered.waves() == {25: 13, 1: 1}[tiles]
    assert [*ordered.borders(1)] == ([] if tiles == 1 else [448, 832, 1216, 1600])
    assert ordered.wave((0, 2, 1)) == 5
    assert ordered.overlap == (0, overlap, overlap)


def test_waves_in_3d_and_where_the_earlier_tile_keeps_everything():
    def weights(keep):
        plan = plans.march(pointwise(3), (8,) * 3, plans.Overlap(overlap=2, keep=keep))
        tiles = OrderedTiles(plan, (40,) * 3, Box.of((40,) * 3))
        return [tiles.wave(index) for index in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]

    assert weights(0.5) == [4, 2, 1]
    assert weights(1) == [1, 1, 1]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"overlap": 0}, "overlap 0 shows a tile nothing of earlier ones, which is strategy disjoint: use `overlap` 4"),
        ({"overlap": 16}, "overlap 16 leaves nothing of a tile of 16: use `overlap` 4"),
        ({"overlap": 99}, "overlap 99 leaves nothing of a tile of 16"),
        (
            {"overlap": 2, "shown": (0.2, 0.25)},
            "not shown in training, which had 0.2 to 0.25 of its length: use `overlap` 4, or",
        ),
        ({"overlap": 5, "shown": (0.25, 0.25)}, "overlap 5 of a tile of 16 was not shown in training"),
    ],
)
def test_overlaps_that_cannot_be_are_refused_with_a_cure(how, says):
    with pytest.raises(BadInput, match=says):
        plans.march(pointwise(2), (16, 16), plans.Overlap(**how))


def test_the_overlap_is_by_default_the_widest_that_was_shown():
    assert plans.march(pointwise(2), (16, 40), plans.Overlap(shown=(0.1, 0.2))).step == (13, 32)
    assert plans.march(pointwise(2), (16, 40), plans.Overlap()).step == (12, 30)
    assert plans.march(pointwise(2), (17, 17), plans.Overlap(overlap=5, shown=(0.25, 0.25))).step == (12, 12)


def test_networks_that_cut_off_their_border_are_refused():
    cut = Footprint(reach=((2,), (2,)), period=(1,), residue=(0,), minimum=(5,), trim=((2,), (2,)))
    with pytest.raises(BadInput, match="cuts off the border of a tile"):
        plans.march(cut, (16,), plans.Overlap())
