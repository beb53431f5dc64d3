"""What N5 attributes state of an array's space, in the dialects of the programs that write it.

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
    """Return the axes of an N5 array that names none: x, y, z by convention; what lies beyond has to be asked."""
    return "xyz"[:ndim] if ndim <= 3 else "xy" + "?" * (ndim - 2)


def statements(
    attributes: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], name: str, ndim: int
) -> list[Calibration]:
    """Return what an N5 array and the groups above it (the nearest first) state of it; `name` is its last part.

    Groups state the voxel size of the finest level; of a level whose factor is stated nowhere they say nothing.
    """
    dialect = Dialect(ndim=ndim, fastest_first=True)
    factors = factors_of(attributes, groups, name)
    axes = default_axes(ndim)
    finest = {key: attributes[key] for key in ("pixelResolution", "affineTransform") if key in attributes}
    level = {key: value for key, value in attributes.items() if key not in finest}
    found = dialect.statements(level, "the array", axes=axes)
    for around, above in (("the array", finest), *(("the group above", group) for group in groups)):
        if factors is not None:
            found += dialect.statements(above, around, axes=axes, factors=factors)
        elif around == "the array":
            found += dialect.statements(above, around, axes=axes)
    for group in groups[:1]:
        found += _listed(dialect, group, name)
    return found


def factors_of(
    attributes: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], name: str
) -> tuple[float, ...] | None:
    """Return how many voxels of the finest level one of this level is long (x, y, z), None where it is not stated."""
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
    """Return what the `multiscales` of OpenOrganelle say of a level, each with its own `transform`."""
    images = group.get("multiscales")
    datasets = images[0].get("datasets") if isinstance(images, list) and images and isinstance(images[0], dict) else ()
    entries = [d for d in datasets or () if isinstance(d, dict) and d.get("path") == name]
    return [one for entry in entries for one in dialect.statements(entry, "the group above")]
