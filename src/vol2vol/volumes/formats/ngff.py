"""Read OME-NGFF: the multiscale images of Zarr and N5 groups, versions 0.1 to 0.6.

Source: ngff.openmicroscopy.org. Every transformation is converted to a matrix and a vector. Those that only scale,
shift and permute axes are read, however they are written; others (rotations, shears, fields) are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vol2vol.errors import BadInput, one_line
from vol2vol.volumes.calibration import Calibration, lengths, letters

VERSIONS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")
"""Versions that are read, drafts of them included ("0.6.dev3", "0.5-dev")."""
_SPELLING = re.compile(r"(\d+\.\d+)(\.\d+)?([.-]?(dev|rc|a|b)[.-]?\d*)?")
Affine = tuple[np.ndarray, np.ndarray]


def own(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME attributes of a group: those under `ome` since version 0.5, before that all attributes."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def multiscale(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first multiscale image of a group's attributes, or None."""
    images = own(attributes).get("multiscales")
    return images[0] if isinstance(images, list) and images and isinstance(images[0], dict) else None


def version_of(attributes: Mapping[str, Any]) -> str:
    """Return the stated OME-Zarr version of a multiscale group; it was optional before 0.5."""
    stated = own(attributes).get("version") or (multiscale(attributes) or {}).get("version")
    return str(stated or ("0.5" if isinstance(attributes.get("ome"), dict) else "0.4"))


def refuse_unknown(name: str, attributes: Mapping[str, Any]) -> None:
    """Raise `BadInput` naming the version of a group where it is not one of `VERSIONS` or a draft of one."""
    spelt = _SPELLING.fullmatch(version := version_of(attributes))
    if spelt is None or spelt[1] not in VERSIONS:
        raise BadInput(
            f"{name} is OME-Zarr {one_line(version, 40)}; versions {VERSIONS[0]} to {VERSIONS[-1]} can be read: "
            "convert it to one of them, or name an array inside a group without this version"
        )


def levels_of(name: str, image: Mapping[str, Any], ndim: int) -> list[dict[str, Any]]:
    """Return path and voxel size (z, y, x) of every level, as plain data."""
    sizes = [calibrate(name, image, dataset, ndim).voxel_size for dataset in image["datasets"]]
    return [
        {"path": dataset["path"], "voxel_size": [size.get(a, 1.0) for a in "zyx"]}
        for dataset, size in zip(image["datasets"], sizes, strict=True)
    ]


def calibrate(name: str, image: Mapping[str, Any], dataset: Mapping[str, Any], ndim: int) -> Calibration:
    """Return the axes, voxel size and place of a level of a multiscale image, an array of `ndim` axes.

    Transformations of the level are applied first, then those of the image. In 0.6 a level is mapped to the intrinsic
    coordinate system; only if its axes have the type `array`, the mapping to the next system is followed.
    Raises `BadInput` naming a transformation that is more than scales, shifts and an order of axes.
    """
    source, own_steps = "the axes of its image", _steps(name, dataset)
    axes, further = _system(name, image, own_steps)
    if not axes:  # always before version 0.3
        return Calibration(source=source, axes="tczyx" if ndim == 5 else "")
    if len(axes) != ndim:
        raise BadInput(f"{name} has {ndim} axes, but {source} names {len(axes)}: correct its JSON files")
    matrix, shift = _compose(name, [*own_steps, *further], ndim)
    order = _order(name, matrix, [*own_steps, *further])
    stored = letters(_named(axes[row]) for row in order)
    if not own_steps:
        return Calibration(source=source, axes=stored)
    scale = {a: float(matrix[row, column]) for column, (a, row) in enumerate(zip(stored, order, strict=True))}
    units = {a: _unit(axes[row]) for a, row in zip(stored, order, strict=True)}
    size, unit = lengths(scale, units)
    place, _ = lengths(
        {a: float(shift[row]) for a, row in zip(stored, order, strict=True) if size.get(a, 0) > 0}, units
    )
    placed = _moves([*own_steps, *further])
    return Calibration(source=source, axes=stored, voxel_size=size, offset=place if placed else {}, unit=unit)


def _steps(name: str, holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the transformations of an image or a level; raise `BadInput` where they are not a list."""
    steps = holder.get("coordinateTransformations") or []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise BadInput(f"{name} has coordinateTransformations that are not a list of them: correct its JSON files")
    return steps


def _moves(step: Any) -> bool:
    """Say whether a transformation, or any inside it, states a place, even if it is 0."""
    if isinstance(step, list):
        return any(map(_moves, step))
    return isinstance(step, dict) and (step.get("type") in ("translation", "affine") or _moves([*step.values()]))


def _system(
    name: str, image: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]
) -> tuple[list[Any], list[Mapping[str, Any]]]:
    """Return the axes of the coordinate system of a level, and the transformations of the image that lead to it."""
    whole = _steps(name, image)
    systems = {system["name"]: system["axes"] for system in image.get("coordinateSystems") or ()}
    if not systems:
        return list(image.get("axes") or ()), whole
    target = _place(steps[-1].get("output")) if steps else next(iter(systems))
    if target not in systems:
        raise BadInput(f"{name} leads to a coordinate system {target!r} that it does not describe: correct zarr.json")
    if any(axis.get("type") != "array" for axis in systems[target]):
        return systems[target], []
    onward = [t for t in whole if _place(t.get("input")) == target and _place(t.get("output")) in systems]
    if len(onward) != 1:
        return systems[target], []
    return systems[_place(onward[0].get("output"))], onward


def _place(text: Any) -> str:
    """Return the coordinate system of an input or output: a name, or in later drafts an object with a name."""
    return str(text.get("name") or text.get("path")) if isinstance(text, dict) else str(text)


def _named(axis: Mapping[str, Any] | str) -> str:
    """Return the type of a channel or time axis, else the name of the axis."""
    if isinstance(axis, str):
        return axis
    kind = str(axis.get("type") or "")
    return kind if kind in ("channel", "time") else str(axis.get("name") or "")


def _unit(axis: Mapping[str, Any] | str) -> str:
    return "" if isinstance(axis, str) else str(axis.get("unit") or "")


def _compose(name: str, steps: Sequence[Mapping[str, Any]], ndim: int) -> Affine:
    matrix, shift = np.eye(ndim), np.zeros(ndim)
    for step in steps:
        turn, move = _affine(name, step, ndim)
        matrix, shift = turn @ matrix, turn @ shift + move
    return matrix, shift


def _affine(name: str, step: Mapping[str, Any], ndim: int) -> Affine:
    """Return a transformation of `ndim` axes as a matrix and a vector."""
    kind, unit, zero = str(step.get("type")), np.eye(ndim), np.zeros(ndim)
    value = step.get("transformations" if kind in ("sequence", "byDimension") else kind)
    if kind == "identity":
        return unit, zero
    if kind == "sequence" and isinstance(value, list):
        return _compose(name, value, ndim)
    if kind == "byDimension" and isinstance(value, list):
        return _by_dimension(name, value, ndim)
    if kind == "bijection":
        return _affine(name, step["forward"], ndim)
    if kind == "mapAxis" and isinstance(value, list) and sorted(value) == list(range(ndim)):
        return unit[value], zero
    if kind not in ("scale", "translation", "affine", "rotation") or value is None:
        raise BadInput(
            f"{name} has a transformation of type {kind!r}, which vol2vol does not read: convert it to a scale"
        )
    numbers = np.array(value, float)
    shape = {"affine": (ndim, ndim + 1), "rotation": (ndim, ndim)}.get(kind, (ndim,))
    if kind == "scale":  # values that are not positive count as not stated
        numbers = np.where(np.isfinite(numbers) & (numbers > 0), numbers, -1)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise BadInput(f"{name} has a {kind} of shape {numbers.shape} for {ndim} axes: correct its JSON files")
    if kind == "scale":
        return np.diag(numbers), zero
    if kind == "translation":
        return unit, numbers
    return (numbers[:, :-1], numbers[:, -1]) if kind == "affine" else (numbers, zero)


def _by_dimension(name: str, parts: Sequence[Mapping[str, Any]], ndim: int) -> Affine:
    matrix, shift = np.zeros((ndim, ndim)), np.zeros(ndim)
    for part in parts:
        rows, columns = part["output_axes"], part["input_axes"]
        turn, move = _affine(name, part["transformation"], len(rows))
        matrix[np.ix_(rows, columns)], shift[rows] = turn, move
    return matrix, shift


def _order(name: str, matrix: np.ndarray, steps: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the coordinate axis of each stored axis; raise `BadInput` where axes are mixed."""
    used = matrix != 0
    if not (used.sum(0) == 1).all() or not (used.sum(1) == 1).all():
        kinds = ", ".join(sorted({str(step.get("type")) for step in steps}))
        raise BadInput(
            f"{name} is rotated, sheared or flattened by its transformations ({kinds}); only scales and shifts "
            "are read: resample it first"
        )
    return [int(row) for row in used.argmax(0)]
