"""Plot numbers with their uncertainty; functions return the bytes of an SVG in the style of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from vol2vol.report.figures.style import INK, blank, drawn, style
from vol2vol.report.rows.rows import Value

PALETTE = ("#1b9e77", "#e0702a", "#3a86c8", "#e7298a", "#8f86d6", "#e6ab02", "#a6761d", "#66a61e")
MARKS = "osD^vP*X"
WIDE = 9.6
"""Inches."""


@dataclass(frozen=True)
class Point:
    """A dot of a scatter plot; the dots of a group share a colour and one entry in the legend."""

    x: float
    y: Value
    group: str
    label: str = ""


@dataclass(frozen=True)
class Difference:
    """One line of a forest plot."""

    name: str
    value: Value
    sure: bool = False
    """Whether it is significant after correction; the dot is then filled."""


def forest(panels: Mapping[str, Sequence[Difference]], *, x: str) -> bytes:
    """Plot differences with their intervals, a line each, and a vertical line at 0; every panel has its own scale."""
    counts = [len(lines) for lines in panels.values()]
    figure = Figure(figsize=(WIDE, 0.3 * sum(counts) + 0.95 * len(counts)), layout="constrained")
    grid = figure.add_gridspec(len(counts), 1, height_ratios=[count + 0.6 for count in counts])
    for place, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[place])
        style(axes, x if place == len(counts) - 1 else "", "")
        axes.set_title(title, color=INK, fontsize=10, loc="left", fontweight="bold")
        for index, line in enumerate(lines):
            value = float("nan") if line.value.value is None else line.value.value
            if line.value.low is not None and line.value.high is not None:
                axes.plot([line.value.low, line.value.high], [index] * 2, color=_colour(place), linewidth=2)
            face = _colour(place) if line.sure else "none"
            axes.plot([value], [index], marker="o", color=_colour(place), markerfacecolor=face, markersize=6.5)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(lines)), [line.name for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(6))
    return drawn(figure)


def courses(
    lines: Mapping[str, Mapping[float, Sequence[float]]], *, x: str, y: str, baseline: tuple[str, float] | None = None
) -> bytes:
    """Plot means over seeds against a counter, with one standard deviation, as in Fig. 5 of the stitching paper.

    `lines` has the values of all seeds by name and by counter; `baseline` is drawn as a dotted line.
    """
    figure, axes = blank(x, y, size=(WIDE, 3.6))
    for index, (name, course) in enumerate(lines.items()):
        at = sorted(course)
        means = [float(np.mean(course[x_value])) for x_value in at]
        spread = [float(np.std(course[x_value], ddof=1)) if len(course[x_value]) > 1 else 0.0 for x_value in at]
        bars = spread if any(spread) else None
        style_ = {"color": _colour(index), "marker": MARKS[index % len(MARKS)], "markersize": 4.5, "linewidth": 1.4}
        axes.errorbar(at, means, yerr=bars, capsize=3, label=name, **style_)  # type: ignore[arg-type]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if baseline:
        axes.axhline(baseline[1], color=INK, linestyle=":", linewidth=1.4, label=baseline[0])
    figure.legend(frameon=False, labelcolor=INK, fontsize=9, loc="outside right upper")
    return drawn(figure)


def scatter(points: Sequence[Point], *, x: str, y: str, log_x: bool = False, front: bool = False) -> bytes:
    """Plot dots with intervals along y; `front` joins the dots that no dot to their left surpasses (Pareto front)."""
    figure, axes = blank(x, y, size=(WIDE, 4.2))
    _dots(axes, points, list(dict.fromkeys(point.group for point in points)))
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    if front:
        best = pareto([(point.x, point.y.value) for point in points if point.y.value is not None])
        axes.plot(*zip(*best, strict=True), color=INK, linewidth=1, linestyle="--", drawstyle="steps-post", zorder=0)
    figure.legend(frameon=False, labelcolor=INK, fontsize=9, loc="outside right upper")
    return drawn(figure)


def scatters(panels: Mapping[str, Sequence[Point]], *, y: str, columns: int = 3) -> bytes:
    """Plot small scatter plots that share the y axis and a legend; the name of a panel labels its x axis."""
    rows = -(-len(panels) // columns)
    groups = list(dict.fromkeys(point.group for points in panels.values() for point in points))
    figure = Figure(figsize=(WIDE, 2.7 * rows + 0.5), layout="constrained")
    for place, (name, points) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, place + 1, sharey=figure.axes[0] if figure.axes else None)
        style(axes, name, y if place % columns == 0 else "", 8.5)
        _dots(axes, points, groups)
    handles = [
        axes.plot([], [], marker=MARKS[i % len(MARKS)], color=_colour(i), linestyle="", label=name)[0]
        for i, name in enumerate(groups)
    ]
    figure.legend(handles=handles, frameon=False, labelcolor=INK, fontsize=8.5, ncols=4, loc="outside lower center")
    return drawn(figure)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto front by rising x: the points for which no other point has a smaller x and at least their y."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    return best


def _dots(axes: Axes, points: Sequence[Point], groups: Sequence[str]) -> None:
    for index, group in enumerate(groups):
        own = [point for point in points if point.group == group and point.y.value is not None]
        colour, mark = _colour(index), MARKS[index % len(MARKS)]
        for point in own:
            if point.y.low is not None and point.y.high is not None:
                axes.plot([point.x] * 2, [point.y.low, point.y.high], color=colour, linewidth=1, alpha=0.6)
        ys = [point.y.value or 0.0 for point in own]
        style_ = {"linestyle": "", "markersize": 6, "alpha": 0.85, "label": group}
        axes.plot([point.x for point in own], ys, marker=mark, color=colour, **style_)  # type: ignore[arg-type]


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]
