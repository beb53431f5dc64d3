"""The small stones networks are built from: each has a plain 1-D geometry per axis, the same in 2D and 3D.

A forward pass made of these (and of `torch.cat`, `+`, torch's convolutions, nearest upsampling and activations) never
asks for a size, so `trace.layers` can read its geometry off.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Input = Annotated[Tensor, "batch channels *space"]
Output = Annotated[Tensor, "batch outputs *places"]
"""A network's output; `places` are as many axes as `space`, and may be fewer voxels."""
_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def conv(
    dims: int, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Module:
    """Return a convolution with zero padding and bias; of several groups, each hears only its share of the inputs."""
    return _CONV[dims](inputs, outputs, kernel, stride, padding, groups=groups)


def transposed(
    dims: int, inputs: int, outputs: int, kernel: int, *, padding: int = 0, output_padding: int = 0
) -> nn.Module:
    """Return a transposed convolution of stride 2 with bias; padding is cut off its output."""
    return _TRANSPOSED[dims](inputs, outputs, kernel, 2, padding, output_padding)


class Crop(nn.Module):
    """Cut a fixed number of voxels off both ends of every spatial axis."""

    def __init__(self, dims: int, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = (before,) * dims, (after,) * dims

    def forward(self, x: Tensor) -> Tensor:
        """Crop `x` (B, C, *space)."""
        slices = [slice(a, -b if b else None) for a, b in zip(self.before, self.after, strict=True)]
        return x[(..., *slices)]

    def extra_repr(self) -> str:
        """Show both widths."""
        return f"before={self.before}, after={self.after}"


class Pad(nn.Module):
    """Add a fixed number of voxels to both ends of every spatial axis, mirrored (edge not repeated) or zero."""

    def __init__(self, dims: int, before: int, after: int, mode: Literal["reflect", "zero"] = "reflect") -> None:
        super().__init__()
        self.before, self.after, self.mode = (before,) * dims, (after,) * dims, mode

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
    """Map every voxel by a piecewise-linear function of its own value, one per channel, straight on beyond its ends.

    The function goes through the knots `(at[c, k], height[c, k])`, buffers of shape (channels, knots); `at` ascends
    strictly. A new one is the identity.
    """

    at: Tensor
    height: Tensor
    _AT_ONCE = 1 << 20

    def __init__(self, channels: int, knots: int) -> None:
        super().__init__()
        line = torch.arange(knots, dtype=torch.float32).repeat(channels, 1)
        self.register_buffer("at", line)
        self.register_buffer("height", line.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, C, *space), computed in the precision of the knots, in pieces so that little memory is held."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for image, made in zip(x, out, strict=True):
            for channel, (values, into) in enumerate(zip(image, made, strict=True)):
                pieces = zip(values.reshape(-1).split(self._AT_ONCE), into.view(-1).split(self._AT_ONCE), strict=True)
                for piece, place in pieces:
                    place.copy_(self._map(piece.contiguous().to(self.at.dtype), channel))
        return out

    def _map(self, values: Tensor, channel: int) -> Tensor:
        at, height = self.at[channel], self.height[channel]
        slope = height.diff() / at.diff()
        which = torch.searchsorted(at, values, right=True).sub_(1).clamp_(0, slope.shape[0] - 1)
        return height[which] + (values - at[which]) * slope[which]

    def extra_repr(self) -> str:
        """Show channels and knots."""
        return f"channels={self.at.shape[0]}, knots={self.at.shape[1]}"


POINTWISE = (Probability, Piecewise)
"""Layers that look at one voxel at a time: activations, as far as geometry goes."""


@torch.no_grad()
def initialise(net: nn.Module) -> None:
    """Draw convolution weights from a normal distribution (0, 0.02), zero biases, by torch's global generator."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            if module.weight.is_meta:
                continue
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
