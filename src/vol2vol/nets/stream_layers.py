"""Define the steps of a stream: how each kind of layer processes new planes.

A step takes the new planes of its inputs (None where there are none) and whether they are the last, and returns the
planes of its output that are complete. Perpendicular to the swept axis it computes the needed part (`demand.Site`).
Along the swept axis, calls that yield no needed plane return placeholders (`plane_queue.blank`), so that every computed
call has the same shape as in a sweep that began earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from vol2vol.errors import BadInput
from vol2vol.nets.demand import Site
from vol2vol.nets.plane_queue import Planes, blank, is_blank
from vol2vol.nets.trace import Layer
from vol2vol.nets.weights import (
    CHANNELS_LAST,
    CONV,
    TRANSPOSED,
    Weights,
    channels_last,
    interleave,
    is_shuffled,
)


@dataclass(frozen=True)
class Place:
    """Where a layer works: the swept axis, and a site on each of the other axes (None on the swept axis)."""

    axis: int
    sites: tuple[Site | None, ...]
    first: int = 0
    """First plane of the layer's output, along the swept axis, that is needed."""

    def take(self, x: Tensor | None, index: int = 0) -> Tensor | None:
        """Return the part that the layer needs of the input with this index."""
        slices = [slice(None) if site is None else slice(*site.inputs[index]) for site in self.sites]
        return None if x is None else x[(..., *slices)]

    def keep(self, x: Tensor) -> Tensor:
        """Return the needed part of the layer's result."""
        spans = [None if site is None else site.output for site in self.sites]
        return x[(..., *(slice(None) if span is None else slice(*span) for span in spans))]


class Progress:
    """The number of planes that a step has computed, and whether they are needed."""

    def __init__(self, place: Place) -> None:
        self.count, self.first = 0, place.first

    def unneeded(self, count: int) -> bool:
        """Count the planes of a call and return whether all of them precede the first needed plane."""
        self.count += count
        return self.count <= self.first


class Conv:
    """A convolution over a sliding window of planes, with zeros before the first and after the last plane."""

    def __init__(self, layer: Layer, place: Place, weights: Weights) -> None:
        self.layer, self.module = layer, cast(Any, layer.module)
        self.weights, self.place = weights, place
        axis = place.axis
        self.kernel, self.stride, self.padding = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
        self.pads = pads = [(0, 0) if site is None else site.pads for site in place.sites]
        even = all(before == after for before, after in pads)
        self.sides = tuple(before for before, _ in pads) if even else (0,) * len(pads)
        self.uneven = [] if even else [n for pair in reversed(pads) for n in pair]
        self.planes, self.begun, self.progress = Planes(axis), False, Progress(place)

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the planes whose window is complete."""
        new = self.place.take(inputs[0])
        if new is not None and not self.begun:
            self.begun = True
            if self.padding:
                self.planes.append(self.planes.zeros(self.padding, new))
        self.planes.append(new)
        if last and self.padding and len(self.planes):
            self.planes.append(self.planes.zeros(self.padding, self.planes.first(1)))
        count = (len(self.planes) - self.kernel) // self.stride + 1
        if count < 1:
            return None
        window = self.planes.first((count - 1) * self.stride + self.kernel)
        self.planes.drop(min(count * self.stride, len(self.planes)))
        return self._blank(window) if self.progress.unneeded(count) else self._convolved(window)

    def _convolved(self, window: Tensor) -> Tensor:
        window = channels_last(functional.pad(window, self.uneven) if self.uneven else window)
        w, m = self.weights, self.module
        return CONV[window.ndim - 2](window, w.weight, w.bias, m.stride, self.sides, m.dilation, m.groups)

    def _blank(self, window: Tensor) -> Tensor:
        layer, space = self.layer, []
        for axis, n in enumerate(window.shape[2:]):
            n += sum(self.pads[axis])
            space.append((n - layer.kernel[axis]) // layer.stride[axis] + 1)
        return blank((window.shape[0], layer.channels, *space), window)


class Transposed:
    """A transposed convolution, run as a valid one on planes shared with the previous call and the new planes."""

    def __init__(
        self, layer: Layer, place: Place, weights: Weights, after: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.layer, self.module, self.after = layer, cast(Any, layer.module), after
        self.weights, self.place, self.progress = weights, place, Progress(place)
        axis = place.axis
        self.kernel, self.stride = layer.kernel[axis], layer.stride[axis]
        self.shared = -(-self.kernel // self.stride) - 1
        self.skip = layer.padding[axis]
        self.tail = self.kernel - self.stride - layer.padding[axis] + layer.output_padding[axis]
        if self.tail < 0 or self.kernel < self.stride:
            raise BadInput(f"layer {layer.name!r} cuts or spreads more planes than a stream can know: not streamable")
        self.cuts = tuple(self.kernel - self.stride if site is None else site.cut for site in place.sites)
        self.extra = tuple(0 if site is None else n for site, n in zip(place.sites, layer.output_padding, strict=True))
        self.planes = Planes(axis)
        self.shuffled = weights.shuffled if is_shuffled(layer) else None

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return `stride` planes for each new plane, and the remaining ones at the end."""
        new = self.place.take(inputs[0])
        count = 0 if new is None else self.stride * new.shape[self.planes.dim]
        if last and self.tail and (new is not None or len(self.planes)):
            padding = self.planes.zeros(-(-self.tail // self.stride), self.planes.first(1) if new is None else new)
            new = padding if new is None else torch.cat([new, padding], self.planes.dim)
            count += self.tail
        if new is None:
            return None
        cut = min(self.skip, count)
        self.skip -= cut
        window = self._window(new)
        spread = self._blank if self.progress.unneeded(count - cut) else self._spread
        return self.place.keep(spread(window, count).narrow(self.planes.dim, cut, count - cut))

    def _window(self, new: Tensor) -> Tensor:
        """Return the planes shared with the previous call, followed by the new planes."""
        if self.shared and not len(self.planes):
            self.planes.append(self.planes.zeros(self.shared, new))
        self.planes.append(new)
        window = self.planes.first(len(self.planes))
        self.planes.drop(len(self.planes) - self.shared)
        return window

    def _blank(self, window: Tensor, count: int) -> Tensor:
        numbers = zip(window.shape[2:], self.layer.stride, self.layer.kernel, self.cuts, self.extra, strict=True)
        space = [(n - 1) * s + k - 2 * cut + extra for n, s, k, cut, extra in numbers]
        space[self.place.axis] = count
        return blank((window.shape[0], self.layer.channels, *space), window)

    def _spread(self, window: Tensor, count: int) -> Tensor:
        """Return the next `count` output planes."""
        dim, m = self.planes.dim, self.module
        if self.shuffled is not None:
            pads = [n for cut in reversed(self.cuts) for n in ((0, 0) if cut > 1 else (1, 1))]
            output = interleave(functional.pad(window, pads) if any(pads) else window, self.shuffled, self.after)
            for axis, cut in enumerate(self.cuts):
                rest = cut - 2 if cut > 1 else cut
                output = output.narrow(axis + 2, rest, output.shape[axis + 2] - 2 * rest)
            return output.narrow(dim, 0, count)
        w, run = self.weights, TRANSPOSED[window.ndim - 2]
        output = run(window, w.weight, w.bias, m.stride, self.cuts, self.extra, m.groups, m.dilation)
        return output.narrow(dim, self.stride * self.shared - (self.kernel - self.stride), count)


class Join:
    """A concatenation or sum of inputs; planes wait until all inputs have arrived."""

    def __init__(self, layer: Layer, place: Place) -> None:
        self.kind, self.place, self.progress = layer.kind, place, Progress(place)
        self.waiting = [Planes(place.axis) for _ in layer.inputs]

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the joined planes that have arrived from all inputs."""
        for index, (planes, new) in enumerate(zip(self.waiting, inputs, strict=True)):
            planes.append(self.place.take(new, index))
        count = min(map(len, self.waiting))
        if count == 0:
            return None
        if self.progress.unneeded(count):
            joined = self._blank([planes.pieces(1)[0] for planes in self.waiting], count)
        elif self.kind == "cat":
            joined = self._cat([planes.pieces(count) for planes in self.waiting], count)
        else:
            joined = self.waiting[0].first(count)
            for planes in self.waiting[1:]:
                joined = joined + planes.first(count)
        for planes in self.waiting:
            planes.drop(count)
        return joined

    def _blank(self, inputs: Sequence[Tensor], count: int) -> Tensor:
        shape = list(inputs[0].shape)
        shape[self.place.axis + 2] = count
        shape[1] = sum(planes.shape[1] for planes in inputs) if self.kind == "cat" else shape[1]
        return blank(shape, inputs[0])

    def _cat(self, pieces: Sequence[list[Tensor]], count: int) -> Tensor:
        """Concatenate along the channels, copying every queued piece only once."""
        first, dim = pieces[0][0], self.place.axis + 2
        channels = [parts[0].shape[1] for parts in pieces]
        shape = [count if d == dim else n for d, n in enumerate(first.shape)]
        shape[1] = sum(channels)
        layout = CHANNELS_LAST[first.ndim - 2]
        joined = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout)
        for place, parts in zip(joined.split(channels, 1), pieces, strict=True):
            for target, part in zip(place.split([p.shape[dim] for p in parts], dim), parts, strict=True):
                target.copy_(part)
        return joined


class Pointwise:
    """A layer that maps each voxel independently, or repeats it."""

    def __init__(self, run: Callable[[Tensor], Tensor], place: Place) -> None:
        self.run, self.place = run, place

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the layer's output on the new planes."""
        new = self.place.take(inputs[0])
        if new is None or not is_blank(new):
            return None if new is None else self.place.keep(self.run(new))
        voxel = self.run(blank((*new.shape[:2], *(1 for _ in new.shape[2:])), new).clone())
        space = [n * m for n, m in zip(new.shape[2:], voxel.shape[2:], strict=True)]
        return self.place.keep(blank((new.shape[0], voxel.shape[1], *space), voxel))


class Crop:
    """A crop: the first planes are dropped, the last are never returned."""

    def __init__(self, layer: Layer, place: Place) -> None:
        self.drop, self.hold = layer.before[place.axis], layer.after[place.axis]
        self.planes, self.place = Planes(place.axis), place

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the planes that are not among the last `after`."""
        self.planes.append(self.place.take(inputs[0]))
        cut = min(self.drop, len(self.planes))
        self.planes.drop(cut)
        self.drop -= cut
        return self.planes.take(len(self.planes) - self.hold)


class Pad:
    """A padding with mirrored or zero planes before the first and after the last plane."""

    def __init__(self, layer: Layer, place: Place) -> None:
        module: Any = layer.module
        self.mode = "reflect" if module.mode == "reflect" else "constant"
        self.before, self.after = layer.before[place.axis], layer.after[place.axis]
        pairs = zip(layer.before, layer.after, strict=True)
        sides = [(0, 0) if a == place.axis else pair for a, pair in enumerate(pairs)]
        self.sides = [n for pair in reversed(sides) for n in pair]
        self.planes, self.place, self.begun, self.shown = Planes(place.axis), place, False, 0

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return new planes, preceded by the padding at the start and, at the end, followed by the padding there."""
        new = inputs[0]
        self.planes.append(None if new is None else functional.pad(new, self.sides, mode=self.mode))
        if not len(self.planes) or not (last or self.begun or len(self.planes) > self.before):
            return None
        held, dim = self.planes.first(len(self.planes)), self.planes.dim
        parts = [] if self.begun else [self._mirror(held, range(self.before, 0, -1))]
        self.begun = True
        parts.append(held.narrow(dim, self.shown, len(self.planes) - self.shown))
        if last:
            end = len(self.planes) - 2
            parts.append(self._mirror(held, range(end, end - self.after, -1)))
        self.planes.drop(max(0, len(self.planes) - self.after - 1))
        self.shown = len(self.planes)
        return self.place.keep(torch.cat(parts, dim))

    def _mirror(self, planes: Tensor, order: range) -> Tensor:
        if self.mode == "constant":
            return self.planes.zeros(len(order), planes)
        return planes.index_select(self.planes.dim, torch.tensor(list(order), device=planes.device, dtype=torch.int64))
