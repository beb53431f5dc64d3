"""Images of the page with their titles, descriptions, colour ranges and scale bars."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vol2vol.report.figures import style
from vol2vol.report.figures.planes import Plane


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image of the page with its title, description and caption."""

    source: str
    """A data URL: the page contains its images."""
    title: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values at the two ends of a colour map."""

    low: float
    high: float
    unit: str
    colours: str = "gray"

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value shown."""
        return self.low, self.high

    @property
    def strip(self) -> str:
        """The colour map as an image."""
        return png(style.colour_bar(self.colours))


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Rows of images that share their colour ranges."""

    title: str
    rows: list[list[Shown]]
    ranges: list[Range] = field(default_factory=list)
    note: str = ""
    least: int = 1
    """Minimum number of columns, so that a few images are not enlarged."""

    @property
    def columns(self) -> int:
        """Number of images in the widest row, at least `least`."""
        return max(self.least, *map(len, self.rows), 1)


def png(data: bytes) -> str:
    """Return a PNG as a data URL."""
    return "data:image/png;base64," + b64encode(data).decode()


def svg(data: bytes) -> str:
    """Return an SVG as a data URL."""
    return "data:image/svg+xml;base64," + b64encode(data).decode()


def grey_range(shown: Sequence[Plane]) -> Range:
    """Return the grey range that compared images share: the 0.5th to 99.5th percentile of all their pixels."""
    pixels = np.concatenate([plane.pixels.ravel().astype(np.float32) for plane in shown])
    low, high = np.nanpercentile(pixels, (0.5, 99.5))
    return Range(low=float(low), high=float(high), unit="stored grey value")


def draw(
    plane: Plane, title: str, what: str, shown: Range, *, borders: style.Borders | None = None, caption: str = ""
) -> Shown:
    """Draw a plane as an image; `what` begins its description for readers who cannot see it."""
    bar = style.scale_bar(plane.pixels.shape[1], plane.voxel_size[1], plane.unit)
    data = style.picture(
        plane.pixels,
        limits=shown.limits,
        colours=shown.colours,
        voxel=plane.voxel_size,
        bar=bar,
        borders=borders,
    )
    alt = f"{what}, {plane.view} plane at {plane.where}" + (f", scale bar {bar.label}" if bar else "")
    return Shown(source=png(data), title=title, alt=alt, caption=caption)
