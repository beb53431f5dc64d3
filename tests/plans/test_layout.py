"""Where tiles meet in a region, and what a record states of an output."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans.made_records import footprint, layout, record

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.plans import Plan, planar
from vol2vol.plans.record import KEY, Record, is_predicted

WHOLE = (40, 100, 100)


def tiles(step, axis=None):
    """A plan of tiles side by side; across `axis`, planes are images of their own."""
    dims = 3 if axis is None else 2
    plan = Plan(tile=(step,) * dims, margin=((0,) * dims,) * 2, step=(step,) * dims, origin=(0,) * dims)
    return plan if axis is None else planar(plan, axis)


def test_borders_of_slices_blocks_and_orthoslices():
    assert layout([tiles(30, 0)], WHOLE, planar=0).borders() == ([], [30, 60, 90], [30, 60, 90])
    assert layout([tiles(30)], WHOLE).borders() == ([30], [30, 60, 90], [30, 60, 90])
    three = layout([tiles(50, 0), tiles(30, 1), tiles(45, 2)], WHOLE, planar=[0, 1, 2])
    assert three.borders() == ([30], [45, 50, 90], [30, 50, 60, 90])


def test_borders_of_a_stretched_pass_come_back_to_the_volume():
    assert layout([tiles(60, 1)], WHOLE, planar=1, planes=80).borders()[0] == [30]


def test_borders_of_a_region_are_counted_from_its_corner():
    part = layout([tiles(30, 0)], WHOLE, planar=0, region=Box((0, 20, 50), (40, 80, 100)))
    assert part.borders() == ([], [10, 40], [10, 40])


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_borders_are_those_of_all_tiles_that_lie_inside(data):
    spatial = data.draw(st.tuples(*[st.integers(2, 40)] * 3))
    ends = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in spatial]
    region = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    step, origin = data.draw(st.integers(1, 20)), data.draw(st.integers(-30, 30))
    plan = Plan(tile=(step,) * 3, margin=((0,) * 3,) * 2, step=(step,) * 3, origin=(origin,) * 3)
    planes = data.draw(st.integers(1, 90))
    borders = layout([plan], spatial, region=region, planes=planes).borders()
    for axis in range(3):
        seen = planes if axis == 0 else spatial[axis]
        starts = [origin + k * step for k in range(-60, 130)]
        expected = {round(p * spatial[axis] / seen) - region.start[axis] for p in starts if 0 < p < seen}
        assert borders[axis] == sorted(p for p in expected if 0 < p < region.shape[axis])


class Stated:
    path, spatial = "out.zarr", WHOLE

    def __init__(self, attrs):
        self.attrs = attrs


def test_a_record_is_read_as_it_was_written():
    kept = record(
        layout([tiles(30, 0)], WHOLE, planar=0),
        period=(4, 8),
        chosen={"time": 3},
        intensity_from={"name": "a", "fingerprint": "b", "map": {"low": [0.0], "high": [255.0]}},
        training={"recipe": {"task": {"name": "regress"}}, "versions": {"torch": "2.8"}},
    )
    attrs = json.loads(json.dumps(kept.attributes()))
    assert attrs == kept.attributes()
    again = Record.of(Stated(attrs))
    assert again == kept
    assert (again.layout.borders(), again.footprint.period) == (kept.layout.borders(), (4, 8))
    assert "chosen" not in record(kept.layout).attributes()[KEY]


def test_what_later_versions_add_is_kept():
    attrs = record(layout([tiles(30)], WHOLE)).attributes()
    attrs[KEY]["seed"] = 7
    assert Record.of(Stated(attrs)).attributes() == attrs


@pytest.mark.parametrize("attrs", [{}, {"preparation": {}}, {KEY: None}, {KEY: [1]}, {KEY: "yes"}])
def test_what_has_no_record_is_not_a_prediction(attrs):
    assert Record.of(Stated(attrs)) is None
    assert not is_predicted(Stated(attrs))


def places(data, path=()):
    """Yield the paths of all parts of plain data."""
    if path:
        yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(value, (*path, key))


def refusal(attrs):
    """What is said of a record, nothing where it can be worked with."""
    try:
        assert len(Record.of(Stated(attrs), cure="give `step`").layout.borders()) == 3
    except BadInput as error:
        return str(error)
    return ""


def test_strangers_records_are_read_or_refused_in_one_line():
    whole = record(layout([tiles(30, 0)], WHOLE, planar=0), period=(4, 8)).attributes()
    ways, refused = [None, -1, 10**30, "x\x1b[2J", [], {"a": 1}, True, 0.5, ...], 0
    for path in places(whole[KEY]):
        for value in ways:
            attrs = copy.deepcopy(whole)
            part = attrs[KEY]
            for key in path[:-1]:
                part = part[key]
            if value is ...:
                del part[path[-1]]
            else:
                part[path[-1]] = value
            line = refusal(attrs)
            assert not line or line.startswith(
                ("the record of how out.zarr was made cannot", "out.zarr has (40, 100, 100)")
            )
            assert not line or line.endswith(": give `step`")
            assert "\n" not in line
            assert "\x1b" not in line
            refused += bool(line)
    assert refused > 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layout": None}, r"its record\.layout"),
        ({"footprint": {"period": [32, 32]}}, r"its record\.footprint\.reach: field required"),
        ({"network": {"name": 3, "arguments": {}}}, r"its record\.network\.name"),
        ({"complete": "yes"}, r"its record\.complete"),
        ({"version": 1}, r"its record\.version"),
    ],
)
def test_the_part_that_does_not_fit_is_named(change, words):
    attrs = record(layout([tiles(30)], WHOLE)).attributes()
    with pytest.raises(BadInput, match=words):
        Record.of(Stated({KEY: {**attrs[KEY], **change}}))


def test_a_record_cannot_be_changed():
    kept = record(layout([tiles(30)], WHOLE))
    with pytest.raises(ValueError, match="frozen"):
        kept.complete = False
    assert footprint((2, 2)).dims == 2
