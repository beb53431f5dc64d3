"""Circles that may become any of three colours: the benchmark of tiling by Böhland et al. (IEEE Access 2023), in n-D.

White circles on black (domain X) are to be made red, green or blue (domain Y): one input, many right outputs. In
volumes circles are spheres. With ranges of diameters they are ellipsoids, which with the paper's grey values are the
masks of nuclei of its part on real volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.spatial.transform import Rotation

from vol2vol.geometry import Box, Shape
from vol2vol.phantoms.noise import key, white
from vol2vol.phantoms.placing import Ellipsoids, measure, paint, place, refuse_more_than_fit
from vol2vol.shapes import Voxels, shaped

Role = Literal["source", "target", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
COLOURS = ("red", "green", "blue")
PUBLISHED = 1000, 40.0, (2048, 2048)
"""Circles, their diameter and the shape of the published images."""
SIGMA = 58.3644
"""Standard deviation of the published noise in grey values: the script has 0.22888 of the largest value."""


class Circles(BaseModel):
    """What circles, spheres or ellipsoids are drawn; by default the published images."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=PUBLISHED[2], min_length=2, max_length=3)
    """Voxels of an image (Y, X) or of a volume (Z, Y, X)."""
    diameter: float = Field(default=PUBLISHED[1], ge=1)
    """Mean diameter in voxels."""
    count: int | None = Field(default=None, ge=0)
    """Objects in an image; by default they take the published share of the space (1000 circles in 2048 x 2048)."""
    elongation: tuple[float, float] = (1.0, 1.0)
    """Lowest and highest diameter of an ellipsoid along its axes, over the mean; 1, 1 for circles and spheres."""
    sub_pixel: bool = False
    """Centres lie anywhere rather than at the centres of voxels."""
    noise: Literal["paper", "code", "none"] = "paper"
    """Normal noise on X and Y, as the paper says (paper), on X alone as its script adds it (code), or none."""
    sigma: float = Field(default=SIGMA, ge=0)
    """Standard deviation of the noise in grey values of 8 bits."""
    background: int = Field(default=0, ge=0, le=255)
    """Grey value of the background."""
    foreground: int = Field(default=255, ge=0, le=255)
    """Grey value of the objects; in Y, of the channel of their colour."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Circles:
        low, high = self.elongation
        if not 0 < low <= high:
            raise ValueError(f"elongation {low:g}, {high:g}: give the lowest and the highest, both above 0")
        if self.spatial[1:] == (1, 1) or self.spatial[-1] == 1:
            raise ValueError(f"shape {self.shape}: give at least 2 voxels along Y and X")
        refuse_more_than_fit(self.objects, self.diameter, self.spatial, self.name)
        return self

    @property
    def spatial(self) -> Shape:
        """Z, Y, X in voxels; Z is 1 for images."""
        return (1,) * (3 - len(self.shape)) + self.shape

    @property
    def dims(self) -> int:
        """Number of axes of the objects: 2 in images and in volumes of one plane, else 3."""
        return 2 if self.spatial[0] == 1 else 3

    @property
    def objects(self) -> int:
        """Number of objects in an image."""
        if self.count is not None:
            return self.count
        number, diameter, shape = PUBLISHED
        share = number * measure(diameter, 2) / prod(shape)
        return round(share * prod(self.shape) / measure(self.diameter, self.dims))

    @property
    def name(self) -> str:
        """What is placed where, in words."""
        kind = ("circles" if self.dims == 2 else "spheres") if self.elongation == (1, 1) else "ellipsoids"
        return f"{kind} of diameter {self.diameter:g} in {' x '.join(map(str, self.shape))}"

    def picture(self, role: Role, number: int) -> Picture:
        """Return an image."""
        return Picture(self, role, number)


@dataclass(frozen=True)
class Picture:
    """One image of a benchmark: a pure function of its settings, its role and its number."""

    settings: Circles
    role: Role
    number: int

    @cached_property
    def _drawn(self) -> tuple[Ellipsoids, np.ndarray]:
        how = self.settings
        rng = np.random.default_rng([how.seed, ROLES.index(self.role), self.number])
        bodies = place(how.objects, lambda size: _candidates(rng, how, size), how.name)
        return bodies, rng.integers(0, len(COLOURS), len(bodies))

    @property
    def bodies(self) -> Ellipsoids:
        """The objects; those at the border are cut by it."""
        return self._drawn[0]

    @property
    def colours(self) -> Annotated[np.ndarray, "objects"]:
        """The colour of each object, 0 to 2."""
        return self._drawn[1]

    @shaped
    def labels(self, box: Box) -> Voxels:
        """Return the numbers of the objects in a box from 1 on, 0 elsewhere: uint16, uint32 for more than 65 535."""
        kind = np.uint16 if len(self.bodies) <= np.iinfo(np.uint16).max else np.uint32
        return paint(self.bodies, box)[None].astype(kind)

    @shaped
    def white(self, box: Box) -> Voxels:
        """Return a box of the image in X: white objects on black, uint8, one channel."""
        bright = np.ones((1, len(self.bodies)), bool)
        return self._image(box, bright, ("white",) if self.settings.noise != "none" else ())

    @shaped
    def coloured(self, box: Box) -> Voxels:
        """Return a box of the image in Y: objects in pure red, green or blue on black, uint8, three channels."""
        bright = self.colours == np.arange(len(COLOURS))[:, None]
        return self._image(box, bright, COLOURS if self.settings.noise == "paper" else ())

    def _image(self, box: Box, bright: np.ndarray, noisy: Sequence[str]) -> np.ndarray:
        """Return grey values of `bright` (channels, objects), with noise where channels are named."""
        how, labels = self.settings, paint(self.bodies, box)
        values = np.where(bright, how.foreground, how.background).astype(np.uint8)
        grey = np.pad(values, ((0, 0), (1, 0)), constant_values=how.background)[:, labels]
        return self.noised(grey, box, noisy)

    def noised(self, grey: np.ndarray, box: Box, noisy: Sequence[str]) -> np.ndarray:
        """Add noise to the channels of a box that are named; `grey` (channels, z, y, x) is overwritten.

        Noise is a pure function of settings, role, number, name of the channel and position.
        """
        how = self.settings
        for channel, name in zip(grey, noisy, strict=False):
            grain = white(key(how.seed, self.role, self.number, name), box)
            grain *= np.float32(how.sigma)
            grain += channel
            np.clip(np.rint(grain, out=grain), 0, 255, out=grain)
            channel[...] = grain
        return grey


def read_planes(show: Callable[[Picture, Box], np.ndarray], pictures: Sequence[Picture], box: Box) -> np.ndarray:
    """Return what is shown of pictures of one plane each, stacked along Z, in a box `(Z, Y, X)` of the stack."""
    plane = Box((0, *box.start[1:]), (1, *box.stop[1:]))
    return np.concatenate([show(pictures[z], plane) for z in range(box.start[0], box.stop[0])], axis=1)


def _candidates(rng: np.random.Generator, how: Circles, size: int) -> Ellipsoids:
    """Return ellipsoids whose centres are uniform in the image, and whose axes point anywhere (in an image: in it)."""
    spatial, low, high = np.array(how.spatial), *how.elongation
    centres = rng.integers(0, spatial, (size, 3)).astype(np.float64)
    if how.sub_pixel:
        centres += rng.uniform(-0.5, 0.5, (size, 3)) * (spatial > 1)
    radii = how.diameter / 2 * rng.uniform(low, high, (size, 3))
    spreads = np.zeros((size, 3, 3))
    spreads[:, range(3), range(3)] = radii**2
    if low < high and size:
        turns = rng.standard_normal((size, 4)) if how.dims == 3 else rng.uniform(0, np.pi, (size, 1)) * [[1, 0, 0]]
        turned = (Rotation.from_quat(turns) if how.dims == 3 else Rotation.from_rotvec(turns)).as_matrix()
        spreads = turned @ spreads @ turned.swapaxes(1, 2)
    return Ellipsoids(centres, spreads)
