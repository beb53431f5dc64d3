"""Define the layers that networks are built from; each has a simple geometry per axis, the same in 2D and 3D.

A forward pass of these layers (and of `torch.cat`, `+`, torch's convolutions, nearest upsampling and activations) does
not depend on sizes, so `trace.layers` can derive its geometry.
"""

from __future__ import annotations

from functools import reduce
from math import comb
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.nets.weighting import CONVOLUTIONS, TRANSPOSED, Weighting

Input = Annotated[Tensor, "batch channels *space"]
Output = Annotated[Tensor, "batch outputs *places"]
"""A network's output; `places` are as many axes as `space`, and may be fewer voxels."""
Padding = Literal["valid", "same"]
"""Whether a network pads the tile, so that its output is as large as its input ("same"), or not ("valid")."""

Extent = int | Shape
"""A number for all axes, or one for each."""


def conv(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: Extent,
    *,
    stride: Extent = 1,
    padding: Extent = 0,
    groups: int = 1,
    weights: Weighting = "plain",
) -> nn.Module:
    """Return a convolution with zero padding and bias; with several groups, each reads only its part of the inputs.

    `weights` says how they are normalised (`weighting`).
    """
    made: nn.Module = CONVOLUTIONS[weights][dims](inputs, outputs, kernel, stride, padding, groups=groups)
    return made


def transposed(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: Extent,
    *,
    stride: Extent = 2,
    padding: Extent = 0,
    output_padding: Extent = 0,
    weights: Weighting = "plain",
) -> nn.Module:
    """Return a transposed convolution of stride 2 with bias; padding is cut off its output."""
    made: nn.Module = TRANSPOSED[weights][dims](inputs, outputs, kernel, stride, padding, output_padding)
    return made


def within_planes(dims: int, extent: int, flat: bool, along_z: int = 1) -> Extent:
    """Return an extent for all axes, or where a layer is `flat` only for y and x, with another along z."""
    return (along_z, *(extent,) * (dims - 1)) if flat else extent


def check_flat(dims: int, flat: int, levels: int) -> None:
    """Raise `BadInput` unless a network of so many levels can have so many flat ones."""
    if not isinstance(flat, int) or isinstance(flat, bool) or not 0 <= flat <= levels:
        raise BadInput(f"flat is {flat!r}: it is a number of levels, from 0 to {levels}")
    if flat and dims == 2:
        raise BadInput(f"flat is {flat}, but a 2D network has no z: leave it out, or use dims 3")


def per_axis(dims: int, extent: Extent) -> Shape:
    """Return one number for each axis."""
    return (extent,) * dims if isinstance(extent, int) else tuple(extent)


class Blur(nn.Module):
    """Blur every channel by a binomial kernel and keep every `stride`-th voxel; nothing is learnt (Zhang 2019).

    A kernel of k taps has the weights of row k - 1 of Pascal's triangle on every axis, and the sum 1. To the rest of
    the house it is a convolution of as many groups as channels, without padding. After nearest upsampling by 2, a
    kernel of 3 taps gives linear interpolation.
    """

    taps: Tensor
    bias = None

    def __init__(self, dims: int, channels: int, kernel: int = 3, *, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = self.groups = channels
        self.kernel_size, self.stride = (kernel,) * dims, (stride,) * dims
        self.padding, self.dilation, self.output_padding = (0,) * dims, (1,) * dims, (0,) * dims
        row = torch.tensor([comb(kernel - 1, k) / 2 ** (kernel - 1) for k in range(kernel)])
        self.register_buffer("taps", reduce(lambda taps, _: taps[..., None] * row, range(dims - 1), row))

    @property
    def weight(self) -> Tensor:
        """The kernel of every channel, (C, 1, *kernel)."""
        return self.taps.expand(self.groups, 1, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Blur `x` (B, C, *space)."""
        run = functional.conv2d if x.ndim == 4 else functional.conv3d
        return run(x, self.weight, None, self.stride, groups=self.groups)

    def extra_repr(self) -> str:
        """Show channels, taps and stride."""
        return f"{self.groups}, kernel={self.kernel_size}, stride={self.stride}"


Up = Literal["transposed", "resize", "linear"]
"""How a network doubles the size: by a transposed convolution, whose weights differ with an output voxel's place on the
stride lattice, or by repeating voxels (resize) or interpolating between them (linear), followed by a convolution."""
Down = Literal["strided", "blurred"]
"""How a network halves the size: by a convolution of stride 2, or by the same convolution of stride 1, its activation,
and a blur of stride 2 (blur-pooling, which costs as much more as there are more voxels)."""


def enlarged(dims: int, channels: int, up: Up, *, mirrored: bool) -> list[nn.Module]:
    """Return the layers that double the size before a convolution; empty for a transposed one, which doubles it itself.

    Linear interpolation lacks a voxel at each end; `mirrored` adds it, else the result is 2 voxels smaller.
    """
    if up == "transposed":
        return []
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")]
    if up == "linear":
        layers += [*([Pad(dims, 1, 1)] if mirrored else []), Blur(dims, channels)]
    return layers


def pooled(dims: int, channels: int, down: Down, *, mirrored: bool) -> list[nn.Module]:
    """Return the layers that halve the size after a convolution and its activation; empty where that has a stride.

    `mirrored` adds a voxel at each end, so that an input of n voxels leads to n / 2, rounded up.
    """
    if down == "strided":
        return []
    return [*([Pad(dims, 1, 1)] if mirrored else []), Blur(dims, channels, stride=2)]


class Crop(nn.Module):
    """Cut a fixed number of voxels off both ends of every spatial axis; one number for all axes, or one for each."""

    def __init__(self, dims: int, before: Extent, after: Extent) -> None:
        super().__init__()
        self.before, self.after = per_axis(dims, before), per_axis(dims, after)

    def forward(self, x: Tensor) -> Tensor:
        """Crop `x` (B, C, *space)."""
        slices = [slice(a, -b if b else None) for a, b in zip(self.before, self.after, strict=True)]
        return x[(..., *slices)]

    def extra_repr(self) -> str:
        """Show both widths."""
        return f"before={self.before}, after={self.after}"


class Pad(nn.Module):
    """Add a fixed number of voxels to both ends of every spatial axis, mirrored (edge not repeated) or zero."""

    def __init__(self, dims: int, before: Extent, after: Extent, mode: Literal["reflect", "zero"] = "reflect") -> None:
        super().__init__()
        self.before, self.after, self.mode = per_axis(dims, before), per_axis(dims, after), mode

    def forward(self, x: Tensor) -> Tensor:
        """Pad `x` (B, C, *space)."""
        widths = [n for pair in zip(reversed(self.before), reversed(self.after), strict=True) for n in pair]
        return functional.pad(x, widths, mode="reflect" if self.mode == "reflect" else "constant")

    def extra_repr(self) -> str:
        """Show both widths and the mode."""
        return f"before={self.before}, after={self.after}, mode={self.mode!r}"


class Probability(nn.Sigmoid):
    """Logits to probabilities, in float32 also where convolutions are in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        """Return 1 / (1 + e^-x), at least float32."""
        return super().forward(x if x.dtype == torch.float64 else x.float())


class Piecewise(nn.Module):
    """Map every voxel by a piecewise-linear function of its value, one per channel, extrapolated beyond the end knots.

    The function passes through the knots `(at[c, k], height[c, k])`, buffers of shape (channels, knots); `at` is
    strictly ascending. Initially it is the identity.
    """

    at: Tensor
    height: Tensor
    _PIECE_VOXELS = 1 << 20

    def __init__(self, channels: int, knots: int) -> None:
        super().__init__()
        line = torch.arange(knots, dtype=torch.float32).repeat(channels, 1)
        self.register_buffer("at", line)
        self.register_buffer("height", line.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, C, *space), computed in the precision of the knots, in pieces to save memory."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for image, result in zip(x, out, strict=True):
            for channel, (values, target) in enumerate(zip(image, result, strict=True)):
                sources = values.reshape(-1).split(self._PIECE_VOXELS)
                pieces = zip(sources, target.view(-1).split(self._PIECE_VOXELS), strict=True)
                for piece, destination in pieces:
                    destination.copy_(self._map(piece.contiguous().to(self.at.dtype), channel))
        return out

    def _map(self, values: Tensor, channel: int) -> Tensor:
        at, height = self.at[channel], self.height[channel]
        slope = height.diff() / at.diff()
        segment = torch.searchsorted(at, values, right=True).sub_(1).clamp_(0, slope.shape[0] - 1)
        return height[segment] + (values - at[segment]) * slope[segment]

    def extra_repr(self) -> str:
        """Show channels and knots."""
        return f"channels={self.at.shape[0]}, knots={self.at.shape[1]}"


POINTWISE = (Probability, Piecewise)
"""Layers that map each voxel independently; geometrically they are activations."""


@torch.no_grad()
def initialise(net: nn.Module) -> None:
    """Draw convolution weights from a normal distribution (0, 0.02) by torch's global generator; zero biases."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            if module.weight.is_meta:
                continue
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
