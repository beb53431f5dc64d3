"""Intervals against scipy's bootstrap, their coverage, and pairing."""

import numpy as np
import pytest
from scipy import stats

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import (
    Blockwise,
    Resampling,
    block_interval,
    draw_weights,
    paired_interval,
    resampled_interval,
)


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def sums_of(values):
    return np.stack([values, np.ones_like(values)], axis=-1)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_agrees_with_scipy(method):
    values = np.random.default_rng(0).exponential(size=40)
    mine = block_interval(sums_of(values), mean, Resampling(resamples=20000, method=method))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method={"bca": "BCa"}.get(method, method), rng=1
    ).confidence_interval
    assert mine.value == pytest.approx(values.mean())
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)


def test_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        i = block_interval(sums_of(rng.normal(size=30)), mean, Resampling(resamples=400, level=0.9))
        hits += i.low <= 0 <= i.high
    assert 0.84 <= hits / 400 <= 0.95


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=50) * 10
    one = Blockwise(name="a", sums=sums_of(shared + 1 + rng.normal(size=50) * 0.1), combine=mean)
    two = Blockwise(name="b", sums=sums_of(shared + rng.normal(size=50) * 0.1), combine=mean)
    paired = one.against(two)
    assert 0.9 < paired.low < 1 < paired.high < 1.1
    alone = one.interval()
    assert alone.high - alone.low > 20 * (paired.high - paired.low)
    back = paired_interval(two, one)
    assert (back.value, back.low, back.high) == pytest.approx((-paired.value, -paired.high, -paired.low), abs=0.01)


def test_same_seed_same_interval_and_sums_of_draws():
    weights = draw_weights(7, Resampling(resamples=500))
    assert (weights.sum(1) == 7).all()
    assert (weights == draw_weights(7, Resampling(resamples=500))).all()
    assert (weights != draw_weights(7, Resampling(resamples=500, seed=1))).any()


def test_any_statistic_of_weights():
    values = np.random.default_rng(2).normal(size=25)
    how = Resampling(resamples=500, method="percentile")
    one = resampled_interval(lambda w: float(np.average(values, weights=w)), 25, how)
    two = block_interval(sums_of(values), mean, how)
    assert (one.low, one.high) == pytest.approx((two.low, two.high))
    assert one.blocks == two.blocks == 25


def test_equal_blocks_and_undefined_draws():
    flat = block_interval(np.ones((5, 2)), mean)
    assert (flat.low, flat.value, flat.high) == (1, 1, 1)
    sparse = np.zeros((4, 2))
    sparse[0] = 3, 1
    with np.errstate(invalid="ignore"):
        rare = block_interval(sparse, mean, Resampling(method="percentile"))
    assert (rare.low, rare.high) == (3, 3)


def test_bad_input():
    with pytest.raises(BadInput, match="at least 2 blocks, there is 1"):
        block_interval(np.ones((1, 2)), mean)
    with pytest.raises(BadInput, match="level"):
        Resampling(level=1.0)
    a, b = (Blockwise(name=n, sums=np.ones((k, 2)), combine=mean) for n, k in (("a", 3), ("b", 4)))
    with pytest.raises(BadInput, match="a has 3 blocks and b 4"):
        a.against(b)
    assert np.isfinite(a.per_block).all()
    assert a.value == 1
