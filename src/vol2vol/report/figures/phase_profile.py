"""Plot seam-phase profiles: a seam statistic with the grid shifted plane by plane, flat where there are no seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vol2vol.report.figures.style import INK, colour_of

ROW, WIDTH = 2.1, 6.4
"""Inches."""


def seam_profiles(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a PNG with a panel per axis, of rows that have `axis`, `test` and a `profile` (values by phase).

    Phase 0 is where tiles meet, and is drawn in the middle. Rows without a profile are left out; if no row has one, the
    picture states that no axis could be tested.
    """
    shown = [row for row in rows if row["profile"]]
    axes = list(dict.fromkeys(row["axis"] for row in shown))
    figure = Figure(figsize=(WIDTH, ROW * max(1, len(axes))), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    if not axes:
        figure.text(0.5, 0.5, "no axis could be tested", color=INK, ha="center", va="center")
    for place, axis in enumerate(axes):
        panel = figure.add_subplot(len(axes), 1, place + 1)
        panel.axhline(1, color=INK, linewidth=0.8, linestyle=":")
        panel.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        for index, row in enumerate(candidate for candidate in shown if candidate["axis"] == axis):
            phases, values = _centred(row["profile"])
            panel.plot(phases, values, label=row["test"], color=colour_of(row["test"], index), linewidth=1.4)
        panel.set_ylabel(f"{axis}: statistic", color=INK)
        panel.tick_params(colors=INK)
        panel.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper right")
    if axes:
        panel.set_xlabel("distance from the tile border (planes)", color=INK)
    out = BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _centred(profile: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Return the phases from -step/2 to step/2 and their values, with NaN for None."""
    step = len(profile)
    phases = list(range(-(step // 2), step - step // 2))
    values = [profile[phase % step] for phase in phases]
    return phases, [float("nan") if value is None else float(value) for value in values]
