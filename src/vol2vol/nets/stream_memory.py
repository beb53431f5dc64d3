"""Compute the peak memory of a stream without running it, by counting the planes that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from torch import nn

from vol2vol.geometry import ceil_div
from vol2vol.nets.demand import Span, spans
from vol2vol.nets.footprint import footprint
from vol2vol.nets.trace import Layer, layers


@dataclass
class _Counter:
    """The planes of one layer: those that wait of each input, and those still to be cut off the start."""

    layer: Layer
    axis: int
    waiting: list[int] = field(default_factory=list)
    skip: int = 0

    def __post_init__(self) -> None:
        layer, axis = self.layer, self.axis
        self.waiting = [0] * len(layer.inputs)
        if layer.kind == "conv":
            self.waiting[0] = layer.padding[axis]
        if layer.kind == "transposed":
            self.waiting[0] = ceil_div(layer.kernel[axis], layer.stride[axis]) - 1
            self.skip = layer.padding[axis]
        if layer.kind == "crop":
            self.skip = layer.before[axis]

    def push(self, new: list[int]) -> int:
        """Add new planes of each input and return the number of output planes."""
        layer, axis = self.layer, self.axis
        if layer.kind == "transposed":
            return self._skipped(layer.stride[axis] * new[0])
        if layer.kind == "upsample":
            return layer.stride[axis] * new[0]
        if layer.kind not in ("conv", "cat", "add", "crop"):
            return new[0]
        self.waiting = [w + n for w, n in zip(self.waiting, new, strict=True)]
        if layer.kind == "conv":
            out = max(0, (self.waiting[0] - layer.kernel[axis]) // layer.stride[axis] + 1)
            self.waiting[0] -= min(self.waiting[0], out * layer.stride[axis])
            return out
        if layer.kind == "crop":
            self.waiting[0] = self._skipped(self.waiting[0])
            out = max(0, self.waiting[0] - layer.after[axis])
        else:
            out = min(self.waiting)
        self.waiting = [w - out for w in self.waiting]
        return out

    def _skipped(self, planes: int) -> int:
        cut = min(self.skip, planes)
        self.skip -= cut
        return planes - cut


def stream_memory(
    net: nn.Module, portion: Sequence[int], axis: int, *, window: Sequence[Span | None], bytes_per_value: int = 4
) -> int:
    """Return the peak memory, in bytes, of a stream along an axis, without the weights.

    `portion` is the size of one push (batch and space), `window` the requested part of the output on each axis. The
    sum contains queued planes, new planes, and a kernel's own copies of its input and output.
    """
    batch, *space = portion
    records = layers(net)
    parts = [spans(records, n, a, window[a]) for a, n in enumerate(space) if a != axis]
    sizes = {
        layer.name: batch * bytes_per_value * layer.channels * prod(s[layer.name][1] - s[layer.name][0] for s in parts)
        for layer in records
        if layer.name in parts[0]
    }
    counters = {layer.name: _Counter(layer, axis) for layer in records if layer.name in sizes}
    foot = footprint(net)
    peak = 0
    for _ in range(ceil_div(2 * (foot.reach[0][axis] + foot.reach[1][axis]), space[axis]) + 4):
        planes: dict[str, int] = {}
        for name, counter in counters.items():
            inputs = counter.layer.inputs
            planes[name] = counter.push([planes[i] for i in inputs]) if inputs else space[axis]
            copies = [name, *inputs] if counter.layer.kind in ("conv", "transposed") else []
            held = sum(
                count * sizes[i]
                for other in counters.values()
                for count, i in zip(other.waiting, other.layer.inputs, strict=True)
            )
            fresh = sum(planes[i] * sizes[i] for i in {name, *inputs})
            peak = max(peak, held + fresh + sum(planes[i] * sizes[i] for i in copies))
    return peak
