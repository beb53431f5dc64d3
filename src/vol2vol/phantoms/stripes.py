"""Striped objects: a phantom whose choice has long range, since a stripe must go on as it began.

White circles or spheres (domain X) are to be filled with stripes (domain Y). Colour, direction and phase of an object's
stripes are free, but the same throughout the object; no voxel of X says which. Objects that are larger than what a
network sees at once can only be consistent where a decision is passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import ndimage

from vol2vol.geometry import Box
from vol2vol.phantoms.circles import COLOURS, ROLES, Circles, Picture, Role
from vol2vol.shapes import Voxels, shaped


class Stripes(Circles):
    """What striped objects are drawn; by default circles of 256 pixels in images of 2048 x 2048."""

    diameter: float = Field(default=256.0, ge=1)
    """Mean diameter in voxels; the choice has long range where it exceeds what a network sees."""
    period: float = Field(default=12.0, ge=4)
    """Distance between the middles of neighbouring stripes in voxels; half of it is bright."""

    def picture(self, role: Role, number: int) -> StripedPicture:
        """Return an image."""
        return StripedPicture(self, role, number)

    @property
    def name(self) -> str:
        """What is placed where, in words."""
        return f"striped {super().name}"


@dataclass(frozen=True)
class StripedPicture(Picture):
    """One image of striped objects."""

    settings: Stripes

    @cached_property
    def waves(self) -> tuple[Annotated[np.ndarray, "objects 3"], Annotated[np.ndarray, "objects"]]:
        """Wave vector (periods per voxel, along Z, Y, X) and phase (periods) of each object's stripes, drawn freely."""
        how, count = self.settings, len(self.bodies)
        rng = np.random.default_rng([how.seed, ROLES.index(self.role), self.number, 1])
        ways = rng.standard_normal((count, 3)) * (np.array(how.spatial) > 1 if how.dims == 2 else 1)
        return ways / np.linalg.norm(ways, axis=1, keepdims=True) / how.period, rng.random(count)

    @shaped
    def coloured(self, box: Box) -> Voxels:
        """Return a box of the image in Y: stripes in pure red, green or blue on black, uint8, three channels."""
        how, labels = self.settings, self.labels(box)[0]
        grey = np.full((len(COLOURS), *box.shape), how.background, np.uint8)
        for number, part in enumerate(ndimage.find_objects(labels)):
            if part is not None:
                bright = (labels[part] == number + 1) & (self._wave(number, box, part) > 0)
                grey[self.colours[number]][part][bright] = how.foreground
        return self.noised(grey, box, COLOURS if how.noise == "paper" else ())

    def _wave(self, number: int, box: Box, part: tuple[slice, ...]) -> np.ndarray:
        """Return the cosine of an object's stripes in a part of a box; its phase counts from the object's centre."""
        (ways, phases), centre = self.waves, self.bodies.centres[number]
        total: np.ndarray = np.asarray(phases[number])
        for way, start, where, middle in zip(ways[number], box.start, part, centre, strict=True):
            total = total[..., None] + way * (np.arange(where.start, where.stop) + start - middle)
        result: np.ndarray = np.cos(2 * np.pi * total)
        return result
