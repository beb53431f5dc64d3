"""The blind comb: false alarms, and the tile size of volumes that do not say it."""

import json

import numpy as np
import pytest
from seam_textures import offsets, texture

from vol2vol.errors import BadInput
from vol2vol.metrics.comb import comb_test


@pytest.mark.parametrize(("sigma", "skewed"), [(0.6, False), (1.5, False), (3, False), (1.5, True)])
def test_false_alarms_are_five_in_a_hundred(sigma, skewed):
    rng = np.random.default_rng(0)
    reports = [comb_test(texture(rng, (48, 64, 96), sigma, skewed=skewed)) for _ in range(30)]
    p = np.array([row.p for report in reports for row in report.rows])
    assert np.mean(p < 0.05) < 0.09
    assert np.mean([report.verdict == "seams" for report in reports]) < 0.14


@pytest.mark.parametrize("step", [13, 16, 24])
def test_tile_size_and_origin_are_found(step):
    rng = np.random.default_rng(step)
    shape, origin = (128, 144, 160), (3, 0, 7)
    report = comb_test(texture(rng, shape) + 0.4 * offsets(rng, shape, step, origin))
    assert report.verdict == "seams"
    assert [(row.step, row.origin) for row in report.rows] == [(step, o) for o in origin]
    assert all(row.verdict == "seam" and row.p_corrected < 1e-4 and row.statistic > 2 for row in report.rows)


def test_given_steps_are_the_only_ones_tried():
    y = texture(np.random.default_rng(1), (128, 128, 128))
    rows = comb_test(y, steps=[10, 20]).rows
    assert {row.tried for row in rows} == {2}
    assert {row.step for row in rows} <= {10, 20}


@pytest.mark.parametrize("shape", [(1, 30, 300), (2, 3, 4), (300, 300)])
def test_short_axes_are_not_tested(shape):
    report = comb_test(np.random.default_rng(2).random(shape))
    for row, size in zip(report.rows, (1, *shape)[-3:], strict=True):
        assert (row.verdict == "not tested") == (size < 37)
        assert row.reason == "" or "are needed" in row.reason
    json.dumps(report.to_dict(), allow_nan=False)


def test_equal_planes_are_no_logarithm():
    report = comb_test(np.zeros((60, 60, 60), np.uint8))
    assert report.verdict == "not tested"
    assert "equal" in report.rows[0].reason


def test_mistakes_are_named():
    with pytest.raises(BadInput, match="at least 2"):
        comb_test(np.zeros((9, 9)), steps=[1])
    with pytest.raises(BadInput, match="NaN"):
        comb_test(np.full((60, 60, 60), np.nan))
