"""Derive a network's footprint from its layers, by propagating sizes through them axis by axis.

For an input of n voxels every layer's output has, on one axis, a length, a *certain* interval (voxels whose whole
context lies inside the input) and a position: voxel j lies at input position `offset + scale * j`.

    convolution k, s, p     reads j*s-p ... j*s-p+k-1              scale *= s    offset += scale * ((k-1)/2 - p)
    transposed k, s, p      i writes i*s-p ... i*s-p+k-1           scale /= s    offset -= scale * ((k-1)/2 - p)
    nearest upsampling s    i writes i*s ... i*s+s-1               scale /= s    offset -= scale * (s-1)/2
    crop a, b / pad a, b    moves by a                                           offset += or -= scale * a

(offset of a convolution with the old scale, of the others with the new one). Padding is never certain; a join is
certain where all its inputs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from torch import nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint, Shape, ceil_div
from vol2vol.nets.layer_types import Pad
from vol2vol.nets.trace import Layer, layers

_LONGEST = 1 << 20


@dataclass(frozen=True)
class Extent:
    """Length, certain interval and position of one layer's output along one axis, for an input of a given length."""

    length: int
    start: int
    """First certain voxel."""
    stop: int
    """One after the last certain voxel; at most `start` where none is certain."""
    scale: Fraction
    offset: Fraction


class _Blocked(Exception):
    """An input of this length does not pass through the layer named here."""


def footprint(net: nn.Module) -> Footprint:
    """Return the footprint of a network, derived from its layers; norms (`tile_dependent`) are not considered.

    Reach and trim count voxels from the ends of a tile on the period grid. Raises `BadInput`, naming the layer, where
    misaligned branches are joined, and where the output is coarser than the input or lies between its voxels.
    """
    records = layers(net)
    dims: int = net.dims  # type: ignore[assignment]
    known: dict[object, dict[str, int]] = {}
    axes = []
    for axis in range(dims):
        geometry = tuple(_geometry(layer, axis) for layer in records)
        if geometry not in known:
            known[geometry] = _footprint_along(records, axis)
        axes.append(known[geometry])

    def shape(key: str) -> Shape:
        return tuple(along[key] for along in axes)

    return Footprint(
        reach=(shape("reach before"), shape("reach after")),
        period=shape("period"),
        residue=shape("residue"),
        minimum=shape("minimum"),
        trim=(shape("trim before"), shape("trim after")),
    )


def _geometry(layer: Layer, axis: int) -> tuple[object, ...]:
    """Return everything that decides a layer's extents along one axis, as a key."""
    numbers = (layer.kernel, layer.stride, layer.padding, layer.output_padding, layer.before, layer.after)
    return layer.name, layer.kind, layer.inputs, *(shape[axis : axis + 1] for shape in numbers)


def extents(records: Sequence[Layer], size: Sequence[int]) -> dict[str, tuple[Extent, ...]]:
    """Return the extents of every layer's output, one per axis, for an input of this size, keyed by layer name.

    Raises `BadInput` where the size does not pass through the network.
    """
    try:
        axes = [_push(records, n, axis) for axis, n in enumerate(size)]
    except _Blocked as blocked:
        raise BadInput(
            f"an input of {tuple(size)} voxels does not pass {blocked}: use a size the network admits"
        ) from blocked
    return {layer.name: tuple(along[layer.name] for along in axes) for layer in records}


def extents_along(records: Sequence[Layer], n: int, axis: int) -> dict[str, Extent]:
    """Return the extent of every layer's output along one axis for an input of n voxels, keyed by layer name.

    Raises `BadInput` where the length does not pass through the network.
    """
    try:
        return _push(records, n, axis)
    except _Blocked as blocked:
        raise BadInput(f"an input of {n} voxels does not pass {blocked}: use a size the network admits") from blocked


def lengths(records: Sequence[Layer], n: int, axis: int) -> dict[str, int]:
    """Return the length of every layer's output along one axis for an input of n voxels, keyed by layer name.

    Raises `BadInput` where the length does not pass through the network.
    """
    return {name: extent.length for name, extent in extents_along(records, n, axis).items()}


def _footprint_along(records: Sequence[Layer], axis: int) -> dict[str, int]:
    period = period_along(records, axis)
    size = _admissible(records, axis, period)
    lost = _lost(records, size, axis)
    minimum = size
    while minimum > period and _lost(records, minimum - period, axis) == lost:
        minimum -= period
    end = _push(records, size, axis)[records[-1].name]
    before = int(end.offset)
    return {
        "period": period,
        "residue": size % period,
        "minimum": minimum,
        "trim before": before,
        "trim after": size - end.length - before,
        "reach before": before + end.start,
        "reach after": size - before - end.stop,
    }


def period_along(records: Sequence[Layer], axis: int) -> int:
    """Return the shift along one axis, in voxels of the input, by which all layers move by whole voxels."""
    return lcm(*(scale.numerator for scale in _scales(records, axis)))


def _admissible(records: Sequence[Layer], axis: int, period: int) -> int:
    """Return an input length that passes, from the residue class (modulo the period) that loses fewest voxels."""
    base = period
    while base < _LONGEST:
        lost = {n: _lost(records, n, axis) for n in range(base, base + period)}
        fitting = [(voxels, n) for n, voxels in lost.items() if voxels is not None]
        if fitting:
            return min(fitting)[1]
        base *= 2
    try:
        _push(records, base, axis)
    except _Blocked as blocked:
        raise BadInput(f"no input length passes {blocked}: its inputs never have the same length") from blocked
    raise BadInput("the network's output is larger than its input or never certain: it cannot be applied to tiles")


def _lost(records: Sequence[Layer], n: int, axis: int) -> int | None:
    """Return how many voxels shorter the output is; None if n does not pass or no voxel is certain."""
    try:
        end = _push(records, n, axis)[records[-1].name]
    except _Blocked:
        return None
    if end.scale != 1 or end.offset.denominator != 1:
        raise BadInput(
            f"the network's output has one voxel per {end.scale} of its input, displaced by {end.offset}: "
            "only networks whose output voxels lie on input voxels have a footprint"
        )
    if end.offset < 0 or end.offset + end.length > n or end.start >= end.stop:
        return None
    return n - end.length


def _scales(records: Sequence[Layer], axis: int) -> list[Fraction]:
    scales: dict[str, Fraction] = {}
    for layer in records:
        scale = scales[layer.inputs[0]] if layer.inputs else Fraction(1)
        if layer.kind == "conv":
            scale *= layer.stride[axis]
        elif layer.kind in ("transposed", "upsample"):
            scale /= layer.stride[axis]
        scales[layer.name] = scale
    return list(scales.values())


def _push(records: Sequence[Layer], n: int, axis: int) -> dict[str, Extent]:
    """Return the extents of all layers along one axis for n input voxels; raise `_Blocked` where n does not pass."""
    by_layer: dict[str, Extent] = {}
    for layer in records:
        if layer.kind == "input":
            out = Extent(n, 0, n, Fraction(1), Fraction(0))
        elif layer.kind in ("cat", "add"):
            out = _joined(layer, [by_layer[name] for name in layer.inputs])
        else:
            out = _passed(layer, by_layer[layer.inputs[0]], axis)
        if out.length < 1:
            raise _Blocked(f"layer {layer.name!r}")
        by_layer[layer.name] = replace(out, start=max(out.start, 0), stop=min(out.stop, out.length))
    return by_layer


def _joined(layer: Layer, branches: list[Extent]) -> Extent:
    first = branches[0]
    for name, other in zip(layer.inputs, branches, strict=True):
        if (other.scale, other.offset) != (first.scale, first.offset):
            raise BadInput(
                f"layer {layer.name!r} joins {layer.inputs[0]!r} and {name!r}, which are "
                f"{abs(other.offset - first.offset)} input voxels apart: crop one of them so that they meet"
            )
        if other.length != first.length:
            raise _Blocked(f"layer {layer.name!r}")
    return replace(first, start=max(b.start for b in branches), stop=min(b.stop for b in branches))


def _passed(layer: Layer, x: Extent, axis: int) -> Extent:
    """Return the extent of the output of a layer with one input `x`."""
    if layer.kind in ("conv", "transposed"):
        kernel, stride, padding = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
        centre = Fraction(kernel - 1, 2) - padding
    if layer.kind == "conv":
        return Extent(
            (x.length + 2 * padding - kernel) // stride + 1,
            ceil_div(x.start + padding, stride),
            (x.stop + padding - kernel) // stride + 1,
            x.scale * stride,
            x.offset + x.scale * centre,
        )
    if layer.kind == "transposed":
        scale = x.scale / stride
        return Extent(
            (x.length - 1) * stride - 2 * padding + kernel + layer.output_padding[axis],
            (x.start - 1) * stride + kernel - padding,
            x.stop * stride - padding,
            scale,
            x.offset - scale * centre,
        )
    if layer.kind == "upsample":
        factor = layer.stride[axis]
        scale = x.scale / factor
        offset = x.offset - scale * Fraction(factor - 1, 2)
        return Extent(x.length * factor, x.start * factor, x.stop * factor, scale, offset)
    if layer.kind == "crop":
        return _moved(x, -layer.before[axis], -layer.after[axis])
    if layer.kind == "pad":
        assert isinstance(layer.module, Pad)
        if layer.module.mode == "reflect" and max(layer.before[axis], layer.after[axis]) >= x.length:
            raise _Blocked(f"layer {layer.name!r}")
        return _moved(x, layer.before[axis], layer.after[axis])
    return x


def _moved(x: Extent, before: int, after: int) -> Extent:
    """Return an extent that gained (or, negative, lost) voxels at its ends."""
    length = x.length + before + after
    return Extent(length, x.start + before, x.stop + before, x.scale, x.offset - x.scale * before)
