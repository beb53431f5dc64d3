"""Circles of a study's domain: the images of a part as the planes of a volume, or its one volume of spheres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.phantoms import Picture
from vol2vol.phantoms.circles import Role, read_planes
from vol2vol.study.domain_settings import CirclesPhantom, PartName
from vol2vol.study.origins import Origin


def circles_origin(phantom: CirclesPhantom, part: PartName, *, labels: bool = False) -> Origin:
    """Return the images of a part, or the label images of their circles."""
    pictures = _pictures(phantom, part)
    kind = np.dtype(np.uint8)
    if labels:
        kind = pictures[0].labels(Box((0, 0, 0), (1, 1, 1))).dtype

    show = Picture.labels if labels else Picture.coloured if phantom.coloured else Picture.white

    def read(box: Box) -> np.ndarray:
        return read_planes(show, pictures, box) if phantom.planar else show(pictures[0], box)

    return Origin(
        read=read,
        spatial=_spatial(phantom, len(pictures)),
        channels=1 if labels else phantom.channels,
        dtype=kind,
        voxel_size=(1.0, 1.0, 1.0),
        unit="",
    )


def _pictures(phantom: CirclesPhantom, part: PartName) -> Sequence[Picture]:
    """Return the images of a part: those to test on are others than those to train on."""
    if part == "test":
        return [Picture(phantom.circles, "test", number) for number in range(phantom.tests)]
    role: Role = "target" if phantom.coloured else "source"
    return [Picture(phantom.circles, role, number) for number in range(phantom.images)]


def _spatial(phantom: CirclesPhantom, count: int) -> Shape:
    return (count, *phantom.circles.spatial[1:]) if phantom.planar else phantom.circles.spatial
