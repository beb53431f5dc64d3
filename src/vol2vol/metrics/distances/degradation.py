"""Degrade images with random blur, contrast, brightness and noise; an encoder learns to recognise these changes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLUR, NOISE, SHIFT = 2.0, 0.25, 0.15
"""Maximum standard deviations of blur (voxels) and noise, and maximum brightness shift, for grey values in 0..1."""
CONTRAST = (0.4, 1.2)
REACH = 6
"""Radius of the blur's kernel: three standard deviations of the strongest."""


def draw_degradations(count: int, rng: torch.Generator) -> Tensor:
    """Return random blur, contrast, shift and noise, `(count, 4)`; weak noise is more likely than strong noise."""
    blur, contrast, shift, noise = torch.rand(4, count, generator=rng)
    low, high = CONTRAST
    return torch.stack([BLUR * blur, low + (high - low) * contrast, SHIFT * (2 * shift - 1), NOISE * noise**2], 1)


def degrade(images: Tensor, degradations: Tensor, rng: torch.Generator) -> Tensor:
    """Return images `(B, 1, [Z,] Y, X)` in 0..1, each with its degradation `(B, 4)` applied, clipped to 0..1."""
    shape = (-1, 1, *[1] * (images.ndim - 2))
    blur, contrast, shift, noise = (column.to(images.device).view(shape) for column in degradations.T)
    result = (_blurred(images, blur.flatten()) - 0.5) * contrast + 0.5 + shift
    grain = torch.randn(images.shape, generator=rng).to(images.device)
    output: Tensor = (result + noise * grain).clamp(0, 1)
    return output


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image with its own Gaussian; borders are mirrored."""
    dims = images.ndim - 2
    at = torch.arange(-REACH, REACH + 1, device=images.device)
    kernel = torch.softmax(-0.5 * (at / sigma.clamp(min=0.05)[:, None]) ** 2, dim=1)
    conv = F.conv2d if dims == 2 else F.conv3d
    x = images.transpose(0, 1)
    for axis in range(dims):
        pad = [0] * (2 * dims)
        pad[2 * (dims - 1 - axis)] = pad[2 * (dims - 1 - axis) + 1] = REACH
        size = [1] * dims
        size[axis] = 2 * REACH + 1
        x = conv(F.pad(x, pad, mode="reflect"), kernel.view(-1, 1, *size), groups=len(images))
    return x.transpose(0, 1)
