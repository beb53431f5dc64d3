"""Read axes and voxel sizes from N5 attributes, in the dialects of the programs that write them.

N5 counts dimensions from the fastest: its native axes are x, y, z.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vol2vol.volumes.calibration import Calibration
from vol2vol.volumes.formats.attributes import Dialect

RESERVED = ("dimensions", "blockSize", "dataType", "compression", "n5")


def default_axes(ndim: int) -> str:
    """Return the axes of an N5 array that names none: x, y, z by convention; further axes are unknown."""
    return "xyz"[:ndim] if ndim <= 3 else "xy" + "?" * (ndim - 2)


def statements(
    attributes: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], name: str, ndim: int
) -> list[Calibration]:
    """Return the statements of an N5 array and of the groups above it (nearest first); `name` is its last part.

    Groups state the voxel size of the finest level, which is used only for levels with a known factor.
    """
    dialect = Dialect(ndim=ndim, fastest_first=True)
    factors = factors_of(attributes, groups, name)
    axes = default_axes(ndim)
    finest = {key: attributes[key] for key in ("pixelResolution", "affineTransform") if key in attributes}
    level = {key: value for key, value in attributes.items() if key not in finest}
    calibrations = dialect.statements(level, "the array", axes=axes)
    for around, above in (("the array", finest), *(("the group above", group) for group in groups)):
        if factors is not None:
            calibrations += dialect.statements(above, around, axes=axes, factors=factors)
        elif around == "the array":
            calibrations += dialect.statements(above, around, axes=axes)
    for group in groups[:1]:
        calibrations += _listed(dialect, group, name)
    return calibrations


def factors_of(
    attributes: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], name: str
) -> tuple[float, ...] | None:
    """Return the length of a voxel (x, y, z) in voxels of the finest level, None where it is not stated."""
    own: Any = attributes.get("downsamplingFactors")
    if _numbers(own):
        return tuple(map(float, own))
    level = re.fullmatch(r"s(\d+)", name)
    number = int(level[1]) if level else 0
    for group in groups:
        for key in ("downsamplingFactors", "scales"):
            listed = group.get(key)
            if isinstance(listed, list) and number < len(listed) and _numbers(listed[number]):
                return tuple(map(float, listed[number]))
    return None if number else (1.0, 1.0, 1.0)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and 2 <= len(value) <= 3 and all(isinstance(v, int | float) and v > 0 for v in value)


def _listed(dialect: Dialect, group: Mapping[str, Any], name: str) -> list[Calibration]:
    """Return the statements about a level in the `multiscales` of OpenOrganelle, each with its own `transform`."""
    images = group.get("multiscales")
    datasets = images[0].get("datasets") if isinstance(images, list) and images and isinstance(images[0], dict) else ()
    entries = [d for d in datasets or () if isinstance(d, dict) and d.get("path") == name]
    return [calibration for entry in entries for calibration in dialect.statements(entry, "the group above")]
