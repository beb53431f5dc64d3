"""Optimise convolutions for prediction: fold in norms, store channels last, run few outputs as sub-pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vol2vol.nets.norm import Frozen
from vol2vol.nets.trace import Layer
from vol2vol.nets.weighting import effective_weight

CONV: dict[int, Callable[..., Tensor]] = {2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
FEW = 4
"""Maximum output channels for which a transposed convolution runs faster as a convolution and a shuffle."""
_PAIR = {2: torch.int32, 4: torch.int64, 8: torch.complex128}
"""Data type as wide as two values, by the bytes of one value."""


def channels_last(x: Tensor) -> Tensor:
    """Return a tensor (B, C, *space) in the channels-last layout, with the strides of that layout even for one channel.

    With one channel both layouts have the same bytes, but torch assumes the other one, and the next convolution would
    reorder them.
    """
    x = x.contiguous(memory_format=CHANNELS_LAST[x.ndim - 2])
    if x.shape[1] != 1:
        return x
    return x.as_strided(x.shape, (x.stride(0), 1, *x.stride()[2:]))


@dataclass(frozen=True)
class Weights:
    """Weight and bias of a (transposed) convolution with the following norm folded in."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: Layer, norm: Frozen | None, dtype: torch.dtype) -> Weights:
        """Fold the norm in at the precision of the weights, then convert to `dtype`, channels last."""
        module: Any = layer.module
        weight, bias = effective_weight(module), module.bias
        outputs = module.out_channels
        bias = torch.zeros(outputs, dtype=weight.dtype, device=weight.device) if bias is None else bias.detach()
        if norm is not None:
            scale, shift = norm.affine
            along = 1 if layer.kind == "transposed" else 0
            weight = weight * scale.reshape([-1 if dim == along else 1 for dim in range(weight.ndim)])
            bias = bias * scale + shift
        return cls(channels_last(weight.to(dtype)), bias.to(dtype))

    @cached_property
    def shuffled(self) -> Weights:
        """These weights as a sub-pixel convolution, see the function `shuffled`."""
        return shuffled(self)


def is_shuffled(layer: Layer) -> bool:
    """Return whether a layer runs as `shuffled`: a transposed convolution of few outputs, kernel 4, stride 2."""
    fits = set(layer.kernel) == {4} and set(layer.stride) == {2} and not any(layer.output_padding)
    return layer.kind == "transposed" and layer.channels <= FEW and fits


def shuffled(weights: Weights) -> Weights:
    """Return a transposed convolution of kernel 4 and stride 2 as a convolution of kernel 2 with interleaved channels.

    Output voxel 2i + t of an axis depends on input i - 1 through tap t + 2 and on input i through tap t (sub-pixel
    convolution, Shi et al. 2016). The sums are the same, and with few output channels CPU kernels are several times
    faster.
    """
    inputs, outputs, *kernel = weights.weight.shape
    dims = len(kernel)
    taps = []
    for parity in product((0, 1), repeat=dims):
        corners: Any = product(*[(t + 2, t) for t in parity])
        taps.append(torch.stack([weights.weight[(..., *corner)] for corner in corners], -1))
    stacked = torch.stack(taps, 2).permute(1, 2, 0, 3).reshape(outputs * 2**dims, inputs, *(2,) * dims)
    bias = weights.bias.repeat_interleave(2**dims)
    return Weights(channels_last(stacked), bias)


def interleave(window: Tensor, weights: Weights, after: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Run a `shuffled` convolution on `window` (B, C, *space) and interleave its sub-pixels: twice the size per axis.

    `after` is the activation that follows, or None. Neighbours along the last axis are copied as one value of twice
    the width.
    """
    subpixels = CONV[window.ndim - 2](window, weights.weight, weights.bias)
    subpixels = channels_last(subpixels if after is None else after(subpixels))
    batch, channels, *space = subpixels.shape
    dims = len(space)
    flat = subpixels.movedim(1, -1).reshape(-1)  # flat, because axes of one voxel may have odd strides
    pairs = flat.view(_PAIR[subpixels.element_size()])
    parts = pairs.reshape(batch, *space, channels // 2**dims, *(2,) * (dims - 1))
    order = [0, 1 + dims] + [d for a in range(dims - 1) for d in (1 + a, 2 + dims + a)] + [dims]
    wide = parts.permute(order).clone(memory_format=torch.contiguous_format)
    return wide.view(batch, channels // 2**dims, *(2 * n for n in space[:-1]), space[-1]).view(subpixels.dtype)
