"""Tables of a study whose numbers were made up: what they say is known."""

import csv

import pytest
from scipy.stats import spearmanr
from tests.report.synthetic import BASELINES, BEST, FID, STRATEGIES, write

from vol2vol.report.rows.conditions import overlap, roles
from vol2vol.report.rows.rows import Row, Value, read_rows
from vol2vol.report.statistics.estimates import Judged
from vol2vol.report.tables.agreement import agreement, better, metrics, oriented, picks_table
from vol2vol.report.tables.baselines_and_bound import baselines_and_bound
from vol2vol.report.tables.cells import (
    Column,
    Missing,
    Table,
    label,
    number,
    of_row,
    probability,
    signed,
    text,
    with_interval,
    write_tables,
)
from vol2vol.report.tables.contrasts import contrast_table, contrasts
from vol2vol.report.tables.costs import cost_table
from vol2vol.report.tables.headlines import by_checkpoint, by_fid, by_iou, printed_table
from vol2vol.report.tables.measures import fidelity_table, object_table
from vol2vol.report.tables.seam_table import near_table, seam_table


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("tables") / "study")
    rows = read_rows(folder)
    return rows, Judged(folder), roles(rows, FID)


def column(table, name):
    return [line[[column.name for column in table.columns].index(name)] for line in table.rows]


def lookup(table, key, name):
    return dict(zip(column(table, key), column(table, name), strict=True))


def test_the_table_of_baselines_and_bound_has_the_known_numbers(study):
    table = baselines_and_bound(*study)
    iou = {name: number(cell) for name, cell in lookup(table, "condition", "iou").items()}
    assert iou["untranslated"] == pytest.approx(BASELINES["identity"], abs=0.01)
    assert iou["in-domain"] == pytest.approx(0.8, abs=0.01)
    assert iou["flat (exact, slices)"] == pytest.approx(BEST + 0.005, abs=0.01)
    gap = lookup(table, "condition", "gap_closed")
    assert gap["untranslated"] == 0
    assert gap["in-domain"] == 1
    wanted = (iou["histogram"] - iou["untranslated"]) / (iou["in-domain"] - iou["untranslated"])
    assert gap["histogram"].value == pytest.approx(wanted, abs=0.01)
    assert gap["histogram"].low < gap["histogram"].value < gap["histogram"].high
    assert column(table, "condition")[0] == "in-domain"
    assert table.findings[0].startswith("rat → human: in-domain 0.7")


def test_without_untranslated_or_in_domain_there_is_no_gap(study):
    rows, judged, by_trial = study
    some = [row for row in rows if row.kind == "network"]
    assert all(
        cell == Missing("no untranslated or in-domain volume was segmented")
        for cell in column(baselines_and_bound(some, judged, by_trial), "gap_closed")
    )
    assert not baselines_and_bound([row for row in rows if row.kind == "nothing"], judged, by_trial)


def test_contrasts_compare_the_same_checkpoint(study):
    differences = contrasts(*study)
    strategies = {
        contrast.second.strategy: contrast.value
        for contrast in differences
        if (contrast.family, contrast.metric, contrast.role) == ("strategy", "iou", "best")
    }
    for name, value in strategies.items():
        assert value.value == pytest.approx(-STRATEGIES[name], abs=0.002)
    translators = {
        contrast.second.translator: contrast
        for contrast in differences
        if (contrast.family, contrast.metric) == ("translator", "iou")
    }
    assert set(translators) == {"identity", "histogram", "spectrum"}
    assert translators["spectrum"].value.value == pytest.approx(BEST + 0.005 - BASELINES["spectrum"], abs=0.01)
    assert translators["spectrum"].seeds == (2, 2)
    assert {contrast.role for contrast in differences if contrast.family == "translator"} == {"best"}
    assert {contrast.role for contrast in differences if contrast.family == "strategy"} == {"best", "middle", "worst"}
    table = contrast_table(differences)
    assert all(p <= q for p, q in zip(column(table, "p"), column(table, "p_holm"), strict=True))
    assert any("minus histogram + spectrum +0.1" in finding for finding in table.findings)


def test_seams_are_found_and_fid_is_read_beside(study):
    rows, _, by_trial = study
    table = seam_table(rows, by_trial)
    assert lookup(table, "condition", "sgr_worst")["flat (disjoint, slices)"] == "1.310 (y)"
    (finding,) = table.findings
    assert "seams are detected in average, disjoint; none in exact" in finding
    assert "standard deviations: exact 0.002, average 0.080, disjoint 0.080" in finding
    assert "disjoint +0.20 (0.3 % of the way from floor to ceiling)" in finding


def test_a_distance_with_its_interval_decides_whether_fid_sees_seams(study):
    rows, _, by_trial = study
    for low, high, verdict in ((-0.3, 0.7, "no different"), (0.1, 0.3, "worse"), (-0.3, -0.1, "better")):
        changed = [with_value(row, f"{FID}/against_first", low, high) for row in rows if row.strategy != "average"]
        (finding,) = seam_table(changed, by_trial).findings
        assert f"({verdict}; " in finding


def with_value(row, name, low, high):
    if row.strategy in ("", "exact"):
        return row
    value = Value(value=(low + high) / 2, low=low, high=high)
    return Row(**{**vars(row), "values": {**row.values, name: value}})


def test_near_seams(study):
    near = lookup(near_table(*study), "condition", "near_minus_elsewhere")
    for name, effect in STRATEGIES.items():
        assert near[f"flat ({name}, slices)"].value == pytest.approx(effect, abs=0.005)
    assert near["flat (disjoint, slices)"].high < 0
    assert near["flat (exact, slices)"].low < 0 < near["flat (exact, slices)"].high


def test_agreement_is_scipys_turned_so_that_more_is_better(study):
    rows, _, _ = study
    table = agreement(rows)
    judged = [row for row in rows if row.kind != "bound"]
    oracle = -spearmanr([row.number(FID) for row in judged], [overlap(row) for row in judged]).statistic
    assert lookup(table, "metric", "rho")[FID].value == pytest.approx(oracle)
    assert (better("fidelity/psnr"), better("distance/encoder/kid/xy"), better("seams/sje/z")) == (
        "higher",
        "lower",
        "nearer 1",
    )
    assert (better("label_free/foreground"), better("label_free/confidence")) == ("nearer 1", "higher")
    assert better("label_free/something") == ""
    assert oriented("seams/sgr/z", 2.0) == pytest.approx(oriented("seams/sgr/z", 0.5))
    assert oriented("seams/sgr/z", 0.0) is None
    assert not [name for name in metrics(rows) if name.endswith(("/p", "/floor", "/ceiling"))]


def test_picks_say_what_a_rule_costs(study):
    rows, _, _ = study
    table = picks_table(rows, [(FID, True), ("checkpoint", False)])
    assert "by distance/encoder/fid/xy costs 0.000 of IoU" in table.findings[0]
    assert "by checkpoint costs 0.020 of IoU" in table.findings[1]  # the last one, where the one before was best


def test_headlines(study):
    rows, _, _ = study
    first, second = by_fid(rows), by_iou(rows)
    assert len(first.rows) == len(second.rows) == 3
    assert column(first, "fid_printed") == [30.49, 30.45, 30.23]  # exact, average, disjoint beside T&S, Same, Valid
    assert set(column(first, "checkpoint")) == {20}
    assert all(
        number(iou) == pytest.approx(BEST + 0.01 + STRATEGIES[way], abs=0.01)
        for iou, way in zip(column(second, "iou"), column(second, "strategy"), strict=True)
    )
    third = by_checkpoint(rows)
    assert column(third, "checkpoint_by_fid") == ["best", "middle", "worst"] * 3
    assert column(third, "table_printed") == [4] * 3 + [10] * 3 + [7] * 3
    assert "0 of 3 conditions" in third.findings[0]
    assert len(printed_table().rows) == 27


def test_the_second_headline_takes_the_volume_whose_best_segmenter_finds_most():
    def row(checkpoint, **ious):
        values = {"distance/inception/fid/xy": Value(value=40.0 + checkpoint)}
        for name, by_seed in ious.items():
            values |= {f"segmentation/{name}/{seed}/iou": Value(value=iou) for seed, iou in enumerate(by_seed)}
        about = {"source": "rat", "target": "human", "translator": "flat", "strategy": "exact", "assembly": "slices"}
        return Row(trial=f"{checkpoint}", checkpoint=checkpoint, seed=0, values=values, **about)

    rows = [row(5, dice=(0.5, 0.7), mse=(0.3, 0.1)), row(10, dice=(0.58, 0.58), mse=(0.59, 0.59))]
    for table, checkpoint, mean, highest in ((by_fid(rows), 5, 0.4, 0.6), (by_iou(rows), 5, 0.4, 0.6)):
        assert column(table, "checkpoint") == [checkpoint]
        assert column(table, "iou") == [pytest.approx(mean)]
        assert column(table, "iou_highest") == [pytest.approx(highest)]


def test_cost(study):
    rows, _, by_trial = study
    table = cost_table(rows, by_trial)
    assert lookup(table, "condition", "train_hours")["flat (exact, slices)"] == pytest.approx(1.5)
    assert table.findings == [
        "rat → human, flat (slices): exact takes 2 times as long as average and 2.8 times as long as disjoint."
    ]


def test_what_was_never_measured_makes_empty_tables():
    rows = [Row(trial="a", source="a", target="b", translator="m", strategy="exact", checkpoint=1, seed=0)]
    by_trial = roles(rows, FID)
    for table in (
        seam_table(rows, by_trial),
        cost_table(rows, by_trial),
        fidelity_table(rows, by_trial),
        object_table(rows, by_trial),
    ):
        assert not table
        assert table.findings == []
    assert not agreement(rows)
    assert not by_fid(rows)
    assert not by_checkpoint(rows)


def test_cells_are_written_as_they_are():
    three = Column(name="x", places=True)
    assert text(Value(value=0.0123, low=0.004, high=0.02), signed("x")) == "+0.012 [0.004, 0.020]"
    assert text(-0.00001, signed("x")) == "0.000"
    assert text(-0.5, three) == "\N{MINUS SIGN}0.500"
    assert text(20, Column(name="epoch")) == "20"
    assert text(1234567, Column(name="voxels", amount=True)) == "1.23 M"
    assert text(None, three) == text(Missing(), three) == text("", label("x")) == "\N{EN DASH}"
    assert with_interval(Value(value=0.5), digits=2) == "+0.50"


def test_a_missing_number_says_why():
    row = Row(
        trial="a", source="a", target="b", translator="m", notes={"distance": "not measured: too few patches"},
        values={"seams/sgr/z": Value(value=None)},
    )  # fmt: skip
    assert of_row(row, FID) == Missing("not measured: too few patches")
    assert of_row(row, "seams/sgr/z") == Missing("not defined")
    assert of_row(row, "cost/seconds") == Missing("not measured")


def test_csv_keeps_intervals_and_what_the_page_hides(tmp_path):
    table = Table(
        name="t",
        title="T",
        columns=[label("direction"), Column(name="x"), Column(name="y", shown=False)],
        rows=[["a → b", Value(value=1.5, low=1, high=2), 7], ["a → b", Missing(), None]],
    )
    (path,) = write_tables(tmp_path, [table, Table(name="empty", title="E", columns=[])])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"direction": "a → b", "x": "1.5", "x_low": "1", "x_high": "2", "y": "7"}
    assert rows[1] == {"direction": "a → b", "x": "", "x_low": "", "x_high": "", "y": ""}
    assert [column.name for column in table.shown] == ["direction", "x"]
    assert table.reasons == ["not measured"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["t.csv"]


def test_small_p_are_not_written_out():
    column = probability("p", "p")
    assert [text(value, column) for value in (0.0003, 0.0123, 1.0, None)] == ["< 0.001", "0.012", "1.0", "\N{EN DASH}"]
