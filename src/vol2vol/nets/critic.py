"""Define the critics (discriminators): PatchGAN, 70 voxels wide by default, and a critic of single voxels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from vol2vol.nets.arguments import arguments_in, check_count, check_dims
from vol2vol.nets.layer_types import Input, Output, check_flat, conv, initialise, within_planes
from vol2vol.nets.norm import Kind, normalisation
from vol2vol.nets.weighting import Weighting, check_weighting
from vol2vol.shapes import shaped


class PatchGAN(nn.Module):
    """Map (B, in_channels, *space) to one unbounded score per overlapping patch, (B, 1, *coarser space).

    `n_layers` convolutions k4 s2, then two of stride 1, all with padding 1 (Isola et al. 2017; 70 voxels for 3). In 3D
    the first `flat` have kernels and strides of 1 along z.
    """

    def __init__(
        self,
        dims: int,
        *,
        in_channels: int = 1,
        width: int = 64,
        n_layers: int = 3,
        norm: Kind = "instance",
        affine: bool = False,
        weights: Weighting = "plain",
        flat: int = 0,
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        check_dims(dims)
        check_count(in_channels=in_channels, width=width, n_layers=n_layers)
        check_weighting(weights)
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        channels = [width * min(2**n, 8) for n in range(n_layers + 1)]
        check_flat(dims, flat, n_layers)

        def layer(n: int, inputs: int, outputs: int) -> nn.Module:
            kernel, padding = within_planes(dims, 4, n < flat), within_planes(dims, 1, n < flat, 0)
            stride = within_planes(dims, 2, n < flat) if n < n_layers else 1
            return conv(dims, inputs, outputs, kernel, stride=stride, padding=padding, weights=weights)

        steps: list[nn.Module] = [layer(0, in_channels, width), nn.LeakyReLU(0.2, True)]
        for n, (inputs, outputs) in enumerate(pairwise(channels), start=1):
            steps += [layer(n, inputs, outputs), normalisation(outputs, norm, affine), nn.LeakyReLU(0.2, True)]
        self.steps = nn.Sequential(*steps, layer(n_layers + 1, channels[-1], 1))
        initialise(self)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "patchgan", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Return the scores of `x` (B, in_channels, *space)."""
        output: Tensor = self.steps(x)
        return output


class PixelCritic(nn.Module):
    """Map (B, in_channels, *space) to one unbounded score per voxel, (B, 1, *space), from that voxel alone."""

    def __init__(self, dims: int, *, in_channels: int = 1, width: int = 64, norm: Kind = "instance") -> None:
        arguments = arguments_in(locals())
        super().__init__()
        check_dims(dims)
        check_count(in_channels=in_channels, width=width)
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        self.steps = nn.Sequential(
            conv(dims, in_channels, width, 1),
            nn.LeakyReLU(0.2, True),
            conv(dims, width, 2 * width, 1),
            normalisation(2 * width, norm),
            nn.LeakyReLU(0.2, True),
            conv(dims, 2 * width, 1, 1),
        )
        initialise(self)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "pixel", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Return the scores of `x` (B, in_channels, *space)."""
        output: Tensor = self.steps(x)
        return output
