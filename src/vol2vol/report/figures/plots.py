"""Plot the rows of a study: FID by checkpoint, cost against quality, metrics against IoU, and contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vol2vol.report.figures import style
from vol2vol.report.figures.charts import WIDE, Difference, Point, courses, forest, scatter, scatters
from vol2vol.report.figures.panels import Shown, svg
from vol2vol.report.rows.conditions import IDENTITY, condition, conditions, fid_name, overlap, with_role
from vol2vol.report.rows.logs import read_curves
from vol2vol.report.rows.rows import Row, Value
from vol2vol.report.statistics.estimates import Judged
from vol2vol.report.statistics.ranks import rank_correlation
from vol2vol.report.tables.agreement import metrics, oriented
from vol2vol.report.tables.contrasts import ALPHA, METRICS, Contrast, corrected_p

PANELS = 6


def fid_by_checkpoint(rows: Sequence[Row]) -> list[Shown]:
    """Return one plot per direction: FID by epoch of every condition, mean and sd over seeds (Fig. 5 of the paper)."""
    fid = fid_name(rows)
    plots = []
    for direction in _directions(rows):
        own = [row for row in rows if condition(row).direction == direction and row.number(fid) is not None]
        lines: dict[str, dict[float, list[float]]] = {}
        for key, group in conditions(own).items():
            for row in group:
                value = row.number(fid)
                if key.kind == "network" and row.checkpoint is not None and value is not None:
                    lines.setdefault(key.name, {}).setdefault(row.checkpoint, []).append(value)
        if any(len(course) > 1 for course in lines.values()):
            start = next((row.number(fid) for row in own if row.translator == IDENTITY), None)
            data = courses(
                lines,
                x="epoch",
                y=f"FID ({'/'.join(fid.split('/')[1::2])})",
                baseline=("untranslated", start) if start is not None else None,
            )
            alt = "; ".join(
                f"{name}: lowest {min(min(c) for c in course.values()):.4g}" for name, course in lines.items()
            )
            plots.append(Shown(source=svg(data), title=direction, alt=f"FID by epoch. {alt}"))
    return plots


def loss_curves(folder: Path, rows: Sequence[Row]) -> list[Shown]:
    """Return a plot of the total losses by step or epoch for every training whose log still exists."""
    plots = []
    for run in dict.fromkeys(row.run for row in rows if row.run and (folder / row.run / "log.csv").is_file()):
        curves = read_curves(folder / run)
        lines = {name: (curves.at, values) for name, values in curves.totals.items()}
        ends = ", ".join(f"{name} from {ys[0]:.3g} to {ys[-1]:.3g}" for name, (_, ys) in lines.items() if ys.size)
        data = style.plot(lines, x=curves.counter, y="loss (no unit)", size=(WIDE, 2.6))
        plots.append(Shown(source=svg(data), title=run, alt=f"Losses of the training {run}: {ends}", caption=ends))
    return plots


def cost_and_quality(rows: Sequence[Row], judged: Judged, roles: dict[str, str]) -> list[Shown]:
    """Return one plot per direction: IoU against time per megavoxel, with the Pareto front.

    Dots are means over seeds at best checkpoints. Untranslated volumes took no time and are not shown.
    """
    plots = []
    for direction in _directions(rows):
        points = []
        for key, group in conditions(with_role(rows, roles)).items():
            speeds = [speed for row in group if (speed := row.number("cost/voxels_per_second"))]
            iou = judged.pooled(group, "iou")
            if key.direction == direction and speeds and iou.value is not None:
                points.append(Point(1e6 * len(speeds) / sum(speeds), iou.interval(), key.name))
        if len(points) > 1:
            data = scatter(points, x="seconds per megavoxel", y="IoU", log_x=True, front=True)
            alt = "; ".join(f"{key.group}: {key.x:.3g} s, IoU {key.y.value:.3f}" for key in points)
            plots.append(Shown(source=svg(data), title=direction, alt=f"IoU against time per megavoxel. {alt}"))
    return plots


def metrics_and_iou(rows: Sequence[Row]) -> list[Shown]:
    """Return a plot of IoU per direction, against FID and the metrics whose ranks agree best with those of IoU."""
    plots = []
    for direction in _directions(rows):
        own = [row for row in rows if condition(row).direction == direction and row.kind != "bound"]
        own = [row for row in own if overlap(row) is not None]
        chosen = _panels(own)
        panels: dict[str, list[Point]] = {}
        for name in chosen:
            points = [
                Point(
                    value, Value(value=overlap(row)), row.translator if row.kind == "network" else condition(row).name
                )
                for row in own
                if (value := row.number(name)) is not None
            ]
            if len(points) > 2:
                panels[name] = points
        if panels:
            data = scatters(panels, y="IoU")
            plots.append(Shown(source=svg(data), title=direction, alt=f"IoU against {', '.join(panels)}"))
    return plots


def _panels(rows: Sequence[Row]) -> list[str]:
    """Return the metrics to plot: FIDs first, then those whose ranks agree best with those of IoU."""
    iou = [overlap(row) for row in rows]
    rho = {
        name: rank_correlation([oriented(name, row.number(name)) for row in rows], iou, [0] * len(rows)).rho
        for name in metrics(rows)
    }
    ranked = sorted((name for name in rho if rho[name] is not None), key=lambda name: -(rho[name] or 0))
    fids = [name for name in metrics(rows) if name.startswith("distance/") and "/fid/" in name and name.endswith("xy")]
    one_axis: dict[str, str] = {}
    for name in [*fids, *ranked]:
        one_axis.setdefault(name.rstrip("xyz"), name)
    return list(one_axis.values())[:PANELS]


FAMILIES = {
    "translator": "trained minus simple translation",
    "strategy": "between strategies",
    "assembly": "between assemblies",
}


def contrast_plot(differences: Sequence[Contrast]) -> list[Shown]:
    """Return a forest plot of differences of IoU per direction; filled dots are significant after correction."""
    ious = [difference for difference in differences if difference.metric == "iou"]
    corrected = dict(zip(map(id, ious), corrected_p(ious), strict=True))
    plots = []
    for direction in dict.fromkeys(difference.direction for difference in ious):
        panels: dict[str, list[Difference]] = {}
        for family, title in FAMILIES.items():
            for difference in ious:
                if (difference.direction, difference.family) == (direction, family):
                    p = corrected[id(difference)]
                    name = difference.name if difference.role == "best" else f"{difference.name}, {difference.role}"
                    line = Difference(name, difference.value, sure=p is not None and p < ALPHA)
                    panels.setdefault(title, []).append(line)
        data = forest(panels, x=f"difference of {METRICS['iou']}")
        count = sum(map(len, panels.values()))
        plots.append(Shown(source=svg(data), title=direction, alt=f"{count} differences of IoU with intervals"))
    return plots


def _directions(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(condition(row).direction for row in rows))
