"""Seam tests under the periodic pattern that a strided network leaves in its output."""

import numpy as np
import pytest
from tests.metrics.seams.seam_textures import decided_rows, joined, texture

from vol2vol.errors import BadInput
from vol2vol.metrics.seams.grid import Grid
from vol2vol.metrics.seams.known_grid import seam_tests


def patterned(seed, shape=(2, 384, 384)):
    """Return noise under the pattern that a strided network leaves: pairs of planes share half of their values."""
    y = np.random.default_rng(seed).normal(0, 1, shape)
    y[:, 1::2] += y[:, ::2]
    y[:, :, 1::2] += y[:, :, ::2]
    return y


def test_a_networks_own_pattern_is_no_seam_and_hides_none():
    known = Grid(step=(1, 16, 16), period=(1, 2, 2))
    blind, alarms, hidden = 0, 0, 0
    for seed in range(5):
        y = patterned(seed)
        blind += seam_tests(y, Grid(step=(1, 16, 16))).verdict == "seams"
        alarms += seam_tests(y, known).verdict == "seams"
        tiles = np.indices(y.shape)[1:] // 16
        hidden += seam_tests(y + 0.3 * (tiles.sum(0) % 2), known).verdict != "seams"
    assert blind == 5, "the pattern would be taken for seams"
    assert alarms <= 1
    assert hidden == 0


def coarsely_patterned(rng, shape, period):
    """Return a texture in whose every plane tone, contrast and sharpness are those of its phase."""
    y = texture(rng, shape, 0.6)
    for axis in (1, 2):
        phase = (np.arange(shape[axis]) % period).reshape([-1 if a == axis else 1 for a in range(3)])
        tone, gain = 0.2 * rng.standard_normal(period), np.exp(0.1 * rng.standard_normal(period))
        y = np.moveaxis(y * gain[phase] + tone[phase], axis, 0)
        y[period::period] = 0.5 * (y[period::period] + y[period - 1 : -1 : period])
        y = np.moveaxis(y, 0, axis)
    return y.astype(np.float32)


@pytest.mark.parametrize(("step", "period"), [(64, 32), (32, 16)])
def test_a_pattern_that_comes_twice_in_a_tile_is_no_seam_and_hides_none(step, period):
    shape = (2, 6 * step, 6 * step)
    known = Grid(step=(1, step, step), period=(1, period, period))
    p, alarms, hidden = [], 0, 0
    for seed in range(8):
        y = coarsely_patterned(np.random.default_rng(seed), shape, period)
        assert seam_tests(y, Grid(step=(1, step, step))).verdict == "seams", "the pattern would be taken for seams"
        report = seam_tests(y, known)
        p += [row.p for row in decided_rows(report)]
        alarms += report.verdict == "seams"
        tiles = np.indices(shape)[1:] // step
        hidden += seam_tests(y + 0.3 * (tiles.sum(0) % 2), known).verdict != "seams"
    assert len(p) == 8 * (6 if step == 64 else 4)
    assert np.mean(np.array(p) < 0.05) < 0.09
    assert alarms <= 1
    assert hidden == 0


def test_sharp_edges_and_averages_are_found_under_a_pattern_that_comes_twice_in_a_tile():
    rng = np.random.default_rng(18)
    shape = (2, 384, 384)
    y = coarsely_patterned(rng, shape, 32) + 2 * joined(rng, shape, 64, 12, "flat")
    known = Grid(step=(1, 64, 64), overlap=(0, 12, 12), period=(1, 32, 32))
    rows = [seam_tests(y, known).row(axis, "HFR") for axis in "yx"]
    assert all(row.verdict == "seam" and row.statistic < 0.7 for row in rows)
    sharp = coarsely_patterned(rng, shape, 32)
    sharp[:, 64::64] += texture(rng, (2, 5, 384), 0.6)
    row = seam_tests(sharp, known).row("y", "SGR")
    assert row.verdict == "seam"
    assert row.profile[32] < 1 < row.profile[0], "half a tile away it shows upside down"


def test_too_few_planes_in_phase_are_said():
    report = seam_tests(patterned(0), Grid(step=(1, 32, 32), period=(1, 32, 4)))
    assert "leave 0 control planes in phase with the network's period of 32" in report.row("y", "SGR").reason
    assert report.row("x", "SGR").verdict != "not tested"
    report = seam_tests(patterned(0), Grid(step=(1, 32, 32), period=(1, 8, 8)))
    assert report.row("y", "SGR").verdict != "not tested"
    assert "leave 1 control planes in phase with the network's period of 8" in report.row("y", "HFR").reason
    report = seam_tests(patterned(0), Grid(step=(1, 32, 64), overlap=(0, 0, 32), period=(1, 1, 32)))
    assert "leave 0 control planes in phase" in report.row("x", "SGR").reason, (
        "half a tile away is the seam's other end"
    )
    with pytest.raises(BadInput, match="periods of at least 1"):
        Grid(step=(8, 8, 8), period=(0, 1, 1))
