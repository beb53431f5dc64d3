"""The steps of a stream: what one layer does with the planes that are new.

Every step takes the new planes of its inputs (None where there are none) and whether they are the last, and returns the
planes of its output that no later plane can change. Across the swept axis it makes what is needed (`demand.Site`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vol2vol.errors import BadInput
from vol2vol.nets.demand import Site
from vol2vol.nets.norm import Frozen
from vol2vol.nets.planes import Planes
from vol2vol.nets.trace import Layer

_CONV: dict[int, Callable[..., Tensor]] = {2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
FEW = 4
"""Output channels up to which a transposed convolution runs faster as a convolution and a shuffle."""


def channels_last(x: Tensor) -> Tensor:
    """Return a tensor laid out channels last, in strides that say so even where there is one channel.

    There both layouts are the same bytes; torch assumes the other, and the next convolution would have to reorder.
    """
    x = x.contiguous(memory_format=CHANNELS_LAST[x.ndim - 2])
    if x.shape[1] != 1:
        return x
    return x.as_strided(x.shape, (x.stride(0), 1, *x.stride()[2:]))


@dataclass(frozen=True)
class Weights:
    """A (transposed) convolution's numbers with the normalisation that follows it folded in."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: Layer, norm: Frozen | None, dtype: torch.dtype) -> Weights:
        """Fold in the weights' own precision, then convert and lay out channels last."""
        module: Any = layer.module
        weight, bias = module.weight.detach(), module.bias
        outputs = module.out_channels
        bias = torch.zeros(outputs, dtype=weight.dtype, device=weight.device) if bias is None else bias.detach()
        if norm is not None:
            scale, shift = norm.affine
            along = 1 if layer.kind == "transposed" else 0
            weight = weight * scale.reshape([-1 if dim == along else 1 for dim in range(weight.ndim)])
            bias = bias * scale + shift
        return cls(channels_last(weight.to(dtype)), bias.to(dtype))


@dataclass(frozen=True)
class Place:
    """Where a layer works: the swept axis, and a site on every other one (None on the swept)."""

    axis: int
    sites: tuple[Site | None, ...]

    def take(self, x: Tensor | None, which: int = 0) -> Tensor | None:
        """Return what the layer needs of one of its inputs."""
        slices = [slice(None) if site is None else slice(*site.inputs[which]) for site in self.sites]
        return None if x is None else x[(..., *slices)]

    def keep(self, x: Tensor) -> Tensor:
        """Return what is needed of what the layer made."""
        spans = [None if site is None else site.output for site in self.sites]
        return x[(..., *(slice(None) if span is None else slice(*span) for span in spans))]


class Conv:
    """A convolution: zeros before the first plane, a running window in between, zeros after the last."""

    def __init__(self, layer: Layer, place: Place, weights: Weights) -> None:
        self.module: Any = layer.module
        self.weights, self.place = weights, place
        axis = place.axis
        self.kernel, self.stride, self.padding = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
        pads = [(0, 0) if site is None else site.pads for site in place.sites]
        even = all(before == after for before, after in pads)
        self.sides = tuple(before for before, _ in pads) if even else (0,) * len(pads)
        self.uneven = [] if even else [n for pair in reversed(pads) for n in pair]
        self.planes, self.begun = Planes(axis), False

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
        if self.uneven:
            window = functional.pad(window, self.uneven)
        w, m = self.weights, self.module
        window = channels_last(window)
        made = _CONV[window.ndim - 2](window, w.weight, w.bias, m.stride, self.sides, m.dilation, m.groups)
        self.planes.drop(min(count * self.stride, len(self.planes)))
        return made


class Transposed:
    """A transposed convolution, run as a valid one on the planes it shares with the past and the new ones."""

    def __init__(self, layer: Layer, place: Place, weights: Weights) -> None:
        self.module: Any = layer.module
        self.weights, self.place = weights, place
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
        self.shuffled = shuffled(layer, weights) if layer.channels <= FEW else None

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return `stride` planes for each new one, at the end the rest."""
        new = self.place.take(inputs[0])
        count = 0 if new is None else self.stride * new.shape[self.planes.dim]
        if last and self.tail and (new is not None or len(self.planes)):
            silent = self.planes.zeros(-(-self.tail // self.stride), self.planes.first(1) if new is None else new)
            new = silent if new is None else torch.cat([new, silent], self.planes.dim)
            count += self.tail
        if new is None:
            return None
        made = self._spread(new, count)
        cut = min(self.skip, made.shape[self.planes.dim])
        self.skip -= cut
        return self.place.keep(made.narrow(self.planes.dim, cut, made.shape[self.planes.dim] - cut))

    def _spread(self, new: Tensor, count: int) -> Tensor:
        """Return the next `count` output planes, given the next input planes."""
        if self.shared and not len(self.planes):
            self.planes.append(self.planes.zeros(self.shared, new))
        self.planes.append(new)
        window = self.planes.first(len(self.planes))
        self.planes.drop(len(self.planes) - self.shared)
        dim, m = self.planes.dim, self.module
        if self.shuffled is not None:
            pads = [n for cut in reversed(self.cuts) for n in ((0, 0) if cut > 1 else (1, 1))]
            made = interleave(functional.pad(window, pads) if any(pads) else window, self.shuffled)
            for axis, cut in enumerate(self.cuts):
                rest = cut - 2 if cut > 1 else cut
                made = made.narrow(axis + 2, rest, made.shape[axis + 2] - 2 * rest)
            return made.narrow(dim, 0, count)
        w, run = self.weights, _TRANSPOSED[window.ndim - 2]
        made = run(window, w.weight, w.bias, m.stride, self.cuts, self.extra, m.groups, m.dilation)
        return made.narrow(dim, self.stride * self.shared - (self.kernel - self.stride), count)


def shuffled(layer: Layer, weights: Weights) -> Weights | None:
    """Return a transposed convolution of kernel 4 and stride 2 as a convolution of kernel 2 with interleaved channels.

    Output voxel 2i + t of an axis hears input i - 1 through tap t + 2 and input i through tap t (sub-pixel
    convolution, Shi et al. 2016): the same sums, in a shape that CPU kernels run several times faster where there are
    few output channels. None for another geometry.
    """
    dims = len(layer.kernel)
    if set(layer.kernel) != {4} or set(layer.stride) != {2} or any(layer.output_padding):
        return None
    taps = []
    for parity in product((0, 1), repeat=dims):
        corners: Any = product(*[(t + 2, t) for t in parity])
        taps.append(torch.stack([weights.weight[(..., *corner)] for corner in corners], -1))
    inputs, outputs = weights.weight.shape[:2]
    stacked = torch.stack(taps, 2).permute(1, 2, 0, 3).reshape(outputs * 2**dims, inputs, *(2,) * dims)
    bias = weights.bias.repeat_interleave(2**dims)
    return Weights(channels_last(stacked), bias)


def interleave(window: Tensor, weights: Weights) -> Tensor:
    """Return twice the voxels that lie between those of `window`."""
    made = _CONV[window.ndim - 2](window, weights.weight, weights.bias)
    batch, channels, *space = made.shape
    dims = len(space)
    made = made.reshape(batch, channels // 2**dims, *(2,) * dims, *space)
    order = [0, 1] + [d for a in range(dims) for d in (2 + dims + a, 2 + a)]
    return made.permute(order).reshape(batch, channels // 2**dims, *(2 * n for n in space))


class Join:
    """Two inputs side by side or summed, where both have arrived; the earlier one waits."""

    def __init__(self, layer: Layer, place: Place) -> None:
        self.kind, self.place = layer.kind, place
        self.waiting = [Planes(place.axis) for _ in layer.inputs]

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the planes that all inputs have."""
        for which, (planes, new) in enumerate(zip(self.waiting, inputs, strict=True)):
            planes.append(self.place.take(new, which))
        count = min(map(len, self.waiting))
        if count == 0:
            return None
        if self.kind == "cat":
            made = self._cat([planes.pieces(count) for planes in self.waiting], count)
        else:
            made = self.waiting[0].first(count)
            for planes in self.waiting[1:]:
                made = made + planes.first(count)
        for planes in self.waiting:
            planes.drop(count)
        return made

    def _cat(self, pieces: Sequence[list[Tensor]], count: int) -> Tensor:
        """Copy every waiting piece straight to its place among the channels."""
        first, dim = pieces[0][0], self.place.axis + 2
        channels = [parts[0].shape[1] for parts in pieces]
        shape = [count if d == dim else n for d, n in enumerate(first.shape)]
        shape[1] = sum(channels)
        layout = CHANNELS_LAST[first.ndim - 2]
        made = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout)
        for place, parts in zip(made.split(channels, 1), pieces, strict=True):
            for target, part in zip(place.split([p.shape[dim] for p in parts], dim), parts, strict=True):
                target.copy_(part)
        return made


class Pointwise:
    """A layer that looks at one voxel at a time, or repeats each."""

    def __init__(self, run: Callable[[Tensor], Tensor], place: Place) -> None:
        self.run, self.place = run, place

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the layer's output on the new planes."""
        new = self.place.take(inputs[0])
        return None if new is None else self.place.keep(self.run(new))


class Crop:
    """The first planes dropped, the last held back."""

    def __init__(self, layer: Layer, place: Place) -> None:
        self.drop, self.hold = layer.before[place.axis], layer.after[place.axis]
        self.planes, self.place = Planes(place.axis), place

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return what is certain not to be among the last."""
        self.planes.append(self.place.take(inputs[0]))
        cut = min(self.drop, len(self.planes))
        self.planes.drop(cut)
        self.drop -= cut
        return self.planes.take(len(self.planes) - self.hold)


class Pad:
    """Mirrored or zero planes before the first and after the last."""

    def __init__(self, layer: Layer, place: Place) -> None:
        module: Any = layer.module
        self.mode = "reflect" if module.mode == "reflect" else "constant"
        self.before, self.after = layer.before[place.axis], layer.after[place.axis]
        pairs = zip(layer.before, layer.after, strict=True)
        sides = [(0, 0) if a == place.axis else pair for a, pair in enumerate(pairs)]
        self.sides = [n for pair in reversed(sides) for n in pair]
        self.planes, self.place, self.begun, self.shown = Planes(place.axis), place, False, 0

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return new planes once the mirror at the start is known; at the end the mirror there."""
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
