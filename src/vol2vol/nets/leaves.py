"""The small stones networks are built from: each has a plain 1-D geometry per axis, the same in 2D and 3D.

A forward pass made of these (and of `torch.cat`, `+`, torch's convolutions, nearest upsampling and activations) never
asks for a size, so `trace.layers` can read its geometry off.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def conv(dims: int, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
    """Return a convolution with zero padding and bias."""
    return _CONV[dims](inputs, outputs, kernel, stride, padding)


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


@torch.no_grad()
def initialise(net: nn.Module) -> None:
    """Draw convolution weights from a normal distribution (0, 0.02), zero biases, by torch's global generator."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
