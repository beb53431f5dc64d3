"""Read axes and voxel sizes from plain attributes of arrays and groups in Zarr, N5 and HDF5.

The dialects of OpenOrganelle (COSEM), N5-viewer and BigDataViewer, Fiji's N5 export, Paintera, funlib, CREMI,
PlantSeg and ilastik. Lists follow the order of the stored axes unless noted: the fastest first in N5, last elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vol2vol.errors import BadInput
from vol2vol.files import parse_json
from vol2vol.volumes.calibration import Calibration, lengths, letters

NAMES = ("axes", "axis_names", "axisNames", "_ARRAY_DIMENSIONS")
"""Attributes that name the axes one by one."""
SIZES = ("resolution", "voxel_size", "voxelSize", "element_size_um", "pixelResolution")
UNITS = {"element_size_um": "micrometer"}


def native(axes: str) -> str:
    """Return the axes of an N5 array as stored, from a list in N5 order (x first) or C order (x last).

    Axes in neither order (`yxz`) are ambiguous, so all are unknown.
    """
    if len(axes) > 1 and [a for a in "tczyx" if a in axes] == list(axes):
        return axes[::-1]
    return axes if axes.find("x") < axes.find("y") else "*" * len(axes)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a format orders the lists in its attributes."""

    ndim: int
    fastest_first: bool = False
    """Whether the first axis of the stored array is the fastest, as in N5."""
    units: Mapping[str, str] = field(default_factory=lambda: UNITS)
    """Units by attribute where none is stated."""

    def spatial(self, count: int) -> str:
        """Return the letters of a list with one number per spatial axis."""
        return "xyz"[:count] if self.fastest_first else "zyx"[-count:]

    def spread(self, values: Any, axes: str) -> dict[str, Any]:
        """Return a list by axis letter, one value per stored or spatial axis; empty where its length fits neither."""
        if not isinstance(values, list) or len(values) < 2:
            return {}
        known = [a for a in axes if a in "zyx"] if not set(axes) & set("?*") else []
        if len(values) == len(axes) and len(known) >= 2:
            return dict(zip(axes, values, strict=True))
        if len(values) == len(known):
            return dict(zip(known, values, strict=True))
        return dict(zip(self.spatial(len(values)), values, strict=True)) if len(values) <= 3 else {}

    def statements(
        self, attributes: Mapping[str, Any], around: str, *, axes: str = "", factors: Sequence[float] = ()
    ) -> list[Calibration]:
        """Return the statements in these attributes; `around` names their owner in messages.

        `axes` are those of the array as far as they are known, `factors` the length of its voxels in voxels of the
        finest level, per spatial axis as N5 lists them.
        """
        named = self._names(attributes, around)
        axes = next((s.axes for s in named if "*" not in s.axes and "?" not in s.axes), axes)
        calibrations = [self._transform(attributes, around), self._imagej(attributes, around), *named]
        for key in SIZES:
            calibrations.append(self._sizes(key, attributes, around, axes, factors))
        calibrations.append(self._matrix(attributes, around))
        return [
            calibration
            for calibration in calibrations
            if calibration is not None and (calibration.axes or calibration.voxel_size or calibration.offset)
        ]

    def _names(self, attributes: Mapping[str, Any], around: str) -> list[Calibration]:
        calibrations = []
        for key in NAMES:
            names = attributes.get(key)
            if isinstance(names, list) and len(names) == self.ndim and all(isinstance(n, str | None) for n in names):
                axes = letters(names)
                calibrations.append(
                    Calibration(source=f"{key} of {around}", axes=native(axes) if self.fastest_first else axes)
                )
        tags = attributes.get("axistags")
        if isinstance(tags, str):
            try:
                listed = parse_json(tags)["axes"]
                axes = letters(axis["key"] for axis in listed)
            except (ValueError, LookupError, TypeError):
                return calibrations
            sizes = {a: float(axis.get("resolution") or 0) for a, axis in zip(axes, listed, strict=True)}
            size, _ = lengths({a: v for a, v in sizes.items() if v > 0}, {})
            calibrations.append(Calibration(source=f"axistags of {around}", axes=axes, voxel_size=size))
        return calibrations

    def _transform(self, attributes: Mapping[str, Any], around: str) -> Calibration | None:
        """Read `transform` (OpenOrganelle), whose lists are in C order unless `order` is "F"."""
        transform = attributes.get("transform")
        if not isinstance(transform, dict) or not {"axes", "scale"} <= transform.keys():
            return None
        axes = letters(transform["axes"])
        units = dict(zip(axes, transform.get("units") or (), strict=False))
        size, unit = lengths(dict(zip(axes, transform["scale"], strict=True)), units)
        place, _ = lengths(dict(zip(axes, transform.get("translate") or (), strict=False)), units)
        stored = axes[::-1] if self.fastest_first != (transform.get("order") == "F") else axes
        return Calibration(
            source=f"transform of {around}",
            axes=stored if len(stored) == self.ndim else "",
            voxel_size=_positive(size),
            offset=place,
            unit=unit,
        )

    def _imagej(self, attributes: Mapping[str, Any], around: str) -> Calibration | None:
        """Read the attributes of Fiji's export: pixel sizes and the numbers of channels, slices and frames."""
        if not {"pixelWidth", "pixelHeight", "numChannels", "numSlices", "numFrames"} <= attributes.keys():
            return None
        counts = {"c": attributes["numChannels"], "z": attributes["numSlices"], "t": attributes["numFrames"]}
        axes = "xy" + "".join(a for a, n in counts.items() if int(n) > 1)
        sizes = {a: attributes.get(f"pixel{word}") for a, word in zip("xyz", ("Width", "Height", "Depth"), strict=True)}
        numbers = {a: float(v) for a, v in sizes.items() if v and a in axes}
        units = dict.fromkeys("xyz", attributes.get("pixelUnit") or attributes.get("unit"))
        size, unit = lengths(numbers, units)
        whole = len(axes) == self.ndim and self.fastest_first
        return Calibration(
            source=f"pixelWidth of {around}",
            axes=axes if whole else "",
            voxel_size=_positive(size),
            unit=unit,
        )

    def _sizes(
        self, key: str, attributes: Mapping[str, Any], around: str, axes: str, factors: Sequence[float]
    ) -> Calibration | None:
        """Read a list of voxel sizes, with `offset` and `units`; N5-viewer's is that of the finest level."""
        value: Any = attributes.get(key)
        units: Any = attributes.get("units") or attributes.get("unit")
        if isinstance(value, dict):
            value, units = value.get("dimensions"), value.get("unit")
        sizes = self.spread(value, axes)
        if not sizes or not all(isinstance(v, int | float) for v in sizes.values()):
            return None
        per_axis = self.spread(units, axes) if isinstance(units, list) else dict.fromkeys(sizes, units)
        per_axis = {a: u or self.units.get(key, "") for a, u in {**dict.fromkeys(sizes), **per_axis}.items()}
        steps = dict(zip(self.spatial(len(factors)), factors, strict=True)) if factors else {}
        size, unit = lengths({a: v * steps.get(a, 1) for a, v in sizes.items() if v > 0}, per_axis)
        places = self.spread(attributes.get("offset"), axes) if key in ("resolution", "voxel_size") else {}
        shift = {a: sizes[a] * (steps[a] - 1) / 2 for a in steps if a in sizes and steps[a] != 1}
        place, _ = lengths({a: places.get(a, 0) + shift.get(a, 0) for a in {**places, **shift}}, per_axis)
        return Calibration(source=f"{key} of {around}", voxel_size=size, offset=place, unit=unit)

    def _matrix(self, attributes: Mapping[str, Any], around: str) -> Calibration | None:
        """Read N5-viewer's `affineTransform`, twelve numbers in rows of x, y, z, where it only scales and shifts."""
        values = attributes.get("affineTransform")
        if not isinstance(values, list) or len(values) != 12 or not all(isinstance(v, int | float) for v in values):
            return None
        if any(values[4 * row + column] for row in range(3) for column in range(3) if row != column):
            raise BadInput(f"the affineTransform of {around} rotates or shears; only scales and shifts are read")
        sizes = {a: values[5 * row] for row, a in enumerate("xyz")}
        place, _ = lengths({a: values[4 * row + 3] for row, a in enumerate("xyz")}, {})
        size, _ = lengths(sizes, {})
        source = f"affineTransform of {around}"
        return Calibration(source=source, voxel_size=_positive(size), offset={a: v for a, v in place.items() if v})


def _positive(sizes: Mapping[str, float]) -> dict[str, float]:
    return {a: value for a, value in sizes.items() if value > 0}
