"""Define a residual U-Net that needs no normalisation: its weights are standardised, its blocks begin as the identity.

Norm-free U-Nets translate microscopy without statistics that a tile could change (Ui2i). Weights of fixed mean and
variance (Brock et al. 2021) keep the signal's variance through rectifiers; the last convolution of every block starts
at 0 (De & Smith 2020), so that depth does not amplify what enters.

valid, 3 levels, 2 voxels lost by every convolution pair       same: as large as the input
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from vol2vol.nets.arguments import arguments_in, check_choice, check_count, check_dims
from vol2vol.nets.checkpointing import checkpointed
from vol2vol.nets.layer_types import (
    Crop,
    Input,
    Output,
    Padding,
    Probability,
    check_flat,
    conv,
    transposed,
    within_planes,
)
from vol2vol.nets.norm import Kind, normalisation
from vol2vol.nets.segmenter import skip_crop
from vol2vol.nets.weighting import Standardised, Weighting, check_weighting
from vol2vol.shapes import shaped

Final = Literal["tanh", "sigmoid", "none"]


class ResidualUNet(nn.Module):
    """Residual blocks of two convolutions k3 on every level, halved by convolutions k2 s2, doubled by transposed ones.

    Input (B, in_channels, *space), output (B, out_channels, *space), in [-1, 1] with the final tanh. Channels are
    width, 2 width, 4 width ... In 3D the upper `flat` levels have kernels and strides of 1 along z. Raises `BadInput`
    for arguments that do not fit.
    """

    def __init__(
        self,
        dims: int,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 32,
        levels: int = 3,
        padding: Padding = "valid",
        norm: Kind = "none",
        final: Final = "tanh",
        affine: bool = False,
        weights: Weighting = "standardised",
        flat: int = 0,
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        _check(arguments)
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        self.gradient_checkpointing = False
        channels = [width * 2**level for level in range(levels)]
        twos = [within_planes(dims, 2, level < flat) for level in range(levels)]
        coarser = list(zip(channels[1:], channels, twos, strict=False))
        self.first = self._conv(in_channels, width, 0)
        self.down = nn.ModuleList(_Block(self, c, level) for level, c in enumerate(channels))
        self.halvings = nn.ModuleList(conv(dims, b, a, two, stride=two, weights=weights) for a, b, two in coarser)
        self.doublings = nn.ModuleList(
            transposed(dims, a, b, two, stride=two, weights=weights) for a, b, two in reversed(coarser)
        )
        self.crops = nn.ModuleList(skip_crop(dims, padding, levels, level, flat) for level in range(levels - 2, -1, -1))
        self.joins = nn.ModuleList(conv(dims, 2 * b, b, 1, weights=weights) for _, b, _ in reversed(coarser))
        self.up = nn.ModuleList(_Block(self, channels[n], n) for n in range(levels - 2, -1, -1))
        self.last = nn.Sequential(nn.ReLU(True), conv(dims, width, out_channels, 1, weights=weights))
        if final != "none":
            self.last.append(nn.Tanh() if final == "tanh" else Probability())
        _initialise(self)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "resunet", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Translate `x` (B, in_channels, *space)."""
        skips = []
        x = self.first(x)
        for level, block in enumerate(self.down):
            x = self._run(block, self.halvings[level - 1](x) if level else x)
            skips.append(x)
        x = skips.pop()
        for double, crop, join, block in zip(self.doublings, self.crops, self.joins, self.up, strict=True):
            x = self._run(block, join(torch.cat([crop(skips.pop()), double(x)], 1)))
        output: Tensor = self.last(x)
        return output

    def _run(self, step: nn.Module, x: Tensor) -> Tensor:
        return checkpointed(step, x) if self.gradient_checkpointing else step(x)

    def _conv(self, inputs: int, outputs: int, level: int) -> nn.Module:
        own, flat = self.arguments, level < self.arguments["flat"]
        padding = within_planes(self.dims, int(own["padding"] == "same"), flat, 0)
        kernel = within_planes(self.dims, 3, flat)
        return conv(self.dims, inputs, outputs, kernel, padding=padding, weights=own["weights"])


def _check(arguments: dict[str, Any]) -> None:
    check_dims(arguments["dims"])
    check_count(**{name: arguments[name] for name in ("in_channels", "out_channels", "width", "levels")})
    check_choice("padding", arguments["padding"], ("valid", "same"))
    check_choice("final", arguments["final"], ("tanh", "sigmoid", "none"))
    check_weighting(arguments["weights"])
    check_flat(arguments["dims"], arguments["flat"], arguments["levels"])


class _Block(nn.Module):
    """Add two convolutions k3 of the rectified input to the input itself, cropped where they are valid."""

    def __init__(self, net: ResidualUNet, channels: int, level: int) -> None:
        super().__init__()
        lost = within_planes(net.dims, 2, level < net.arguments["flat"], 0)
        norm, affine = net.arguments["norm"], net.arguments["affine"]
        self.change = nn.Sequential(
            normalisation(channels, norm, affine), nn.ReLU(), net._conv(channels, channels, level),
            normalisation(channels, norm, affine), nn.ReLU(True), net._conv(channels, channels, level),
        )  # fmt: skip
        self.crop = nn.Identity() if net.arguments["padding"] == "same" else Crop(net.dims, lost, lost)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.crop(x) + self.change(x)
        return output


@torch.no_grad()
def _initialise(net: ResidualUNet) -> None:
    """Draw weights by torch's global generator that keep the signal's variance, also where no rectifier precedes.

    The last convolution of every block starts at 0, except with spectral weights, which cannot be 0.
    """
    linear = {net.first, *net.halvings, *net.doublings, *net.joins}
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            if module.weight.is_meta or module.bias is None:
                continue
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if module in linear else "relu")
            nn.init.zeros_(module.bias)
            if isinstance(module, Standardised) and module in linear:
                nn.init.ones_(module.gain)
    for module in net.modules():
        if isinstance(module, _Block):
            last: Any = module.change[-1]
            if isinstance(last, Standardised):
                nn.init.zeros_(last.gain)
            elif net.arguments["weights"] == "plain":
                nn.init.zeros_(last.weight)
