"""Voxel size and axes as N5 attributes give them, in the dialects of N5-viewer, OpenOrganelle and Paintera.

N5 counts dimensions from the fastest: its native axes are x, y, z, and lists follow that order unless noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vol2vol.volumes.axes import convert, known_unit

RESERVED = ("dimensions", "blockSize", "dataType", "compression", "n5")


def axes_of(attributes: Mapping[str, Any]) -> str:
    """Return the axis letters of an N5 array in its own order; `xyz` by convention, `xyzc` and `xyzct` beyond."""
    ndim = len(attributes["dimensions"])
    named = attributes.get("axes")
    if isinstance(named, list) and len(named) == ndim:
        letters = "".join(str(axis)[:1].lower() for axis in named)
        # Some writers list z first although the dimensions start with x.
        reverse = letters.find("x") > letters.find("y")
        known = {"x", "y"} <= set(letters) <= set("xyzct") and len(set(letters)) == ndim
        return (letters[::-1] if reverse else letters) if known else "?" * ndim
    return "xyzct"[:ndim]


def size_of(attributes: Mapping[str, Any], group: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """Return the voxel size per axis letter and its unit, from the array's attributes and its group's.

    In order of trust: `transform` (OpenOrganelle; names its axes), `pixelResolution` times `downsamplingFactors`
    (N5-viewer), `resolution` with `units`.
    """
    transform = attributes.get("transform")
    if isinstance(transform, dict) and {"axes", "scale"} <= transform.keys():
        units = transform.get("units") or [""] * len(transform["axes"])
        return _combine(transform["axes"], transform["scale"], units)
    factors = attributes.get("downsamplingFactors") or [1, 1, 1]
    pixel = attributes.get("pixelResolution") or group.get("pixelResolution")
    if isinstance(pixel, dict):
        sizes = [a * b for a, b in zip(pixel.get("dimensions", ()), factors, strict=False)]
        return _combine("xyz", sizes, [pixel.get("unit", "")] * 3)
    if isinstance(pixel, list):
        return _combine("xyz", [a * b for a, b in zip(pixel, factors, strict=False)], [""] * 3)
    if isinstance(resolution := attributes.get("resolution"), list):
        units = attributes.get("units") or [""] * len(resolution)
        return _combine(axes_of(attributes), resolution, [units] * len(resolution) if isinstance(units, str) else units)
    return {}, ""


def _combine(axes: Any, sizes: Any, units: Any) -> tuple[dict[str, float], str]:
    words = {str(a)[:1].lower(): known_unit(str(unit)) for a, unit in zip(axes, units, strict=False)}
    unit = words.get("x", "")
    found = {str(a)[:1].lower(): float(size) for a, size in zip(axes, sizes, strict=False)}
    return {a: convert(size, words[a], unit) for a, size in found.items() if a in "zyx" and size > 0}, unit
