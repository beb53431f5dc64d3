"""Verdicts over all axes and passes: equivalence, corrected p values, and plain data."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.metrics.seams.seam_textures import decided_rows, offsets, texture

from vol2vol.metrics.seams.grid import BETWEEN, Grid
from vol2vol.metrics.seams.known_grid import seam_tests
from vol2vol.metrics.seams.phases import holm
from vol2vol.metrics.seams.verdicts import SeamReport, judge_together, overall

SMALL = (96, 96, 64)
GRID = Grid(step=(24, 24, 24))
AVERAGED = Grid(step=(24, 24, 24), overlap=(6, 6, 6))


def rough(shape, seed=11):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_equivalence_needs_enough_planes():
    rng = np.random.default_rng(11)
    rough = rng.standard_normal((200, 200, 200)).astype(np.float32)
    report = seam_tests(rough, Grid(step=(40, 40, 40)))
    assert {e.seam_free for e in report.equivalence} == {"yes"}
    assert report.verdict == "seam-free within 1 %"
    few = seam_tests(texture(rng, SMALL), GRID).equivalence[0]
    assert few.seam_free == "undecided"
    assert few.reason.startswith("too few faces")
    rough[40::40] *= 1.5
    spoilt = seam_tests(rough, Grid(step=(40, 40, 40))).equivalence[0]
    assert spoilt.seam_free == "no"
    assert spoilt.low > 1.01


def test_an_axis_with_an_untested_seam_is_no_clean_bill():
    y = rough((60, 120, 120))
    y[40:] += 3
    report = seam_tests(y, Grid(step=(40, 40, 40)), margin=0.05)
    assert [axis.seam_free for axis in report.equivalence] == ["not tested", "yes", "yes"]
    assert report.verdict == "undecided"
    phased = seam_tests(rough((30, 120, 120)), Grid(step=(40, 40, 40), period=(1, 1, 40)), margin=0.05)
    assert [axis.seam_free for axis in phased.equivalence] == ["not tested", "yes", "not tested"]
    assert [axis.tiled for axis in phased.equivalence] == [False, True, True]
    assert phased.verdict == "undecided"


@pytest.mark.parametrize(
    ("depth", "step", "verdict"),
    [
        (30, 40, "seam-free within 5 %"),
        (30, 1, "seam-free within 5 %"),
        (30, BETWEEN, "undecided"),
        (30, 5, "undecided"),
    ],
)
def test_axes_without_seams_are_left_out_of_the_verdict(depth, step, verdict):
    report = seam_tests(rough((depth, 120, 120)), Grid(step=(step, 40, 40)), margin=0.05)
    assert report.equivalence[0].seam_free == "not tested"
    assert report.equivalence[0].tiled == (verdict == "undecided")
    assert report.verdict == verdict
    assert report.to_dict()["verdict"] == verdict


def test_reports_of_one_volume_are_corrected_together():
    y = texture(np.random.default_rng(19), SMALL) + 0.01 * offsets(np.random.default_rng(20), SMALL, 24)
    alone = [seam_tests(y, Grid(step=(24, 24, 24), origin=(o, o, o))) for o in (0, 6, 12)]
    together = judge_together(alone)
    rows = [row for report in together for row in decided_rows(report)]
    np.testing.assert_array_equal([row.p_corrected for row in rows], holm(np.array([row.p for row in rows])))
    before = [row for report in alone for row in decided_rows(report)]
    assert all(new.p_corrected >= old.p_corrected for new, old in zip(rows, before, strict=True))
    assert overall(together) == ("seams" if min(row.p_corrected for row in rows) < 0.05 else "undecided")
    row = replace(decided_rows(alone[0])[0], p=0.004)
    doubtful = [replace(report, rows=(row, *[replace(row, p=0.9)] * 5)) for report in alone]
    assert overall([judge_together([doubtful[0]])[0]]) == "seams"
    assert overall(
        judge_together([doubtful[0], *(replace(r, rows=(replace(row, p=0.9),) * 6) for r in alone[1:])])
    ) == ("undecided")


def test_a_report_is_plain_data():
    report = seam_tests(np.random.default_rng(0).random((30, 60, 60)), Grid(step=(24, 24, 24)))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert isinstance(report, SeamReport)
    assert data["verdict"] == report.verdict
    assert data["rows"][0]["statistic"] is None
    assert len(data["rows"][3]["profile"]) == 24
    assert data["grid"]["step"] == [24, 24, 24]
