"""Verdicts on the paper's findings follow from numbers that were made up."""

from dataclasses import replace

import pytest
from tests.report.synthetic import FID, write

from vol2vol.report.rows.conditions import roles
from vol2vol.report.rows.rows import Value, read_rows
from vol2vol.report.statistics.estimates import Judged
from vol2vol.report.tables.claims import claims
from vol2vol.report.tables.contrasts import contrasts

SEEN = f"{FID}/against_first"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("claims") / "study", translators=(("flat", 2), ("deep", 3)))
    return read_rows(folder), Judged(folder)


def verdicts_of(rows, judged):
    by_trial = roles(rows, FID)
    table = claims(rows, by_trial, contrasts(rows, judged, by_trial))
    return {line[0]: line[1] for line in table.rows}


def with_values(rows, **ends):
    return [
        replace(row, values={**row.values, SEEN: Value(**ends[row.strategy])}) if row.strategy in ends else row
        for row in rows
    ]


def test_verdicts_follow_from_the_numbers(study):
    verdicts = verdicts_of(*study)
    assert verdicts["Seams cost overlap downstream"] == "holds"
    assert verdicts["Seamless 3D is better than 2D downstream"] == "not shown"
    assert verdicts["The best FID almost never has the best IoU"] == "does not hold"
    assert verdicts["Training beats histogram and spectrum matching (not tested in the paper)"] == "holds"
    assert "FID does not see seams" not in verdicts  # no interval, no verdict


@pytest.mark.parametrize(
    ("average", "disjoint", "verdict"),
    [
        ((-1, 1), (-0.2, 0.4), "no rise seen"),
        ((-1, 1), (0.1, 0.4), "in part: 4 of 8"),
        ((0.1, 1), (0.1, 0.4), "does not hold"),
    ],
)
def test_whether_fid_sees_seams(study, average, disjoint, verdict):
    rows, judged = study
    ends = {
        name: {"value": sum(pair) / 2, "low": pair[0], "high": pair[1]}
        for name, pair in (("average", average), ("disjoint", disjoint))
    }
    assert verdicts_of(with_values(rows, **ends), judged)["FID does not see seams"] == verdict


def test_seams_that_were_not_found_are_not_blamed(study):
    rows, judged = study
    clean = [replace(row, notes={**row.notes, "seams/verdict": "undecided"}) for row in rows]
    assert "Seams cost overlap downstream" not in verdicts_of(clean, judged)


def test_orthoslices_are_judged_by_best_and_worst(study):
    rows, judged = study
    ortho = [replace(row, assembly="ortho") for row in rows if row.translator == "deep"]
    flat = [row for row in rows if row.translator == "flat"]
    renamed = [replace(row, translator="flat", dims=2) for row in ortho]
    verdicts = verdicts_of([*flat, *renamed], judged)
    assert verdicts["Orthoslices improve bad volumes"] == "not shown"
    assert verdicts["Orthoslices improve good volumes (in the paper they do not)"] == "not shown"


def test_stability_is_that_of_what_networks_make_by_themselves(study):
    rows, judged = study
    assert verdicts_of(rows, judged)["2D trains more stably than 3D"] == "not in these numbers"  # they are as stable
    fid = {10: 33.0, 20: 34.0, 30: 35.0}
    steady = [
        replace(row, values={**row.values, FID: Value(value=fid[row.checkpoint])}) if row.translator == "flat" else row
        for row in rows
        if row.translator in ("flat", "deep")
    ]
    assert verdicts_of(steady, judged)["2D trains more stably than 3D"] == "in these numbers"
    wild = [
        replace(row, assembly="ortho", values={**row.values, FID: Value(value=9.0 * row.checkpoint**2)})
        for row in steady
        if row.translator == "flat"
    ]
    assert verdicts_of([*wild, *steady], judged)["2D trains more stably than 3D"] == "in these numbers"


def test_nothing_is_claimed_of_nothing(study):
    _, judged = study
    assert verdicts_of([], judged) == {}
