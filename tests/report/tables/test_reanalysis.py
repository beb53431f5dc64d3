from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from vol2vol.report.statistics.ranks import rank_correlation, spearman
from vol2vol.report.tables.printed import SEGMENTERS, printed_headlines, printed_volumes
from vol2vol.report.tables.reanalysis import reanalyse


@pytest.fixture(scope="module")
def reanalysis():
    return reanalyse()


def test_tables_are_whole():
    volumes = printed_volumes()
    assert len(volumes) == 27
    assert sorted({volume.table for volume in volumes}) == list(range(3, 12))
    assert len({volume.name for volume in volumes}) == 27
    assert sum(sum(volume.iou.values()) for volume in volumes) == pytest.approx(91.3662, abs=1e-9)
    assert [len(printed_headlines(table)) for table in (1, 2)] == [9, 9]


def test_correlations_are_scipys(reanalysis):
    volumes = printed_volumes()
    usable = [volume for volume in volumes if volume.checkpoint != "worst"]
    for name, rho, without in zip(
        SEGMENTERS, (-0.40, -0.39, -0.20, -0.16, -0.57), (0.24, 0.16, 0.29, 0.32, -0.51), strict=True
    ):
        for rows, correlation, expected in (
            (volumes, reanalysis.all_volumes[name], rho),
            (usable, reanalysis.usable[name], without),
        ):
            oracle = spearmanr([v.iou[name] for v in rows], [v.fid for v in rows]).statistic
            assert correlation.rho == pytest.approx(oracle, abs=1e-12)
            assert correlation.rho == pytest.approx(expected, abs=0.005)
            assert correlation.low < correlation.rho < correlation.high
            assert (correlation.rows, correlation.groups) == (len(rows), 9)


def test_counts_and_effects(reanalysis):
    assert reanalysis.middle_beats_best == (31, 45)
    assert reanalysis.conditions_won == (6, 9)
    assert [round(value, 3) for value in reanalysis.segmenter_means.values()] == [0.674, 0.689, 0.718, 0.690, 0.613]
    assert reanalysis.same_minus_exact["2D, middle"] == pytest.approx((-0.0006, 0.0006))
    assert reanalysis.same_minus_exact["3D, worst"] == pytest.approx((0.0309, 0.2157))
    assert reanalysis.effects["segmenter"] > 5 * reanalysis.effects["stitching"]


def test_oddities_are_those_there_are(reanalysis):
    headlines = [oddity for oddity in reanalysis.oddities if oddity.startswith("Table")]
    assert len(headlines) == 2
    assert "0.6910" in headlines[0]
    assert "0.6906" in headlines[0]
    assert "37.24, Table 4 has 37.23" in headlines[1]


def test_page_prints_what_is_printed(reanalysis):
    page = (Path(__file__).parents[3] / "docs" / "paper-tables.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0].splitlines()
    assert len(shown) > 10
    assert shown == str(reanalysis).splitlines()[: len(shown)]


def test_ranks_with_ties_and_holes():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 5, 40), random.normal(size=40)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    holed = [None if n == 3 else float(value) for n, value in enumerate(a)]
    correlation = rank_correlation(holed, list(b), groups=[n // 4 for n in range(40)])
    assert (correlation.rows, correlation.groups) == (39, 10)
    assert rank_correlation([1.0, 2, 3], [1.0, 2, 3], groups="abc").rho is None
    assert rank_correlation([1.0] * 9, list(range(9)), groups=range(9)).rho is None
    few = rank_correlation(list(range(9)), list(range(9)), groups=[0, 1, 2] * 3)
    assert few.rho == pytest.approx(1)
    assert few.low is None
