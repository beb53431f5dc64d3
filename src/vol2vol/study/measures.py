"""Further measures of every condition: nearness to a known answer and to the source, and objects."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol.study.conditions import conditions, judges, with_role
from vol2vol.study.rows import Row, Value
from vol2vol.study.tables import Cell, Column, Missing, Table, label, mean_cell, number

FIDELITY = {
    "fidelity/psnr": Column(name="psnr", title="PSNR (dB)", digits=1, places=True),
    "fidelity/ssim": Column(name="ssim", title="SSIM", places=True),
    "fidelity/pearson": Column(name="pearson", title="Correlation", places=True),
    "fidelity/lncc": Column(name="lncc", title="LNCC", places=True),
    "structure/lncc": Column(name="source_lncc", title="LNCC, source", places=True),
    "structure/gradient_correlation": Column(name="source_gradients", shown=False),
    "cycle/psnr": Column(name="cycle_psnr", title="Back again (dB)", digits=1, places=True),
    "cycle/hidden": Column(name="cycle_hidden", shown=False),
}
OBJECTS = {
    "f1": Column(name="f1", title="F1 at IoU 0.5", places=True),
    "ap50": Column(name="ap50", title="AP at 0.5", places=True),
    "ap75": Column(name="ap75", title="AP at 0.75", places=True),
    "count_error": Column(name="count_error", title="Error of count", places=True),
    "rand": Column(name="rand_error", title="Adapted Rand error", places=True),
}


def fidelity_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return how near translations come to the known answer, keep the source's structure, and lead back to it.

    PSNR in decibels; SSIM, correlation and LNCC (local normalised cross-correlation) from -1 to 1. The CSV also has
    the correlation of gradients with the source's, and how much less comes back after quantisation (grey values).
    """
    lines: list[list[Cell]] = []
    for one, group in conditions(with_role(rows, roles)).items():
        cells = [mean_cell(group, name) for name in FIDELITY]
        if one.kind != "bound" and any(number(cell) is not None for cell in cells):
            lines.append([one.direction, one.name, *cells])
    return Table(
        name="fidelity",
        title="Nearness to the known answer, and to the source",
        columns=[label("direction"), label("condition"), *FIDELITY.values()],
        rows=lines,
        findings=_nearest(lines),
        note="The known answer is the source's tissue in the look of the target, where there is one. PSNR and "
        "correlation punish invented noise as hard as invented structure. Back again: the volume, rounded to "
        "256 levels of the target with noise of one level, translated back, against the source.",
    )


def object_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return scores of objects, means over segmenters and seeds."""
    lines: list[list[Cell]] = []
    for one, group in conditions(with_role(rows, roles)).items():
        cells = [_mean(group, metric) for metric in OBJECTS]
        if any(number(cell) is not None for cell in cells):
            lines.append([one.direction, one.name, *cells])
    return Table(
        name="objects",
        title="Objects: found, missed and counted",
        columns=[label("direction"), label("condition"), *OBJECTS.values()],
        rows=lines,
        note="Means over segmenters and seeds; with one of each, intervals over blocks. Errors are better when low.",
    )


def _mean(group: Sequence[Row], metric: str) -> Cell:
    known = [
        value
        for row in group
        for segmenter, seed in judges([row], metric)
        if (value := row.values[f"segmentation/{segmenter}/{seed}/{metric}"]).value is not None
    ]
    if len(known) == 1:
        return known[0]
    numbers = [value.value for value in known if value.value is not None]
    return Value(value=sum(numbers) / len(numbers)) if numbers else Missing("not segmented")


def _nearest(lines: Sequence[Sequence[Cell]]) -> list[str]:
    found = []
    for direction in dict.fromkeys(str(line[0]) for line in lines):
        known = {
            str(line[1]): value for line in lines if line[0] == direction and (value := number(line[5])) is not None
        }
        if len(known) > 1:
            best = max(known, key=lambda name: known[name])
            start = f"; untranslated {known['untranslated']:.3f}" if "untranslated" in known else ""
            found.append(f"{direction}: nearest to the known answer by LNCC is {best}, {known[best]:.3f}{start}.")
    return found
