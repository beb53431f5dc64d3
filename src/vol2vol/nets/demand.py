"""Compute backwards, axis by axis, which part of every layer's output a part of the network's output depends on.

    convolution k, s, p     output j   needs  j*s-p ... j*s-p+k-1
    transposed k, s, p      output j   needs  ceil((j+p-k+1)/s) ... floor((j+p)/s)
    upsampling s            output j   needs  floor(j/s)

Everything else is not computed: a decoder shrinks level by level, and a last tile that extends beyond the volume costs
no more than its kept part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from vol2vol.geometry import ceil_div
from vol2vol.nets.footprint import lengths
from vol2vol.nets.trace import Layer

Span = tuple[int, int]
"""First voxel and one after the last voxel."""


@dataclass(frozen=True)
class Site:
    """How one layer runs on parts of its inputs, along one axis."""

    inputs: tuple[Span, ...]
    """Part to take of each input, relative to the part that was computed."""
    pads: Span = (0, 0)
    """Zeros to add before and after (convolutions)."""
    cut: int = 0
    """Voxels that a transposed convolution omits at both ends."""
    output: Span | None = None
    """Part to take of the result; None for all of it."""


def spans(records: Sequence[Layer], n: int, axis: int, window: Span | None = None) -> dict[str, Span]:
    """Return the part of every layer's output that is needed along one axis, for an input of n voxels.

    `window` is the requested part of the network's output, all of it by default. Layers that are not needed are
    omitted. Raises `BadInput` where the length does not pass through the network.
    """
    whole = lengths(records, n, axis)
    last = records[-1].name
    needed: dict[str, Span] = {last: window or (0, whole[last])}
    for layer in reversed(records):
        if layer.name not in needed:
            continue
        for name in layer.inputs:
            low, high = _needed(layer, needed[layer.name], axis, whole[name])
            before = needed.get(name, (low, high))
            needed[name] = min(low, before[0]), max(high, before[1])
    return needed


def site(layer: Layer, needed: dict[str, Span], axis: int, n: int) -> Site:
    """Return how a layer runs along one axis; `n` is the full length of its first input."""
    low, high = needed[layer.name]
    if layer.kind == "pad":
        return Site(((0, n),), output=(low, high))
    sources = [_needed(layer, (low, high), axis, n) for _ in layer.inputs]
    origins = [needed[name][0] for name in layer.inputs]
    inputs = tuple((a - origin, b - origin) for (a, b), origin in zip(sources, origins, strict=True))
    if layer.kind == "conv":
        first = low * layer.stride[axis] - layer.padding[axis]
        last = (high - 1) * layer.stride[axis] - layer.padding[axis] + layer.kernel[axis]
        return Site(inputs, pads=(max(0, -first), max(0, last - n)))
    if layer.kind == "transposed":
        start = sources[0][0] * layer.stride[axis] - layer.padding[axis]
        end = (sources[0][1] - 1) * layer.stride[axis] - layer.padding[axis] + layer.kernel[axis]
        cut = max(0, min(low - start, end - high))
        return Site(inputs, cut=cut, output=(low - start - cut, high - start - cut))
    if layer.kind == "upsample":
        start = sources[0][0] * layer.stride[axis]
        return Site(inputs, output=(low - start, high - start))
    return Site(inputs)


def _needed(layer: Layer, span: Span, axis: int, n: int) -> Span:
    """Return the part of an input of n voxels that a layer needs for a span of its output."""
    low, high = span
    if layer.kind == "pad":
        return 0, n
    if layer.kind == "crop":
        return low + layer.before[axis], high + layer.before[axis]
    if layer.kind == "upsample":
        return low // layer.stride[axis], ceil_div(high, layer.stride[axis])
    if layer.kind == "conv":
        k, s, p = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
        return max(0, low * s - p), min(n, (high - 1) * s - p + k)
    if layer.kind == "transposed":
        k, s, p = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
        return max(0, ceil_div(low + p - k + 1, s)), min(n, (high - 1 + p) // s + 1)
    return span


def operations(records: Sequence[Layer], size: Sequence[int], window: Sequence[Span | None] | None = None) -> int:
    """Return the floating-point operations of all convolutions for a window of the output; a multiply-add counts two.

    `size` is the input's, `window` one span per axis (None: all of it).
    """
    axes = [spans(records, n, axis, window[axis] if window else None) for axis, n in enumerate(size)]

    def voxels(name: str) -> int:
        return prod(along[name][1] - along[name][0] for along in axes)

    total = 0
    for layer in records:
        if layer.kind not in ("conv", "transposed") or layer.name not in axes[0]:
            continue
        module: Any = layer.module
        total += 2 * module.weight.numel() * voxels(layer.name if layer.kind == "conv" else layer.inputs[0])
    return total
