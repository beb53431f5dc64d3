"""Measure the exact mean and variance of every norm over one whole volume, layer by layer and portion by portion.

A network with instance norm, applied to a whole volume at once, normalises by statistics of that volume. They are the
same numbers if the volume is streamed through the network in portions: norm by norm, each after the final statistics
of all norms before it, with sums in float64. Memory is that of a stream of one portion, and the cost about half as
many passes over the volume as the network has norms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape, ceil_div, round_up
from vol2vol.nets.demand import Span, operations
from vol2vol.nets.footprint import extents_along, footprint, period_along
from vol2vol.nets.moments import Moments
from vol2vol.nets.norm import Frozen
from vol2vol.nets.stream import Stream
from vol2vol.nets.streamable import Streamable
from vol2vol.nets.trace import Layer, layers, leading
from vol2vol.progress import counted

Read = Callable[[int, tuple[Span, ...]], Tensor]
"""Returns one batch of images, or the volume, (B, C, *space), in a box that may end after the volume's end."""
SIDE = {2: 2048, 3: 256}
"""Voxels per axis, across the swept one, of a portion."""
VOXELS = 1 << 20
"""Voxels that are pushed into a stream at once."""


@dataclass(frozen=True)
class Portion:
    """A part of a volume that is streamed by itself, along the network's first axis."""

    batch: int
    """Number of the batch of images."""
    read: tuple[Span, ...]
    """The input, one span for each of the network's axes; it may end after the volume."""
    window: tuple[Span | None, ...]
    """The measured part of the layer's output for this input; None along the swept axis."""


@dataclass
class Progress:
    """What has been measured so far; a second start continues from it."""

    finished: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    """Mean and variance per channel of the norms that are finished."""
    portions: int = 0
    """Number of portions in the sums of the first norm that is not finished."""
    moments: Moments = field(default_factory=Moments)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"finished": self.finished, "portions": self.portions, "moments": self.moments.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """Return the progress that `to_dict` wrote, also through JSON."""
        finished = {name: (mean, variance) for name, (mean, variance) in data["finished"].items()}
        return cls(finished, int(data["portions"]), Moments.from_dict(data["moments"]))


def measured_layers(net: nn.Module) -> list[Layer]:
    """Return the norms of a network whose statistics can be measured, in the order in which they run."""
    return [layer for layer in layers(net) if isinstance(layer.module, Frozen)]


def padded_size(net: nn.Module, size: Shape) -> Shape:
    """Return the smallest size, at least `size`, that a network admits: up to there a volume is mirrored at its end."""
    foot = footprint(net)
    return tuple(foot.admissible(n, axis, at_least=True) for axis, n in enumerate(size))


def measuring_operations(net: nn.Module, size: Shape) -> int:
    """Return the floating-point operations of `measure` for one volume or image of this size."""
    records, whole = layers(net), padded_size(net, size)
    return sum(operations(leading(records, layer.inputs[0]), whole) for layer in measured_layers(net))


@torch.inference_mode()
def measure(
    net: nn.Module,
    size: Shape,
    read: Read,
    *,
    batches: int = 1,
    progress: Progress | None = None,
    save: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Measure the statistics of every norm of `net`, in place: its norms are `Frozen`.

    `size` is that of the volume on the network's axes; for a stack of images, read in `batches`, that of an image.
    Statistics are those of one pass over the whole volume with the network's own padding, mirrored at its end up to a
    size that the network admits; all images of a stack share them. `save` is called after every portion with the
    `progress` from which a second start continues to the same bits. Raises `BadInput`, naming the layer, for values
    that are not finite.
    """
    progress = progress or Progress()
    whole = padded_size(net, size)
    norms = measured_layers(net)
    for layer in counted(norms, "measuring statistics", len(norms)):
        if layer.name not in progress.finished:
            streamable = Streamable(net, until=layer.inputs[0])
            for number, portion in enumerate(portions(streamable.layers, whole, batches)):
                if number >= progress.portions:
                    _add(streamable, portion, read, progress.moments)
                    progress.portions = number + 1
                    save(progress)
            mean, variance = progress.moments.totals(layer.name)
            progress.finished[layer.name] = mean.tolist(), variance.tolist()
            progress.portions, progress.moments = 0, Moments()
            save(progress)
        store(layer, *progress.finished[layer.name])


def store(layer: Layer, mean: list[float], variance: list[float]) -> None:
    """Write mean and variance per channel into a frozen norm; raise `BadInput` for another number of channels."""
    norm: Any = layer.module
    for buffer, values in ((norm.mean, mean), (norm.variance, variance)):
        if len(values) != len(buffer):
            raise BadInput(f"layer {layer.name!r} has {len(buffer)} channels, not {len(values)}: measure it again")
        buffer.copy_(torch.tensor(values, dtype=torch.float64))


def _add(streamable: Streamable, portion: Portion, read: Read, moments: Moments) -> None:
    """Stream one portion in slabs and add the layer's output."""
    (start, stop), *across = portion.read
    period = period_along(streamable.layers, 0)
    slab = round_up(max(1, VOXELS // prod(b - a for a, b in across)), period)
    stream = Stream(streamable, window=portion.window)
    for at in range(start, stop, slab):
        planes = read(portion.batch, ((at, min(at + slab, stop)), *across))
        if (output := stream.push(planes)) is not None:
            moments.add(output)
    if (output := stream.finish()) is not None:
        moments.add(output)


def portions(records: Sequence[Layer], whole: Shape, batches: int = 1) -> Iterator[Portion]:
    """Yield the portions of an input of this size; their windows tile the last layer's output."""
    across = [list(_cut(records, n, axis, SIDE[len(whole)])) for axis, n in enumerate(whole) if axis]
    for batch in range(batches):
        for parts in product(*across):
            spans, windows = zip(*parts, strict=True)
            yield Portion(batch, ((0, whole[0]), *spans), (None, *windows))


def _cut(records: Sequence[Layer], n: int, axis: int, side: int) -> Iterator[tuple[Span, Span]]:
    """Yield inputs along one axis, each with the part of the last layer's output that it completes."""
    period, end = period_along(records, axis), extents_along(records, n, axis)[records[-1].name]
    count = max(1, min(ceil_div(n, side), end.length))
    for part in range(count):
        low, high = end.length * part // count, end.length * (part + 1) // count
        first, last = int(low * end.scale) // period * period, max(0, int(n - high * end.scale)) // period * period
        while True:
            first, last = max(0, first), max(0, last)
            shift = int(first / end.scale)
            window = (low - shift, high - shift)
            if _complete(records, n, axis, (first, n - last), window):
                break
            first, last = first - period, last - period
        yield (first, n - last), window


def _complete(records: Sequence[Layer], n: int, axis: int, part: Span, window: Span) -> bool:
    """Return whether an input, part of n voxels, yields a window of the last layer's output as all n voxels do."""
    try:
        end = extents_along(records, part[1] - part[0], axis)[records[-1].name]
    except BadInput:  # too short to pass through the network
        return part == (0, n)
    low = 0 if part[0] == 0 else end.start
    high = end.length if part[1] == n else end.stop
    return low <= window[0] and window[1] <= high
