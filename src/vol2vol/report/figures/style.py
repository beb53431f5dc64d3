"""Draw arrays as bytes of PNG or SVG, without files or global state.

Pictures contain only the image, a scale bar and tile borders; captions remain text. Plots have mid-grey lettering on a
transparent background, which is legible on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image

INK = "#808080"
WIDTH = 400
"""Approximate width of a picture in pixels; voxels are magnified by a whole number."""
COLOURS = {
    "exact": "#1b9e77",
    "printed": "#66a61e",
    "march": "#1f78b4",
    "average": "#8f86d6",
    "blend": "#e6ab02",
    "disjoint": "#e0702a",
}
OTHER_COLOURS = ("#e7298a", "#3a86c8", "#a6761d", "#999999")


@dataclass(frozen=True, kw_only=True)
class Borders:
    """Tile borders to draw as lines before these rows and columns."""

    rows: Sequence[int]
    columns: Sequence[int]
    colour: str = "#00d5ff"
    length: float = 0.5
    """Fraction of the side drawn from each edge: 0.5 crosses the picture, a smaller one leaves the middle free."""


@dataclass(frozen=True, kw_only=True)
class ScaleBar:
    """A scale bar: its length in columns, and its label."""

    columns: float
    label: str


def colour_of(name: str, index: int = 0) -> str:
    """Return the colour of a strategy, which is the same in every figure; other names get colours by `index`."""
    return COLOURS.get(name, OTHER_COLOURS[index % len(OTHER_COLOURS)])


def scale_bar(columns: int, voxel: float, unit: str) -> ScaleBar | None:
    """Return a scale bar of a round length, about a quarter of a picture of `columns` voxels of `voxel` units each.

    Returns None if the voxel size is unknown.
    """
    if not voxel > 0 or not np.isfinite(voxel):
        return None
    wanted = columns * voxel / 4
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted * (1 + 1e-9))
    short = {"nanometer": "nm", "micrometer": "\N{MICRO SIGN}m", "millimeter": "mm", "angstrom": "Å", "": "voxels"}.get(
        unit, unit
    )
    return ScaleBar(columns=length / voxel, label=f"{length:g} {short}")


def picture(
    pixels: np.ndarray,
    *,
    limits: tuple[float, float],
    colours: str = "gray",
    voxel: tuple[float, float] = (1.0, 1.0),
    bar: ScaleBar | None = None,
    borders: Borders | None = None,
) -> bytes:
    """Return one plane as a PNG: `pixels (rows, columns)`, shown from `limits[0]` (dark) to `limits[1]` (bright).

    RGB colours, `(rows, columns, 3)` uint8, are shown unchanged. Voxels that are not square are stretched to their true
    shape; `voxel` is the height of a row and the width of a column.
    """
    rows, columns = pixels.shape[:2]
    zoom = max(1, round(WIDTH / columns))
    aspect = voxel[0] / voxel[1] if min(voxel) > 0 else 1.0
    wide, high = columns * zoom, max(1, round(rows * zoom * aspect))
    figure = Figure(figsize=(wide / 100, high / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    shown = pixels if pixels.ndim == 3 else _coloured(pixels, limits, colours)
    axes.imshow(shown, interpolation="nearest", aspect="auto", extent=(0, columns, rows, 0))
    if borders:
        for start, stop in ((0, borders.length), (1 - borders.length, 1)):
            for draw, at, side in ((axes.hlines, borders.rows, columns), (axes.vlines, borders.columns, rows)):
                draw(list(at), start * side, stop * side, colors=borders.colour, linewidth=1.4)
    if bar:
        _draw_bar(figure, bar, columns)
    return _png(figure)


def _coloured(pixels: np.ndarray, limits: tuple[float, float], colours: str) -> np.ndarray:
    low, high = limits if limits[1] > limits[0] else (limits[0], limits[0] + 1)
    values = np.nan_to_num(pixels.astype(np.float64), nan=low)
    return np.asarray(colormaps[colours](np.clip((values - low) / (high - low), 0, 1), bytes=True))


def _draw_bar(figure: Figure, bar: ScaleBar, columns: int) -> None:
    wide, high = figure.get_size_inches() * 100
    right, length = 1 - 10 / wide, bar.columns / columns
    edge = [withStroke(linewidth=3, foreground="black")]
    line = Line2D([right - length, right], [10 / high] * 2, color="white", linewidth=3, solid_capstyle="butt")
    line.set(transform=figure.transFigure, path_effects=edge)
    figure.add_artist(line)
    style: dict[str, Any] = {"color": "white", "fontsize": 10, "path_effects": edge}
    figure.text(right - length / 2, 14 / high, bar.label, ha="center", va="bottom", **style)


def _png(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    colour = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    out = BytesIO()
    colour.quantize(192, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def colour_bar(colours: str) -> bytes:
    """Return a PNG of a colour map, a strip of 256 x 8 pixels with low values on the left."""
    strip = colormaps[colours](np.tile(np.arange(256), (8, 1)), bytes=True)[..., :3]
    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(strip)).save(out, "PNG", optimize=True)
    return out.getvalue()


def plot(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x: str,
    y: str,
    colours: Mapping[str, str] | None = None,
    mark_zero: bool = False,
    size: tuple[float, float] = (5.2, 2.9),
    lettering: float = 9.5,
) -> bytes:
    """Return an SVG of lines (x and y values by name) with a legend; `x` and `y` label the axes, with their units."""
    figure, axes = blank(x, y, size=size, lettering=lettering)
    for index, (name, (xs, ys)) in enumerate(lines.items()):
        colour = (colours or {}).get(name) or colour_of(name, index)
        axes.plot(xs, ys, label=name, color=colour, linewidth=1.6)
    if mark_zero:
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=":")
    if lines:
        axes.legend(frameon=False, labelcolor=INK, fontsize=lettering)
    return drawn(figure)


def blank(x: str, y: str, *, size: tuple[float, float] = (5.2, 2.9), lettering: float = 9.5) -> tuple[Figure, Axes]:
    """Return an empty plot in the style of the report."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    style(axes, x, y, lettering)
    return figure, axes


def style(axes: Axes, x: str, y: str, lettering: float = 9.5) -> None:
    """Label axes and draw them in the style of the report."""
    axes.set_xlabel(x, color=INK, fontsize=lettering)
    axes.set_ylabel(y, color=INK, fontsize=lettering)
    axes.tick_params(colors=INK, which="both", labelsize=lettering)
    axes.grid(color=INK, alpha=0.18, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def drawn(figure: Figure) -> bytes:
    """Return a plot as an SVG."""
    out = BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()
