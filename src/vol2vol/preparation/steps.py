"""Define the steps of a preparation: each says which shape it produces, which input box it needs, and its voxels."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from math import isfinite
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.geometry import Box, Shape, parse_box
from vol2vol.intensity import Intensity
from vol2vol.preparation.resampling import Grid, Method, fit, resample
from vol2vol.volumes.masks import foreground

CONTENT = "content"
COARSEST = 200
"""Maximum factor between old and new voxel length; a greater one is taken for a wrong unit."""
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Header:
    """Metadata of a volume between two steps."""

    shape: Shape
    """C, Z, Y, X."""
    voxel_size: Triple
    """Z, Y, X, in the unit of the input."""
    dtype: np.dtype
    labels: bool
    """Whether values are labels (a mask or an instance-label image) rather than intensities."""
    origin: Triple = (0.0, 0.0, 0.0)
    """Position (Z, Y, X) of the first voxel's corner in the input, in the unit of the voxel size."""

    @property
    def spatial(self) -> Shape:
        """Voxels along Z, Y, X."""
        return self.shape[1:]

    def nbytes(self, box: Box) -> int:
        """Return the bytes of a box, with all channels."""
        return self.shape[0] * box.size * self.dtype.itemsize


class _Step(BaseModel):
    """A step that changes nothing; steps override what they change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def header(self, before: Header) -> Header:
        """Return the header of the step's output; raise `BadInput` where the step does not fit its input."""
        return before

    def needs(self, before: Header, box: Box) -> Box:
        """Return the box of the step's input that a box of its output depends on."""
        return box

    def apply(self, before: Header, box: Box, values: np.ndarray) -> np.ndarray:
        """Return the voxels `(C, *box.shape)` of a box of the output; `values` are those of `needs(before, box)`."""
        return values

    def working_memory(self, before: Header, box: Box) -> int:
        """Return the bytes that `apply` takes in addition to its input and its output."""
        return 0

    @property
    def data_dependent(self) -> bool:
        """Whether a box or range of the step has to be measured on the voxels of the whole volume first."""
        return False

    def words(self) -> str:
        """Return the step and its settings in one line; different steps have different lines."""
        settings = self.model_dump(mode="json", exclude={"step"}, exclude_defaults=True)
        return " ".join([str(getattr(self, "step", "")), *(f"{k}={_plain(v)}" for k, v in settings.items())])


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
    """For content: range of background values; a voxel is background if all its channels are."""
    margin: int = Field(default=0, ge=0)
    """For content: voxels of background to keep on each side."""

    @model_validator(mode="after")
    def _content_alone(self) -> Crop:
        if self.box != CONTENT and (self.margin or self.background != (0.0, 0.0)):
            raise ValueError("background and margin of a crop need box content: leave them out, or give box content")
        return self

    @property
    def data_dependent(self) -> bool:
        """Whether the box has to be measured first."""
        return self.box == CONTENT

    @classmethod
    def of(cls, box: Box) -> Crop:
        """Return the step that cuts out a box."""
        return cls(box=",".join(f"{a}:{b}" for a, b in zip(box.start, box.stop, strict=True)))

    def region(self, before: Header) -> Box:
        """Return the box that is cut out; the whole volume where it is not measured yet."""
        return Box.of(before.spatial) if self.data_dependent else parse_box(self.box, before.spatial, "crop")

    def header(self, before: Header) -> Header:
        """Return the header of the box."""
        low, high = self.background
        if not low <= high:
            raise BadInput(f"crop background {low:g} to {high:g} holds no value: give the lower one first")
        region = self.region(before)
        origin = (o + a * v for o, a, v in zip(before.origin, region.start, before.voxel_size, strict=True))
        return replace(before, shape=(before.shape[0], *region.shape), origin=_triple(origin))

    def needs(self, before: Header, box: Box) -> Box:
        """Return the same voxels in the input."""
        return box.shift(self.region(before).start)


class Resample(_Step):
    """Resample a volume to another voxel size."""

    step: Literal["resample"] = "resample"
    voxel_size: tuple[float, ...] = Field(min_length=2, max_length=3)
    """The new voxel size Z,Y,X in the volume's unit; Y,X keeps z. A single plane stays a single plane."""
    method: Literal["auto", "cubic", "linear", "area", "nearest", "majority"] = "auto"
    """cubic, linear, area (the mean), nearest or majority; auto is majority for labels and cubic for intensities."""

    def grids(self, before: Header) -> list[Grid]:
        """Return the resampling grid of each axis, Z, Y, X."""
        return _grids(self.voxel_size, before.spatial, before.voxel_size)

    def method_for(self, before: Header) -> Method:
        """Return the method for a volume: the given one, or the default for its kind."""
        if self.method != "auto":
            return self.method
        return "majority" if before.labels else "cubic"

    def header(self, before: Header) -> Header:
        """Return the header on the new grid, which fills the same space to within half a voxel."""
        if before.labels and self.method_for(before) not in ("nearest", "majority"):
            raise BadInput(f"resample {self.method} would mix labels: use `method` majority or nearest")
        grids = self.grids(before)
        size = (v * float(g.ratio) for v, g in zip(before.voxel_size, grids, strict=True))
        requested = dict(zip("xyz", reversed(self.voxel_size), strict=False))
        if before.spatial[0] == 1:
            requested.pop("z", None)
        exact = _triple(requested.get(axis, length) for axis, length in zip("zyx", size, strict=True))
        return replace(before, shape=(before.shape[0], *(g.new_size for g in grids)), voxel_size=exact)

    def needs(self, before: Header, box: Box) -> Box:
        """Return the box under the kernel."""
        method, grids = self.method_for(before), self.grids(before)
        spans = [g.window(a, b, method) for g, a, b in zip(grids, box.start, box.stop, strict=True)]
        return Box(tuple(a for a, _ in spans), tuple(b for _, b in spans))

    def apply(self, before: Header, box: Box, values: np.ndarray) -> np.ndarray:
        """Return the resampled voxels; raise `BadInput` on NaN and infinity, which would spread."""
        need_finite(values, "the input of resample")
        return resample(values, self.grids(before), box, self.method_for(before))

    def working_memory(self, before: Header, box: Box) -> int:
        """Return the bytes of the floating-point copies between the axes and of sorting labels."""
        wide = 40 if before.labels else 24 if before.dtype.itemsize > 2 else 12
        return wide * before.shape[0] * max(self.needs(before, box).size, box.size)


@functools.cache
def _grids(new: tuple[float, ...], spatial: Shape, old: Triple) -> list[Grid]:
    lengths = list(old)
    lengths[3 - len(new) :] = new
    if spatial[0] == 1:
        lengths[0] = old[0]
    for axis, (a, b) in zip("zyx", zip(old, lengths, strict=True), strict=True):
        if not (isfinite(b) and b > 0):
            raise BadInput(f"resample to {b:g} along {axis}: voxel sizes are positive numbers, such as 8,8,8")
        if not 1 / COARSEST <= b / a <= COARSEST:
            raise BadInput(f"resample from {a:g} to {b:g} along {axis}: are both in one unit?")
    return [Grid.between(n, a, b) for n, a, b in zip(spatial, old, lengths, strict=True)]


class Binarise(_Step):
    """Make a mask of 0 and 1 (uint8) from labels or a mask, or from intensities by a threshold."""

    step: Literal["binarise"] = "binarise"
    ids: tuple[int, ...] = ()
    """Labels that become 1."""
    above: float | None = None
    """Threshold: greater values become 1."""

    def header(self, before: Header) -> Header:
        """Return the header of a mask, uint8."""
        if self.ids and self.above is not None:
            raise BadInput("binarise takes ids or above, not both: leave out one of them")
        return replace(before, dtype=np.dtype(np.uint8), labels=True)

    def apply(self, before: Header, box: Box, values: np.ndarray) -> np.ndarray:
        """Return 0 and 1; raise `BadInput` on NaN and, without ids and above, on values that no mask has."""
        need_finite(values, "the input of binarise")
        if not self.ids and self.above is None:
            return foreground(values, "the input of binarise").astype(np.uint8)
        return (np.isin(values, self.ids) if self.ids else values > self.above).astype(np.uint8)


class Convert(_Step):
    """Convert values to another data type by a stated map of intensities."""

    step: Literal["convert"] = "convert"
    dtype: Literal["uint8", "uint16", "uint32", "int16", "float32"]
    range: Literal["keep", "type", "minmax", "percentile"] | tuple[float, float] | None = None
    """The stored values that are mapped to the limits of the new type (0 and 1 for float): two numbers, type (limits of
    the old type), minmax (minimum and maximum of the volume) or percentile (its 0.1 and 99.9 percentiles); keep changes
    no value that fits and clips the others. By default all values have to fit."""

    @property
    def data_dependent(self) -> bool:
        """Whether the range has to be measured first."""
        return self.range in ("minmax", "percentile")

    def header(self, before: Header) -> Header:
        """Return the header with the new type; raise `BadInput` where no range is given and values might not fit."""
        new = np.dtype(self.dtype)
        if before.labels and self._mapped:
            raise BadInput("convert with a range would change labels: leave the range out")
        if self.range == "type" and before.dtype.kind == "f":
            raise BadInput(f"convert range type: {before.dtype} has no limits: give two numbers or percentile")
        if isinstance(self.range, tuple) and not self.range[0] < self.range[1]:
            raise BadInput(f"convert range {self.range[0]:g}:{self.range[1]:g} is empty: give the lower value first")
        if self.range is None and not before.labels and not np.can_cast(before.dtype, new, "safe"):
            raise BadInput(f"convert {before.dtype} to {new}: give `range` LOW:HIGH, type, percentile or keep")
        return replace(before, dtype=new)

    def apply(self, before: Header, box: Box, values: np.ndarray) -> np.ndarray:
        """Return values of the new type, rounded and clipped; raise `BadInput` on NaN and on labels that do not fit."""
        new = np.dtype(self.dtype)
        if new.kind != "f" or self._mapped:
            need_finite(values, "the input of convert")
        if not self._mapped:
            converted = fit(values, new)
            if before.labels and not (converted == values).all():
                raise BadInput(f"convert to {new}: the label {values[converted != values][0]} does not fit: use uint32")
            return converted
        assert not self.data_dependent, self
        if isinstance(self.range, tuple):
            return self._map(*self.range).from_network(values, new)
        limits = np.iinfo(before.dtype)
        return self._map(limits.min, limits.max).from_network(values, new)

    @property
    def _mapped(self) -> bool:
        return self.range not in (None, "keep")

    def _map(self, first: float, last: float) -> Intensity:
        """Return the affine map from these two values to the limits of the new type."""
        new = np.dtype(self.dtype)
        low, high = (0, 1) if new.kind == "f" else (np.iinfo(new).min, np.iinfo(new).max)
        return Intensity(low=(low,), high=(high,), network=(float(first), float(last)))


class Channels(_Step):
    """Select channels, in a given order."""

    step: Literal["channels"] = "channels"
    keep: tuple[int, ...] = Field(min_length=1)
    """Channel indices, from 0."""

    def header(self, before: Header) -> Header:
        """Return the header with these channels; raise `BadInput` for a channel that does not exist."""
        if absent := [c for c in self.keep if not 0 <= c < before.shape[0]]:
            raise BadInput(f"channel {absent[0]} does not exist: the volume has {before.shape[0]}, numbered from 0")
        return replace(before, shape=(len(self.keep), *before.spatial))

    def apply(self, before: Header, box: Box, values: np.ndarray) -> np.ndarray:
        """Return the selected channels."""
        return values[list(self.keep)]


Step = Annotated[Crop | Resample | Binarise | Convert | Channels, Field(discriminator="step")]


def _triple(values: Any) -> Triple:
    z, y, x = values
    return z, y, x
