"""Seams of a stitched volume per axis: edges (SGR), intensity steps (SJE) and averaging (HFR) where tiles meet."""

from __future__ import annotations

from vol2vol.errors import BadInput
from vol2vol.metrics.measures.measure import Bounded, Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.seams.known_grid import seam_tests
from vol2vol.metrics.seams.sentences import seam_sentence
from vol2vol.metrics.seams.verdicts import SeamReport, SeamRow, judge_together, overall

TESTS = {
    "sgr": "sharp edges where tiles meet, as a ratio; 1 without seams",
    "sje": "intensity steps where tiles meet, as a ratio; 1 without seams",
    "hfr": "detail lost by averaging where tiles overlap, as a ratio; 1 without seams",
}


def take(subject: Subject) -> Taken:
    """Test the volume for seams; of several passes, which are corrected together, the smallest p counts."""
    if not subject.grids:
        raise BadInput(f"{subject.volume.path} does not record how it was tiled")
    reports = judge_together([seam_tests(subject.volume, grid, source=subject.source) for grid in subject.grids])
    values: dict[str, Number] = {}
    for (axis, test), row in _clearest(reports).items():
        key = f"{test.lower()}/{axis}"
        values[key] = Bounded(row.statistic, row.low, row.high)
        values[f"{key}/p"] = row.p_corrected
        values[f"{key}/source"] = row.source
    sentences = " ".join(dict.fromkeys(map(seam_sentence, reports)))
    return Taken(values=values, notes={"": sentences, "verdict": overall(reports)})


def _clearest(reports: list[SeamReport]) -> dict[tuple[str, str], SeamRow]:
    clearest: dict[tuple[str, str], SeamRow] = {}
    for row in (row for report in reports for row in report.rows):
        kept = clearest.get((row.axis, row.test))
        if row.verdict != "not tested" and (kept is None or row.p < kept.p):
            clearest[row.axis, row.test] = row
    return clearest


SEAMS = Measure(
    name="seams",
    about="edges, intensity steps and lost detail where tiles meet",
    needs=("source", "grids"),
    quantities=tuple(
        quantity
        for test, about in TESTS.items()
        for quantity in (
            Quantity(key=f"{test}/{{axis}}", sense="nearer 1", about=about),
            Quantity(
                key=f"{test}/{{axis}}/p",
                about="p of the hypothesis that there is no seam, corrected for all tests of the volume",
            ),
            Quantity(key=f"{test}/{{axis}}/source", about="the same statistic of the source, at the same planes"),
        )
    ),
    table="seams",
    take=take,
)
