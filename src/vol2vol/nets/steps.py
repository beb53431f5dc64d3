"""The steps of a stream: what one layer does with the planes that are new.

Every step takes the new planes of its inputs (None where there are none) and whether they are the last, and returns
the planes of its output that no later plane can change any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vol2vol.errors import BadInput
from vol2vol.nets.norm import Frozen
from vol2vol.nets.planes import Planes
from vol2vol.nets.trace import Layer

_CONV: dict[int, Callable[..., Tensor]] = {2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
FEW = 4
"""Output channels up to which a transposed convolution runs faster as a convolution and a shuffle."""


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
        return cls(weight.to(dtype).contiguous(memory_format=CHANNELS_LAST[weight.ndim - 2]), bias.to(dtype))


class Conv:
    """A convolution: zeros before the first plane, a running window in between, zeros after the last."""

    def __init__(self, layer: Layer, axis: int, weights: Weights) -> None:
        self.module: Any = layer.module
        self.weights = weights
        self.kernel, self.stride, self.padding = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
        self.sides = tuple(0 if a == axis else p for a, p in enumerate(layer.padding))
        self.planes, self.begun = Planes(axis), False

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the planes whose window is complete."""
        new = inputs[0]
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
        w, m = self.weights, self.module
        made = _CONV[window.ndim - 2](window, w.weight, w.bias, m.stride, self.sides, m.dilation, m.groups)
        self.planes.drop(min(count * self.stride, len(self.planes)))
        return made


class Transposed:
    """A transposed convolution, run as a valid one on the planes it shares with the past and the new ones."""

    def __init__(self, layer: Layer, axis: int, weights: Weights) -> None:
        self.module: Any = layer.module
        self.kernel, self.stride = layer.kernel[axis], layer.stride[axis]
        self.shared = -(-self.kernel // self.stride) - 1
        self.skip = layer.padding[axis]
        self.tail = self.kernel - self.stride - layer.padding[axis] + layer.output_padding[axis]
        if self.tail < 0 or self.kernel < self.stride:
            raise BadInput(f"layer {layer.name!r} cuts or spreads more planes than a stream can know: not streamable")
        self.sides = tuple(0 if a == axis else p for a, p in enumerate(layer.padding))
        self.extra = tuple(0 if a == axis else p for a, p in enumerate(layer.output_padding))
        self.planes = Planes(axis)
        self.shuffled = Shuffled.of(layer, axis, weights)
        self.weights = weights

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return `stride` planes for each new one, at the end the rest."""
        new = inputs[0]
        parts = [] if new is None else [self._spread(new, self.stride * new.shape[self.planes.dim])]
        if last and self.tail and len(self.planes):
            parts.append(self._spread(self.planes.zeros(self.shared + 1, self.planes.first(1)), self.tail))
        if not parts:
            return None
        made = torch.cat(parts, self.planes.dim) if len(parts) > 1 else parts[0]
        cut = min(self.skip, made.shape[self.planes.dim])
        self.skip -= cut
        return made.narrow(self.planes.dim, cut, made.shape[self.planes.dim] - cut)

    def _spread(self, new: Tensor, count: int) -> Tensor:
        """Return the next `count` output planes, given the next input planes."""
        if self.shared and not len(self.planes):
            self.planes.append(self.planes.zeros(self.shared, new))
        self.planes.append(new)
        window = self.planes.first(len(self.planes))
        self.planes.drop(len(self.planes) - self.shared)
        axis = self.planes.dim - 2
        if self.shuffled is not None:
            return self.shuffled(window).narrow(axis + 2, 0, count)
        cut = self.kernel - self.stride
        sides = tuple(cut if a == axis else p for a, p in enumerate(self.sides))
        m, w = self.module, self.weights
        run = _TRANSPOSED[window.ndim - 2]
        made = run(window, w.weight, w.bias, m.stride, sides, self.extra, m.groups, m.dilation)
        return made.narrow(axis + 2, self.stride * self.shared - cut, count)


@dataclass(frozen=True)
class Shuffled:
    """A transposed convolution of kernel 4 and stride 2 as a convolution of kernel 2 whose channels are interleaved.

    Output voxel 2i + t of an axis hears input i - 1 through tap t + 2 and input i through tap t (sub-pixel
    convolution, Shi et al. 2016): the same sums, but in a shape that CPU kernels run several times faster where there
    are few output channels.
    """

    weight: Tensor
    bias: Tensor
    padding: tuple[int, ...]
    crop: tuple[slice, ...]

    @classmethod
    def of(cls, layer: Layer, axis: int, weights: Weights) -> Shuffled | None:
        """Return the convolution, or None where the plain one is as fast or the geometry another."""
        dims = len(layer.kernel)
        plain = set(layer.kernel) == {4} and set(layer.stride) == {2} and not any(layer.output_padding)
        if not plain or layer.channels > FEW or any(p > 2 for p in layer.padding):
            return None
        taps = [
            torch.stack([weights.weight[(slice(None), slice(None), *corner)] for corner in _corners(parity)], -1)
            for parity in product((0, 1), repeat=dims)
        ]
        inputs, outputs = weights.weight.shape[:2]
        stacked = torch.stack(taps, 2).permute(1, 2, 0, 3).reshape(outputs * 2**dims, inputs, *(2,) * dims)
        padding = tuple(0 if a == axis or p == 2 else 1 for a, p in enumerate(layer.padding))
        crop = tuple(slice(1, -1) if p == 1 and a != axis else slice(None) for a, p in enumerate(layer.padding))
        return cls(
            stacked.contiguous(memory_format=CHANNELS_LAST[dims]),
            weights.bias.repeat_interleave(2**dims),
            padding,
            crop,
        )

    def __call__(self, window: Tensor) -> Tensor:
        """Return twice the planes that lie between those of `window`."""
        made = _CONV[window.ndim - 2](window, self.weight, self.bias, 1, self.padding)
        batch, channels, *space = made.shape
        dims = len(space)
        made = made.reshape(batch, channels // 2**dims, *(2,) * dims, *space)
        order = [0, 1] + [d for a in range(dims) for d in (2 + dims + a, 2 + a)]
        made = made.permute(order).reshape(batch, channels // 2**dims, *(2 * n for n in space))
        return made[(..., *self.crop)]


def _corners(parity: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the taps of kernel 4 that a voxel of this parity hears, earlier input first."""
    return list(product(*[(t + 2, t) for t in parity]))


class Join:
    """Two inputs side by side or summed, where both have arrived; the earlier one waits."""

    def __init__(self, layer: Layer, axis: int) -> None:
        self.kind = layer.kind
        self.waiting = [Planes(axis) for _ in layer.inputs]

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return the planes that all inputs have."""
        for planes, new in zip(self.waiting, inputs, strict=True):
            planes.append(new)
        count = min(map(len, self.waiting))
        if count == 0:
            return None
        made = self._cat(count) if self.kind == "cat" else sum(planes.first(count) for planes in self.waiting[1:])
        if self.kind == "add":
            made = self.waiting[0].first(count) + made
        for planes in self.waiting:
            planes.drop(count)
        return made

    def _cat(self, count: int) -> Tensor:
        """Copy every waiting piece straight to its place among the channels."""
        pieces = [planes.pieces(count) for planes in self.waiting]
        first, dim = pieces[0][0], self.waiting[0].dim
        channels = [parts[0].shape[1] for parts in pieces]
        shape = [count if d == dim else n for d, n in enumerate(first.shape)]
        shape[1] = sum(channels)
        layout = CHANNELS_LAST[first.ndim - 2]
        made = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout)
        for place, parts in zip(made.split(channels, 1), pieces, strict=True):
            for target, part in zip(place.split([p.shape[dim] for p in parts], dim), parts, strict=True):
                target.copy_(part)
        return made


class Crop:
    """The first planes dropped, the last held back."""

    def __init__(self, layer: Layer, axis: int) -> None:
        self.drop, self.hold = layer.before[axis], layer.after[axis]
        pairs = zip(layer.before, layer.after, strict=True)
        self.sides = [slice(None) if a == axis else slice(b, -c or None) for a, (b, c) in enumerate(pairs)]
        self.planes = Planes(axis)

    def __call__(self, inputs: list[Tensor | None], last: bool) -> Tensor | None:
        """Return what is certain not to be among the last."""
        self.planes.append(None if inputs[0] is None else inputs[0][(..., *self.sides)])
        cut = min(self.drop, len(self.planes))
        self.planes.drop(cut)
        self.drop -= cut
        return self.planes.take(len(self.planes) - self.hold)


class Pad:
    """Mirrored or zero planes before the first and after the last."""

    def __init__(self, layer: Layer, axis: int) -> None:
        module: Any = layer.module
        self.mode = "reflect" if module.mode == "reflect" else "constant"
        self.before, self.after = layer.before[axis], layer.after[axis]
        pairs = zip(layer.before, layer.after, strict=True)
        sides = [(0, 0) if a == axis else pair for a, pair in enumerate(pairs)]
        self.sides = [n for pair in reversed(sides) for n in pair]
        self.planes, self.begun, self.shown = Planes(axis), False, 0

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
        surplus = max(0, len(self.planes) - self.after - 1)
        self.planes.drop(surplus)
        self.shown = len(self.planes)
        return torch.cat(parts, dim)

    def _mirror(self, planes: Tensor, order: range) -> Tensor:
        if self.mode == "constant":
            return self.planes.zeros(len(order), planes)
        return planes.index_select(self.planes.dim, torch.tensor(list(order), device=planes.device, dtype=torch.int64))
