"""Figure 2 of a study: source, translations and target, and the same plane by every strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vol2vol.report.figures import pictures
from vol2vol.report.figures.panels import Sheet
from vol2vol.report.figures.pictures import Group, Output
from vol2vol.report.rows.conditions import HISTOGRAM, SPECTRUM, condition
from vol2vol.report.rows.rows import Row

DOMAINS = "domains"
MOST = 3
"""Largest number of trained translations in the overview."""


def part(folder: Path, domain: str, name: str) -> str:
    """Return the path of a domain's volume relative to the study's folder; "" if it does not exist."""
    path = f"{DOMAINS}/{domain}/{name}.zarr"
    return path if (folder / path).exists() else ""


def visible(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of each training's first seed whose volume still exists."""
    first: dict[tuple[object, ...], int | None] = {}
    kept = []
    for row in rows:
        seed = first.setdefault((row.source, row.target, row.translator), row.seed)
        if row.seed == seed and row.volume and (folder / row.volume).exists():
            kept.append(row)
    return kept


def result_of(folder: Path, row: Row) -> Output:
    """Return the volumes of a row and of its domains, for pictures."""
    return Output(
        output=row.volume,
        strategy=row.strategy,
        model=row.translator if row.kind == "network" else condition(row).name,
        assembly=row.assembly,
        source=part(folder, row.source, "test"),
        target=part(folder, row.target, "test") or part(folder, row.target, "train"),
        answer=part(folder, row.source, f"test-as-{row.target}"),
    )


def groups_of(folder: Path, rows: Sequence[Row]) -> list[Group]:
    """Return the networks' translations of one direction in groups that differ only in their strategy."""
    return pictures.groups([result_of(folder, row) for row in visible(folder, rows) if row.kind == "network"])


def overview(folder: Path, rows: Sequence[Row]) -> Sheet | None:
    """Show one direction: source, the best simple translation, trained translations, known answer and target.

    Returns None if nothing was translated or the source no longer exists.
    """
    translations = groups_of(folder, rows)[:MOST]
    simple = {row.translator: row for row in visible(folder, rows) if row.kind == "baseline"}
    for name in (SPECTRUM, HISTOGRAM):
        if name in simple:
            result = result_of(folder, simple[name])
            translations = [Group(result.model, "", (result,)), *translations]
            break
    if not translations or not translations[0].reference.source:
        return None
    sheet = pictures.overview(folder, translations[0].reference, translations)
    return replace(sheet, title=condition(rows[0]).direction)


def residuals(folder: Path, rows: Sequence[Row]) -> list[tuple[Sheet, Sheet | None]]:
    """Show the strategies of each translator and assembly, their differences and a border magnified."""
    sheets = []
    for group in groups_of(folder, rows)[: pictures.MOST_GROUPS]:
        shown = [cuts for view in ("xy", "xz") if (cuts := pictures.cuts(folder, group, view))]
        if len(group.results) > 1 and shown:
            sheet = pictures.residual_sheet(shown)
            title = f"{condition(rows[0]).direction}, {sheet.title}"
            close = pictures.close_up(shown[0])
            sheets.append((replace(sheet, title=title), close and replace(close, title=f"{title}, a border magnified")))
    return sheets
