"""One self-contained HTML page from a results file: what was done, what to see, what it cost, where it lies."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vol2vol
from vol2vol.errors import BadInput
from vol2vol.files import real_path
from vol2vol.plans import Plan
from vol2vol.plans.record import Record
from vol2vol.report.figures import pictures, planes, style
from vol2vol.report.figures.panels import Sheet, Shown, svg
from vol2vol.report.figures.pictures import Group
from vol2vol.report.pages.html import render, write_page
from vol2vol.report.rows import wording
from vol2vol.report.rows.logs import Curves, read_curves
from vol2vol.report.rows.results import RESULTS, UNTRANSLATED, Result, read_results
from vol2vol.volumes import Volume, open_volume
from vol2vol.volumes.addresses import local_path

REPORT = "report.html"
SHORT = 2000
"""Fewer steps than this show the mechanism rather than the quality."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One volume in words."""

    path: str
    """Relative to the results file, as written there."""
    name: str
    absolute: str
    shape: str
    dtype: str
    voxel: str


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How one prediction was tiled, per pass."""

    result: Result
    group: str
    tile: str
    trimmed: str
    step: str
    phase: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """Loss curves of one run."""

    run: str
    steps: str
    totals: Shown
    terms: Shown | None


def write_report(folder: str | Path) -> Path:
    """Write `report.html` beside `results.csv` and return its path.

    Reads the results by column name, of each volume they name only the planes it shows, and the `log.csv` of the runs
    they name: it can be made again anywhere, without the networks. Raises `NotFound` for a missing file and `BadInput`
    for results without a prediction.
    """
    folder = local_path(folder, "a report")
    results = read_results(folder)
    found = pictures.groups(results)
    if not found:
        raise BadInput(f"{folder / RESULTS} lists no prediction: predict first")
    return write_page(folder / REPORT, _page(folder, results, found))


def _page(folder: Path, results: Sequence[Result], found: Sequence[Group]) -> str:
    best = found[0].reference
    residuals, close_ups = _seams(folder, found)
    trainings = [_training(folder, run) for run in dict.fromkeys(r.run for r in results if r.run)]
    return render(
        "report.html",
        folder=real_path(folder),
        source=_facts(folder, best.source),
        target=_facts(folder, best.target),
        answer=_facts(folder, best.answer),
        groups=found,
        strategies=list(dict.fromkeys(r.strategy for group in found for r in group.results)),
        outputs=[(group, _facts(folder, group.reference.output)) for group in found],
        overview=pictures.overview(folder, best, found),
        residuals=residuals,
        close_ups=close_ups,
        trainings=trainings,
        tilings=[_tiling(folder, group, r) for group in found for r in group.results],
        predictions=[(group, r) for group in found for r in group.results],
        fidelity=[r for r in results if r.psnr is not None or r.pearson is not None],
        more=max(0, len(found) - pictures.MOST_GROUPS),
        findings=_findings(results, close_ups),
        provenance=_provenance(folder, best, found),
        untranslated=UNTRANSLATED,
    )


def _seams(folder: Path, found: Sequence[Group]) -> tuple[list[Sheet], list[Sheet]]:
    """Make the residual maps and the close-ups of every group that has more than one strategy."""
    residuals, close_ups = [], []
    for group in found[: pictures.MOST_GROUPS]:
        if len(group.results) < 2:
            continue
        shown = [one for view in ("xy", "xz") if (one := pictures.cuts(folder, group, view))]
        residuals.append(pictures.residual_sheet(shown))
        if close := pictures.close_up(shown[0]):
            close_ups.append(close)
    return residuals, close_ups


def _findings(results: Sequence[Result], close_ups: Sequence[Sheet]) -> list[str]:
    """Say in a sentence each what the numbers came to."""
    found = [f"{sheet.title}: {sheet.note}." for sheet in close_ups if sheet.note]
    before = next((r for r in results if r.strategy == UNTRANSLATED), None)
    translated = [r for r in results if r.strategy != UNTRANSLATED and r.pearson is not None]
    if before and before.pearson is not None and translated:
        best = max(translated, key=lambda r: r.pearson or 0)
        found.append(
            f"Nearest to the known answer is {best.model}, {best.assembly}, {best.strategy}: correlation "
            f"{wording.number(best.pearson)} and PSNR {wording.number(best.psnr)} dB; the untranslated source has "
            f"{wording.number(before.pearson)} and {wording.number(before.psnr)} dB."
        )
    return found


def _facts(folder: Path, path: str) -> Facts | None:
    if not path:
        return None
    volume = open_volume(folder / path)
    size = f"{wording.sizes(tuple(volume.voxel_size))} {planes.short(volume.unit)}".strip()
    return Facts(
        path=path,
        name=path.rstrip("/").rpartition("/")[2],
        absolute=str(real_path(folder / path)),
        shape=wording.sizes(volume.spatial),
        dtype=str(volume.dtype),
        voxel=size if volume.sized else "not known",
    )


def _tiling(folder: Path, group: Group, result: Result) -> Tiling:
    record = Record.of(open_volume(folder / result.output))
    passes = [one.plan for one in record.layout.passes] if record is not None else []

    def listed(values: list[str]) -> str:
        return "; ".join(dict.fromkeys(values)) or wording.MISSING

    return Tiling(
        result=result,
        group=group.name,
        tile=listed([wording.sizes(plan.tile) for plan in passes]),
        trimmed=listed([f"{wording.sizes(plan.margin[0])} / {wording.sizes(plan.margin[1])}" for plan in passes]),
        step=listed([wording.sizes(plan.step) for plan in passes]),
        phase=_phase(passes, record.footprint.period[-1]) if record is not None else wording.MISSING,
    )


def _phase(passes: Sequence[Plan], period: int) -> str:
    """Say whether all tiles start on the network's grid, which is where a single pass would put them."""
    starts: set[int] = set()
    shifts: set[int] = set()
    for plan in passes:
        for axis, tile in enumerate(plan.tile):
            if tile > 1:
                starts.add((plan.origin[axis] - plan.margin[0][axis]) % period)
                shifts.add(plan.step[axis] % period)
    if shifts - {0}:
        return f"moves by {', '.join(map(str, sorted(shifts - {0})))} of {period} voxels from tile to tile"
    return "as in a single pass" if starts <= {0} else f"shifted by {max(starts)} of {period} voxels, all tiles alike"


def _training(folder: Path, run: str) -> Training:
    curves = read_curves(folder / run)
    terms = curves.terms if len(curves.terms) else None
    last = f"{curves.at[-1]:g}" if curves.at.size else "0"
    return Training(
        run=run,
        steps=f"{last} {curves.counter}s",
        totals=_curve(curves, curves.totals, f"Losses of the training {run}"),
        terms=_curve(curves, terms, f"Terms of the losses of the training {run}") if terms else None,
    )


def _curve(curves: Curves, columns: dict[str, Any], alt: str) -> Shown:
    lines = {name.replace("_", " "): (curves.at, values) for name, values in columns.items()}
    ends = ", ".join(f"{name} from {ys[0]:.3g} to {ys[-1]:.3g}" for name, (_, ys) in lines.items() if ys.size)
    data = style.plot(lines, x=curves.counter, y="loss (no unit)")
    return Shown(source=svg(data), title="", alt=f"{alt}: {ends}", caption=ends)


def _provenance(folder: Path, best: Result, found: Sequence[Group]) -> list[str]:
    volumes: list[Volume] = [open_volume(folder / group.reference.output) for group in found]
    records = [(group.name, record) for group, record in zip(found, map(Record.of, volumes), strict=True) if record]
    lines = [f"vol2vol {vol2vol.__version__}", f"Python {platform.python_version()}"]
    versions = dict.fromkeys(record.version for _, record in records)
    lines += [f"predicted with vol2vol {version}" for version in versions]
    for name, record in records:
        seed = _find(record.training, "seed")
        lines.append(f"{name}: model {record.model[:12]}" + (f", seed {seed}" if seed is not None else ""))
    return lines


def _find(data: Any, key: str) -> Any:
    """Return the first value of a key anywhere in nested plain data."""
    if not isinstance(data, dict):
        return None
    if key in data:
        return data[key]
    return next((value for part in data.values() if (value := _find(part, key)) is not None), None)
