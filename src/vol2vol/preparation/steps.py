"""The steps of a preparation, as values: what each makes of a volume's shape, which box it needs, and of its voxels."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from math import isfinite
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, parse_box
from vol2vol.intensity import Intensity
from vol2vol.preparation.resampling import Grid, Method, fit, resample
from vol2vol.volumes.masks import foreground

CONTENT = "content"
COARSEST = 200
"""Voxels are made at most this many times longer or shorter; more is a wrong unit."""
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What there is to know of a volume between two steps, without its voxels."""

    shape: Shape
    """C, Z, Y, X."""
    voxel_size: Triple
    """Z, Y, X."""
    dtype: np.dtype
    labels: bool
    """Whether values are names rather than amounts: a mask, or the numbers of objects."""
    origin: Triple = (0.0, 0.0, 0.0)
    """Where the first voxel's corner lies in the input, in units of the voxel size."""

    @property
    def spatial(self) -> Shape:
        """Voxels along Z, Y, X."""
        return self.shape[1:]

    def nbytes(self, box: Box) -> int:
        """Return the bytes of a box of it."""
        return self.shape[0] * box.size * self.dtype.itemsize


class _Step(BaseModel):
    """What steps do unless they say otherwise: leave everything as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def look(self, before: Look) -> Look:
        """Return what the step makes of a volume; raise `BadInput` where it cannot be done to it."""
        return before

    def needs(self, before: Look, box: Box) -> Box:
        """Return the box of the step's input that a box of its output is made of."""
        return box

    def apply(self, before: Look, box: Box, values: np.ndarray) -> np.ndarray:
        """Return the voxels of a box of the output from those of `needs`, `(C, *box.shape)`."""
        return values

    def working(self, before: Look, box: Box) -> int:
        """Return the bytes that `apply` takes beside what it is given and what it returns."""
        return 0

    @property
    def open_question(self) -> bool:
        """Say whether the step depends on the voxels of the whole volume, which have to be looked at first."""
        return False

    def words(self) -> str:
        """Return the step in one line that tells it from every other."""
        said = self.model_dump(mode="json", exclude={"step"}, exclude_defaults=True)
        return " ".join([str(getattr(self, "step", "")), *(f"{key}={_plain(value)}" for key, value in said.items())])


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_plain, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


class Crop(_Step):
    """Cut out a box, or the smallest box that holds everything that is not background."""

    step: Literal["crop"] = "crop"
    box: str
    """z0:z1,y0:y1,x0:x1 in voxels (any bound may be left out), or content."""
    background: tuple[float, float] = (0.0, 0.0)
    """For content: voxels from the first to the second value are background; in several channels, in all of them."""
    margin: int = Field(default=0, ge=0)
    """For content: voxels of background that are kept on each side."""

    @model_validator(mode="after")
    def _content_alone(self) -> Crop:
        if self.box != CONTENT and (self.margin or self.background != (0.0, 0.0)):
            raise ValueError("background and margin of a crop say what content is: leave them out, or give box content")
        return self

    @property
    def open_question(self) -> bool:
        """Say whether the box has to be found first."""
        return self.box == CONTENT

    @classmethod
    def of(cls, box: Box) -> Crop:
        """Return the step that cuts out a box."""
        return cls(box=",".join(f"{a}:{b}" for a, b in zip(box.start, box.stop, strict=True)))

    def region(self, before: Look) -> Box:
        """Return the box that is cut out; the whole volume while it has not been found."""
        return Box.of(before.spatial) if self.open_question else parse_box(self.box, before.spatial, "crop")

    def look(self, before: Look) -> Look:
        """Return the volume within the box."""
        low, high = self.background
        if not low <= high:
            raise BadInput(f"crop background {low:g} to {high:g} holds no value: give the lower one first")
        region = self.region(before)
        moved = (o + a * v for o, a, v in zip(before.origin, region.start, before.voxel_size, strict=True))
        return replace(before, shape=(before.shape[0], *region.shape), origin=_triple(moved))

    def needs(self, before: Look, box: Box) -> Box:
        """Return the same voxels in the input."""
        return box.shift(self.region(before).start)


class Resample(_Step):
    """Bring a volume to another voxel size."""

    step: Literal["resample"] = "resample"
    voxel_size: tuple[float, ...] = Field(min_length=2, max_length=3)
    """The new voxel size Z,Y,X in the volume's unit; Y,X leaves z as it is. One plane stays one plane."""
    method: Literal["auto", "cubic", "linear", "area", "nearest", "majority"] = "auto"
    """cubic, linear, area (the mean), nearest, majority; auto takes majority for labels and cubic for the rest."""

    def grids(self, before: Look) -> list[Grid]:
        """Return per axis how voxels are cut anew."""
        return _grids(self.voxel_size, before.spatial, before.voxel_size)

    def chosen(self, before: Look) -> Method:
        """Return the method for this volume."""
        if self.method != "auto":
            return self.method
        return "majority" if before.labels else "cubic"

    def look(self, before: Look) -> Look:
        """Return the volume on the new grid; it fills the same space to within half a voxel."""
        if before.labels and self.chosen(before) not in ("nearest", "majority"):
            raise BadInput(f"resample {self.method} would mix labels: use --method majority or nearest")
        grids = self.grids(before)
        size = (v * float(g.ratio) for v, g in zip(before.voxel_size, grids, strict=True))
        wanted = dict(zip("xyz", reversed(self.voxel_size), strict=False))
        if before.spatial[0] == 1:
            wanted.pop("z", None)
        exact = _triple(wanted.get(axis, length) for axis, length in zip("zyx", size, strict=True))
        return replace(before, shape=(before.shape[0], *(g.new_size for g in grids)), voxel_size=exact)

    def needs(self, before: Look, box: Box) -> Box:
        """Return the voxels under the kernel."""
        method, grids = self.chosen(before), self.grids(before)
        spans = [g.window(a, b, method) for g, a, b in zip(grids, box.start, box.stop, strict=True)]
        return Box(tuple(a for a, _ in spans), tuple(b for _, b in spans))

    def apply(self, before: Look, box: Box, values: np.ndarray) -> np.ndarray:
        """Return the resampled voxels; raise `BadInput` on NaN and infinity, which would spread."""
        _refuse_odd(values, "resample")
        return resample(values, self.grids(before), box, self.chosen(before))

    def working(self, before: Look, box: Box) -> int:
        """Count the copies in floating point before, between and after the axes, and the sorting of labels."""
        wide = 40 if before.labels else 24 if before.dtype.itemsize > 2 else 12
        return wide * before.shape[0] * max(self.needs(before, box).size, box.size)


@functools.cache
def _grids(new: tuple[float, ...], spatial: Shape, old: Triple) -> list[Grid]:
    wanted = list(old)
    wanted[3 - len(new) :] = new
    if spatial[0] == 1:
        wanted[0] = old[0]
    for axis, (a, b) in zip("zyx", zip(old, wanted, strict=True), strict=True):
        if not (isfinite(b) and b > 0):
            raise BadInput(f"resample to {b:g} along {axis}: voxel sizes are positive numbers, such as 8,8,8")
        if not 1 / COARSEST <= b / a <= COARSEST:
            raise BadInput(f"resample from {a:g} to {b:g} along {axis}: are both in one unit?")
    return [Grid.between(n, a, b) for n, a, b in zip(spatial, old, wanted, strict=True)]


class Binarise(_Step):
    """Make a mask of 0 and 1 (uint8): of labels, of other masks, or of intensities by `above`."""

    step: Literal["binarise"] = "binarise"
    ids: tuple[int, ...] = ()
    """1 where the value is one of these."""
    above: float | None = None
    """1 where the value is greater than this."""

    def look(self, before: Look) -> Look:
        """Return a volume of labels of one byte."""
        if self.ids and self.above is not None:
            raise BadInput("binarise takes ids or above, not both: leave out one of them")
        return replace(before, dtype=np.dtype(np.uint8), labels=True)

    def apply(self, before: Look, box: Box, values: np.ndarray) -> np.ndarray:
        """Return 0 and 1; raise `BadInput` on NaN, and on what no mask holds where neither ids nor above are given."""
        _refuse_odd(values, "binarise")
        if not self.ids and self.above is None:
            return foreground(values, "the input of binarise").astype(np.uint8)
        return (np.isin(values, self.ids) if self.ids else values > self.above).astype(np.uint8)


class Convert(_Step):
    """Store values as another type, by a stated map of intensities."""

    step: Literal["convert"] = "convert"
    dtype: Literal["uint8", "uint16", "uint32", "int16", "float32"]
    range: Literal["keep", "type", "minmax", "percentile"] | tuple[float, float] | None = None
    """The stored values that become the ends of the new type (0 and 1 of a float): two numbers, all that the old type
    holds, the least and greatest of the volume, or its 0.1 and 99.9 percentiles; keep changes no value that fits and
    clips the others. Left out, all values have to fit."""

    @property
    def open_question(self) -> bool:
        """Say whether the range has to be measured first."""
        return self.range in ("minmax", "percentile")

    def look(self, before: Look) -> Look:
        """Return the volume with the new type; raise `BadInput` where no map is stated and values would not fit."""
        new = np.dtype(self.dtype)
        if before.labels and self._mapped:
            raise BadInput("convert with a range would change labels: leave the range out")
        if self.range == "type" and before.dtype.kind == "f":
            raise BadInput(f"convert range type: {before.dtype} has no ends: give two numbers or percentile")
        if isinstance(self.range, tuple) and not self.range[0] < self.range[1]:
            raise BadInput(f"convert range {self.range[0]:g}:{self.range[1]:g} is empty: give the lower value first")
        if self.range is None and not before.labels and not np.can_cast(before.dtype, new, "safe"):
            raise BadInput(f"convert {before.dtype} to {new}: say how, --range LOW:HIGH, type, percentile or keep")
        return replace(before, dtype=new)

    def apply(self, before: Look, box: Box, values: np.ndarray) -> np.ndarray:
        """Return values of the new type, rounded and clipped; raise `BadInput` on NaN and labels too large."""
        new = np.dtype(self.dtype)
        if new.kind != "f" or self._mapped:
            _refuse_odd(values, "convert")
        if not self._mapped:
            made = fit(values, new)
            if before.labels and not (made == values).all():
                raise BadInput(f"convert to {new}: the label {values[made != values][0]} does not fit: use uint32")
            return made
        assert not self.open_question, self
        if isinstance(self.range, tuple):
            return self._map(*self.range).from_network(values, new)
        limits = np.iinfo(before.dtype)
        return self._map(limits.min, limits.max).from_network(values, new)

    @property
    def _mapped(self) -> bool:
        return self.range not in (None, "keep")

    def _map(self, first: float, last: float) -> Intensity:
        """Return the affine map that sends these values to the ends of the new type."""
        new = np.dtype(self.dtype)
        low, high = (0, 1) if new.kind == "f" else (np.iinfo(new).min, np.iinfo(new).max)
        return Intensity(low=(low,), high=(high,), network=(float(first), float(last)))


class Channels(_Step):
    """Keep some channels, in this order."""

    step: Literal["channels"] = "channels"
    keep: tuple[int, ...] = Field(min_length=1)
    """Their numbers, from 0."""

    def look(self, before: Look) -> Look:
        """Return the volume with these channels."""
        if out := [c for c in self.keep if not 0 <= c < before.shape[0]]:
            raise BadInput(f"channel {out[0]} is not there: the volume has {before.shape[0]}, numbered from 0")
        return replace(before, shape=(len(self.keep), *before.spatial))

    def apply(self, before: Look, box: Box, values: np.ndarray) -> np.ndarray:
        """Return the channels."""
        return values[list(self.keep)]


Step = Annotated[Crop | Resample | Binarise | Convert | Channels, Field(discriminator="step")]


def _triple(values: Any) -> Triple:
    z, y, x = values
    return z, y, x


def _refuse_odd(values: np.ndarray, step: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadInput(f"{step} meets NaN or infinity: replace it by a number")
