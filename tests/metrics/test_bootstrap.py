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
    paired_median,
    resampled_interval,
)
from vol2vol.metrics.objects.overlap import iou


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def sums_of(values):
    return np.stack([values, np.ones_like(values)], axis=-1)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_agrees_with_scipy(method):
    values = np.random.default_rng(0).exponential(size=40)
    mine = block_interval(sums_of(values), mean, Resampling(resamples=20000, method=method, expanded=False))
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
    first = Blockwise(name="a", sums=sums_of(shared + 1 + rng.normal(size=50) * 0.1), combine=mean)
    two = Blockwise(name="b", sums=sums_of(shared + rng.normal(size=50) * 0.1), combine=mean)
    paired = first.against(two)
    assert 0.9 < paired.low < 1 < paired.high < 1.1
    alone = first.interval()
    assert alone.high - alone.low > 20 * (paired.high - paired.low)
    back = paired_interval(two, first)
    assert (back.value, back.low, back.high) == pytest.approx((-paired.value, -paired.high, -paired.low), abs=0.01)


def volumes(rng, blocks, apart=0.0):
    """TP, FP, FN per block of two segmentations that share what is hard; the second is better by `apart`."""
    hard = rng.beta(4, 2, blocks)
    size = rng.gamma(3, 400, blocks)
    both = []
    for quality in (hard, np.clip(hard + apart, 0, 1)):
        hits = size * np.clip(quality + 0.05 * rng.normal(size=blocks), 0, 1)
        both.append(np.stack([hits, size * 0.2 * rng.random(blocks), size - hits], axis=1))
    return [Blockwise(name=name, sums=sums, combine=iou) for name, sums in zip("ab", both, strict=True)]


@pytest.mark.parametrize("by", ["difference", "ratio"])
def test_paired_intervals_cover_and_p_is_uniform_without_a_difference(by):
    rng = np.random.default_rng(7)
    null = 0.0 if by == "difference" else 1.0
    intervals = [
        first.against(second, Resampling(resamples=500), by=by)
        for first, second in (volumes(rng, 40) for _ in range(400))
    ]
    assert 0.92 <= np.mean([i.low <= null <= i.high for i in intervals]) <= 0.98
    p = np.array([i.p for i in intervals])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean((p < 0.05) == np.array([not i.low <= null <= i.high for i in intervals])) > 0.98


def test_paired_intervals_cover_a_difference():
    rng = np.random.default_rng(8)
    large = np.random.default_rng(0)
    first, second = volumes(large, 400_000, 0.06)
    true = second.value - first.value
    assert true > 0.02
    hits = 0
    powerful = 0
    for _ in range(300):
        first, second = volumes(rng, 40, 0.06)
        interval = second.against(first, Resampling(resamples=500))
        hits += interval.low <= true <= interval.high
        powerful += interval.p < 0.05
    assert 0.92 <= hits / 300 <= 0.98
    assert powerful / 300 > 0.8


def test_p_and_interval_say_the_same():
    rng = np.random.default_rng(9)
    values = rng.exponential(size=25) - 0.75
    for method in ("percentile", "bca"):
        for expanded in (True, False):
            how = Resampling(resamples=20000, method=method, expanded=expanded)
            p = block_interval(sums_of(values), mean, how, null=0.0).p
            assert 0.001 < p < 0.2
            edge = block_interval(
                sums_of(values), mean, Resampling(resamples=20000, method=method, expanded=expanded, level=1 - p)
            )
            assert edge.low == pytest.approx(0, abs=2e-3)
    equal = Blockwise(name="a", sums=sums_of(values), combine=mean)
    assert equal.against(equal).p == 1
    assert (equal.against(equal, by="ratio").low, equal.against(equal, by="ratio").high) == (1, 1)
    assert np.isnan(equal.interval().p)


def test_few_blocks_are_widened_as_a_mean_is():
    """The exact interval of a mean of 6 normal numbers is Student's."""
    values = np.random.default_rng(4).normal(size=6)
    how = Resampling(resamples=20000, method="percentile")
    interval = block_interval(sums_of(values), mean, how)
    low, high = stats.t.interval(0.95, 5, values.mean(), values.std(ddof=1) / np.sqrt(6))
    assert interval.high - interval.low == pytest.approx(high - low, rel=0.15)
    narrow = block_interval(sums_of(values), mean, Resampling(resamples=20000, method="percentile", expanded=False))
    assert narrow.high - narrow.low < 0.75 * (high - low)


def test_median_of_blocks():
    rng = np.random.default_rng(5)
    values = rng.normal(0.3, 1, 41)
    first = Blockwise(name="a", sums=sums_of(values), combine=mean)
    second = Blockwise(name="b", sums=sums_of(np.zeros(41)), combine=mean)
    interval = paired_median(first, second, Resampling(resamples=4000, expanded=False))
    assert interval.value == pytest.approx(np.median(values))
    theirs = stats.bootstrap((values,), np.median, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=0.06)
    even = Blockwise(name="a", sums=sums_of(np.array([1.0, 2, 4, 9, np.nan])), combine=mean)
    assert paired_median(even, Blockwise(name="b", sums=sums_of(np.zeros(5)), combine=mean)).value == 3


def test_same_seed_same_interval_and_sums_of_draws():
    weights = draw_weights(7, Resampling(resamples=500))
    assert (weights.sum(1) == 7).all()
    assert (weights == draw_weights(7, Resampling(resamples=500))).all()
    assert (weights != draw_weights(7, Resampling(resamples=500, seed=1))).any()


def test_any_statistic_of_weights():
    values = np.random.default_rng(2).normal(size=25)
    how = Resampling(resamples=500, method="percentile")
    interval = resampled_interval(lambda w: float(np.average(values, weights=w)), 25, how)
    two = block_interval(sums_of(values), mean, how)
    assert (interval.low, interval.high) == pytest.approx((two.low, two.high))
    assert interval.blocks == two.blocks == 25


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
