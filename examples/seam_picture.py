"""Draw the README's picture of a seam and of none, from the predictions of a demo.

vol2vol demo --out demo
python examples/seam_picture.py demo docs/seam.png
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import vol2vol
from vol2vol.geometry import Box
from vol2vol.report.figures import planes
from vol2vol.report.figures import residuals as seams
from vol2vol.report.figures import style as figures

SIDE = 128
GAP = 12


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--translator", default="small-2d.seed1.epoch0010")
    parser.add_argument("--assembly", default="slices")
    asked = parser.parse_args()
    seamed, seamless = (
        vol2vol.open_volume(asked.demo / f"volumes/rat-to-human.{asked.translator}.{strategy}.{asked.assembly}.zarr")
        for strategy in ("disjoint", "exact")
    )
    box, borders = _worst(seamed, seamless)
    low, high = np.percentile(seamless.read(box), (0.5, 99.5))
    images = [_draw(planes.cut(volume, "xy", box), (float(low), float(high)), borders) for volume in (seamed, seamless)]
    sheet = Image.new("L", (images[0].width + GAP + images[1].width, images[0].height), 255)
    sheet.paste(images[0], (0, 0))
    sheet.paste(images[1], (images[0].width + GAP, 0))
    sheet.save(asked.picture, optimize=True)
    print(f"{asked.picture}: {sheet.width} x {sheet.height}, {asked.picture.stat().st_size} bytes, {box}")


def _worst(seamed: vol2vol.Volume, seamless: vol2vol.Volume) -> tuple[Box, figures.Borders]:
    """Return the part of the middle plane around the border that stands out most, and the borders in it."""
    positions = planes.borders(seamed)
    centre = planes.middle(seamed.spatial)
    whole = planes.window(seamed.spatial, "xy", centre, max(seamed.spatial))
    pair = [planes.cut(volume, "xy", whole) for volume in (seamed, seamless)]
    rows, columns = planes.borders_in(pair[0], positions)
    at = seams.worst_border(pair[0].pixels, pair[1].pixels, rows, columns)
    assert at is not None, "the demo's plane has no tile border"
    box = planes.window(seamed.spatial, "xy", (centre[0], *at), SIDE)
    rows, columns = planes.borders_in(planes.cut(seamed, "xy", box), positions)
    return box, figures.Borders(rows=rows, columns=columns, colour="#ffffff", length=0.04)


def _draw(plane: planes.Plane, limits: tuple[float, float], borders: figures.Borders) -> Image.Image:
    data = figures.picture(plane.pixels, limits=limits, borders=borders)
    return Image.open(BytesIO(data)).convert("L")


if __name__ == "__main__":
    main()
