"""What a row keeps of what measures found."""

import numpy as np
import pytest

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.measures import MEASURES, Bounded, Measure, Quantity, Taken
from vol2vol.report.rows.rows import Row, Value
from vol2vol.study.row_builder import WIDEST, RowBuilder

BLOCKS = np.random.default_rng(0).uniform(1, 2, (12, 2))
TOY = Measure(
    name="toy",
    about="a toy",
    quantities=(Quantity(key="ratio/{of}"), Quantity(key="plain", interval=False)),
    take=lambda subject: Taken(values={}),
)


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def blockwise(sums):
    return Blockwise(name="ratio", sums=sums, combine=ratio)


def test_numbers_are_kept_with_the_intervals_that_they_have():
    row, sums = RowBuilder(), blockwise(BLOCKS)
    values = {"ratio/a": sums, "ratio/b": Bounded(2.0, 1.0, 3.0), "ratio/c": 4.0, "ratio/d": None, "plain": sums}
    row.add(TOY, Taken(values=values, notes={"": "whole", "ratio/a": "one"}))
    interval = sums.interval()
    assert row.values == {
        "toy/ratio/a": Value(value=ratio(BLOCKS.sum(0)), low=interval.low, high=interval.high),
        "toy/ratio/b": Value(value=2.0, low=1.0, high=3.0),
        "toy/ratio/c": Value(value=4.0),
        "toy/plain": Value(value=ratio(BLOCKS.sum(0))),
    }
    assert row.notes == {"toy": "whole", "toy/ratio/a": "one"}
    assert row.sums.keys() == {"toy/ratio/a"}
    assert np.array_equal(row.sums["toy/ratio/a"], BLOCKS)


def test_one_block_has_no_interval_and_wide_sums_are_not_kept():
    row, wide = RowBuilder(), np.ones((3, WIDEST + 1))
    row.add(TOY, Taken(values={"ratio/a": blockwise(BLOCKS[:1]), "ratio/b": blockwise(wide), "ratio/c": float("nan")}))
    assert row.values["toy/ratio/a"] == Value(value=ratio(BLOCKS[0]))
    assert row.values["toy/ratio/c"] == Value(value=None)
    assert row.sums.keys() == {"toy/ratio/a"}


def test_what_was_measured_before_is_kept_unless_the_trial_failed():
    about = {"trial": "t", "source": "a", "target": "b", "translator": "m", "values": {"x/y": Value(value=1.0)}}
    assert RowBuilder.of(Row(**about), {"x/y": BLOCKS}).values == {"x/y": Value(value=1.0)}
    assert RowBuilder.of(Row(**about, status="failed"), {"x/y": BLOCKS}) == RowBuilder() == RowBuilder.of(None, {})


def test_why_a_measure_cannot_be_taken_is_noted_and_other_errors_pass():
    row = RowBuilder()
    with row.unless_impossible(MEASURES["near_seam"]):
        raise BadInput("there is one tile")
    assert row.notes == {"near_seam": "not measured: there is one tile"}
    with pytest.raises(MemoryError), row.unless_impossible(TOY):
        raise MemoryError
