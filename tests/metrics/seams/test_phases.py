"""The comparison of phases: known layouts, independent oracles, and its rate of false alarms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vol2vol.metrics.seams.phases import (
    contrast,
    control_phases,
    faces_p,
    holm,
    in_phase,
    phase_table,
    rank_p,
    usable_periods,
)


def test_table_puts_the_border_in_the_middle():
    series = np.arange(30.0)[:, None]
    table = phase_table(series, np.array([10, 20]), 10)
    assert table.shape == (2, 1, 10)
    np.testing.assert_array_equal(table[:, 0, 5], [10, 20])
    np.testing.assert_array_equal(table[1, 0], np.arange(15, 25))
    paired = phase_table(series, np.array([10, 20]), 10, (0, 4))
    np.testing.assert_array_equal(paired[0, 0], np.arange(5, 15) + 2)
    assert np.isnan(phase_table(series, np.array([2, 28]), 8)[:, 0]).sum() == 2 + 2


@given(step=st.integers(2, 90), guard=st.integers(1, 12), offsets=st.lists(st.integers(0, 80), min_size=1, max_size=2))
def test_controls_keep_their_distance(step, guard, offsets):
    seam = {offset % step for offset in offsets}
    for phase, control in zip(np.arange(step) - step // 2, control_phases(step, guard, tuple(offsets)), strict=True):
        near = min(min((phase + a - b) % step, (b - phase - a) % step) for a in seam for b in seam)
        assert control == (near >= guard)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_holm_steps_down(p):
    corrected = holm(np.array(p))
    order = np.argsort(p)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, p[index] * (len(p) - rank)))
        assert corrected[index] == pytest.approx(worst)
    assert holm(np.array([])).size == 0


def test_contrast_of_independent_planes_is_a_pooled_t_test():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((1, 400))
    table[0, 200] = 3.0
    controls = control_phases(400, 8)
    rest = table[0, controls]
    result = contrast(table, controls)
    assert result.effect == pytest.approx(3 - rest.mean())
    assert result.z == pytest.approx((3 - rest.mean()) / rest.std(ddof=1), rel=0.05)
    assert result.p == pytest.approx(2 * stats.t.sf(result.z, result.df))


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("periods", [2, 6])
def test_contrast_raises_at_most_five_false_alarms_in_a_hundred(memory, periods):
    """Fewer where the controls of a period are worth no more than two or three planes."""
    rng = np.random.default_rng(int(10 * memory) + periods)
    controls = control_phases(64, 8)
    p_values = []
    for _ in range(400):
        noise = rng.standard_normal(64 * periods + 200)
        series = np.zeros(noise.size)
        for i in range(1, noise.size):
            series[i] = memory * series[i - 1] + noise[i]
        p_values.append(contrast(series[200:].reshape(periods, 64), controls).p < 0.05)
    assert (0.02 if memory < 0.9 else 0.005) < np.mean(p_values) < 0.08


def test_contrast_without_any_variation():
    controls = control_phases(16, 4)
    table = np.ones((3, 16))
    assert (contrast(table, controls).z, contrast(table, controls).p) == (0.0, 1.0)
    table[:, 8] = 2.0
    assert (contrast(table, controls).z, contrast(table, controls).p) == (np.inf, 0.0)
    assert contrast(table, controls).beyond(0.5) == 0.0
    assert contrast(table, controls).beyond(1.5) == 1.0


def test_rank_p_counts_controls():
    controls = control_phases(20, 5)
    profile = np.zeros(20)
    profile[controls] = np.linspace(-1, 1, controls.sum())
    profile[10] = 5
    assert rank_p(profile, controls) == pytest.approx(1 / (1 + controls.sum()))
    profile[10] = 0
    assert rank_p(profile, controls) == 1.0


def test_faces_p_is_fair_for_skewed_numbers_and_sees_a_shift():
    rng = np.random.default_rng(4)
    controls = control_phases(32, 8)
    alarms = [faces_p(rng.exponential(size=(3, 20, 32)) ** 2, controls) < 0.05 for _ in range(300)]
    assert 0.02 < np.mean(alarms) < 0.08
    table = rng.exponential(size=(3, 20, 32))
    table[..., 16] *= 3
    assert faces_p(table, controls) < 1e-4


def test_periods_without_controls_are_not_usable():
    table = np.ones((4, 16))
    table[1, 8] = np.nan
    table[2, :4] = np.nan
    table[3, 2:] = np.nan
    assert usable_periods(table, control_phases(16, 4)).tolist() == [True, False, True, False]


@pytest.mark.parametrize("step", [8, 11, 12, 16, 22, 24, 30, 46, 64, 96])
@pytest.mark.parametrize("period", [1, 2, 4, 5, 8, 32])
def test_columns_in_phase_count_from_the_start_of_a_tile_and_have_the_seam_in_their_middle(step, period):
    columns = in_phase(step, period)
    phases = np.arange(step) - step // 2
    assert phases[columns[len(columns) // 2]] == 0
    assert (phases[columns] % step % period == 0).all()
    every = len(range(0, step, period))
    assert every - 2 <= len(columns) <= every
    if step % period == 0:
        assert len(columns) == every
    if period == 1:
        assert len(columns) == step
    controls = control_phases(step, 2, (0,), period)
    assert not (controls & ~control_phases(step, 2)).any()
