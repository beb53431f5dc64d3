"""Seam tests at full size: 256 x 256 x 256 voxels in tiles of 64, three seams per axis. Minutes."""

import numpy as np
import pytest
from tests.metrics.seams.seam_textures import joined, offsets, texture, translated

from vol2vol.metrics.seams.grid import Grid
from vol2vol.metrics.seams.known_grid import TESTS, seam_tests
from vol2vol.metrics.seams.unknown_grid import comb_test

SHAPE = (256, 256, 256)
GRID = Grid(step=(64, 64, 64))


def detections(volumes, share, seed=1):
    """Return, per correlation length, the share of axes on which tile offsets of `share` of the deviation are found."""
    rng = np.random.default_rng(seed)
    detected = {}
    for sigma in (0.6, 1.5, 3.0):
        for _ in range(volumes):
            x = texture(rng, SHAPE, sigma)
            y = translated(rng, x, sigma)
            y += np.float32(share * y.std()) * offsets(rng, SHAPE, 64)
            for name, source in (("alone", None), ("source", x)):
                rows = [row for row in seam_tests(y, GRID, source=source).rows if row.test == "SJE"]
                detected.setdefault((sigma, name), []).extend(row.verdict == "seam" for row in rows)
    return {key: float(np.mean(verdicts)) for key, verdicts in detected.items()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_false_alarms_in_200_textures(monkeypatch):
    from benchmarks.calibration import false_alarms

    rates = false_alarms(200)
    assert all(0.03 <= rates[test] <= 0.07 for test in (*TESTS, "comb")), rates
    assert all(0.01 <= rates[whole] <= 0.07 for whole in ("report", "blind report")), rates


@pytest.mark.parametrize("sections", [0.0, 0.1])
def test_false_alarms_are_counted_at_several_levels(monkeypatch, sections):
    from benchmarks import calibration

    monkeypatch.setattr(calibration, "SHAPE", (48, 48, 48))
    monkeypatch.setattr(calibration, "GRID", Grid(step=(16, 16, 16)))
    rates = calibration.false_alarms(4, sections=sections)
    assert len(rates) == 6 + 4 * 2
    for test in (*TESTS, "comb"):
        assert rates[f"{test} below 0.005"] <= rates[f"{test} below 0.01"] <= rates[test] <= 0.5


def test_sections_differ_as_a_whole(monkeypatch):
    from benchmarks.calibration import sectioned

    rng = np.random.default_rng(0)
    y = 2 * rng.standard_normal((40, 40, 40))
    spoilt = sectioned(rng, y, 0.1)
    for axis in range(3):
        lateral = tuple(a for a in range(3) if a != axis)
        assert spoilt.mean(lateral).std() > 1.5 * y.mean(lateral).std()
        assert spoilt.std(lateral).std() > 1.5 * y.std(lateral).std()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundredth_of_the_deviation_is_detected():
    detected = detections(6, 0.01)
    assert detected[1.5, "alone"] == detected[3.0, "alone"] == 1.0
    assert detected[1.5, "source"] == detected[3.0, "source"] == 1.0
    assert detected[0.6, "source"] >= 0.6


@pytest.mark.slow
@pytest.mark.parametrize("window", ["flat", "linear"])
def test_averaging_noise_of_a_tenth_of_the_deviation_is_detected(window):
    rng = np.random.default_rng(2)
    y = texture(rng, SHAPE) + 0.1 * joined(rng, SHAPE, 64, 8, window)
    for overlap in (0, 8):
        report = seam_tests(y, Grid(step=(64, 64, 64), overlap=(overlap,) * 3))
        assert [row.verdict for row in report.rows if row.test == "HFR"] == ["seam"] * 3


@pytest.mark.slow
def test_blind_comb_finds_offsets_of_a_tenth_of_the_deviation():
    rng = np.random.default_rng(3)
    report = comb_test(texture(rng, SHAPE) + 0.15 * offsets(rng, SHAPE, 32, (5, 0, 9)))
    assert [(row.step, row.origin) for row in report.rows] == [(32, 5), (32, 0), (32, 9)]
