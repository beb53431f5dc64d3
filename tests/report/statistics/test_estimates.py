"""Contrasts of known sums: what pairs share cancels, what is not known has no interval."""

from dataclasses import replace

import numpy as np
import pytest
from tests.report.synthetic import BLOCKS, curve_sums, overlap_sums

from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.measures import quantity_of
from vol2vol.metrics.objects.overlap import average_precision, iou
from vol2vol.report.rows.rows import Row, Value, append_row, read_rows
from vol2vol.report.statistics.estimates import RESAMPLING, Estimate, Judged, holm_known

IOU = "segmentation/unet/0/iou"


def row(trial, value, *, seed=0, name=IOU, **more):
    about = {"source": "a", "target": "b", "translator": "m", "seed": seed} | more
    return Row(trial=trial, values={name: Value(value=value)}, **about)


def study(folder, sums, *, name=IOU, combine=iou, seeds=None):
    for index, (trial, blocks) in enumerate(sums.items()):
        seed = seeds[index] if seeds else 0
        append_row(folder, row(trial, float(combine(blocks.sum(0))), seed=seed, name=name), {name: blocks})
    return Judged(folder), {each.trial: each for each in read_rows(folder)}


def test_a_difference_is_paired_and_agrees_with_the_metrics_own(tmp_path):
    sums = {"first": overlap_sums(0.62, 1), "second": overlap_sums(0.58, 2)}
    judged, rows = study(tmp_path, sums)
    a, b = (judged.of_row(rows[name], IOU) for name in sums)
    value = (a - b).interval()
    assert value.value == pytest.approx(0.04, abs=1e-6)
    oracle = Blockwise(name="iou", sums=sums["first"], combine=iou).against(
        Blockwise(name="iou", sums=sums["second"], combine=iou), RESAMPLING
    )
    assert (value.low, value.high) == pytest.approx((oracle.low, oracle.high))
    assert value.low > 0
    assert (a - b).p == pytest.approx(1e-4)  # no draws can tell a smaller one
    alone = a.interval()
    assert alone.high - alone.low > 5 * (value.high - value.low)  # blocks are hard for both


def test_no_difference_is_found_where_there_is_none(tmp_path):
    judged, rows = study(tmp_path, {"first": overlap_sums(0.6, 1), "second": overlap_sums(0.6, 2)})
    apart = judged.of_row(rows["first"], IOU) - judged.of_row(rows["second"], IOU)
    assert apart.interval().low < 0 < apart.interval().high
    assert apart.p > 0.2


def test_average_precision_does_not_mind_empty_bins(tmp_path):
    name = "segmentation/unet/0/auprc"
    full = curve_sums(0.5, 1)
    holed = np.zeros((BLOCKS, 2, 4096))
    holed[:, :, ::16] = full.reshape(BLOCKS, 2, 256)
    combine = lambda sums: average_precision(sums.reshape(2, -1))  # noqa: E731
    sums = {"full": full, "holed": holed.reshape(BLOCKS, -1)}
    judged, rows = study(tmp_path, sums, name=name, combine=combine)
    a, b = (judged.of_row(rows[trial], name) for trial in sums)
    assert a.draws == pytest.approx(b.draws)
    assert a.draws.std() > 0


def test_seeds_are_resampled_where_there_are_several(tmp_path):
    alike = {"x0": overlap_sums(0.6, 1), "x1": overlap_sums(0.6, 1)}
    apart = {"y0": overlap_sums(0.5, 1), "y1": overlap_sums(0.7, 1)}
    widths = []
    for folder, sums in (("alike", alike), ("apart", apart)):
        (tmp_path / folder).mkdir()
        judged, rows = study(tmp_path / folder, sums, seeds=[0, 1])
        pooled = judged.pooled(rows.values(), "iou").interval()
        assert pooled.value == pytest.approx(0.6, abs=1e-6)
        widths.append(pooled.high - pooled.low)
    assert widths[1] > widths[0] + 0.05


def test_seeds_are_paired_between_strategies(tmp_path):
    """Seeds that differ much do not hide that one strategy is better by the same amount with each."""
    sums = {
        f"{way}{seed}": overlap_sums(0.5 + 0.2 * seed - cost, 1)
        for seed in (0, 1)
        for way, cost in (("e", 0), ("d", 0.02))
    }
    judged, rows = study(tmp_path, sums, seeds=[0, 0, 1, 1])
    exact, other = ([rows[f"{way}{seed}"] for seed in (0, 1)] for way in "ed")
    apart = judged.pooled(exact, "iou") - judged.pooled(other, "iou")
    assert apart.interval().value == pytest.approx(0.02, abs=1e-6)
    assert apart.interval().low > 0.015


def test_without_sums_or_with_one_block_there_is_no_interval(tmp_path):
    append_row(tmp_path, row("bare", 0.5))
    append_row(tmp_path, row("single", 0.5), {IOU: np.array([[5.0, 3.0, 2.0]])})
    judged = Judged(tmp_path)
    for trial in read_rows(tmp_path):
        estimate = judged.of_row(trial, IOU)
        assert estimate.interval() == Value(value=0.5)
        assert estimate.p is None
    missing = judged.of_row(row("never", None), IOU)
    assert missing.value is None
    assert (missing - estimate).value is None
    assert judged.pooled([], "iou").value is None


def test_a_quotient_of_nothing_is_nothing():
    assert (Estimate(1.0) / Estimate(0.0)).value is None


def test_holm_as_printed():
    """Holm 1979: each p times how many are not smaller, never falling; what has no p is no test."""
    assert holm_known([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm_known([0.9, 0.8]) == [1.0, 1.0]
    assert holm_known([]) == []


def test_intervals_of_uneven_blocks_cover_what_they_should(tmp_path):
    """Of 150 pairs that differ by chance alone, in 24 blocks of very different foreground, some 8 are missed."""
    missed = small = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        foreground, hard = rng.lognormal(7, 1, BLOCKS), 0.15 * rng.normal(size=BLOCKS)
        pair = []
        for _ in range(2):
            share = np.clip(0.6 + hard + 0.03 * rng.normal(size=BLOCKS), 0.02, 0.98)
            counts = np.stack([share, (1 - share) / 2, (1 - share) / 2], axis=1) * foreground[:, None]
            draws = Judged(tmp_path, replace(RESAMPLING, seed=seed)).draw(quantity_of(IOU), counts)
            pair.append(Estimate(float(iou(counts.sum(0))), draws, BLOCKS))
        apart = pair[0] - pair[1]
        missed += not apart.interval().low <= 0 <= apart.interval().high
        small += apart.p < 0.05
    assert missed <= 18
    assert abs(small - missed) <= 3  # interval and p say the same
