"""Define the U-Net for segmentation (section 3.3 of the stitching paper), for images and volumes.

Three levels of two convolutions k3, halved by a convolution k2 s2 and doubled by a transposed one:

valid    140 > 136 -> 68 > 64 -> 32 > 28 -> 56 > 52 -> 104 > 100      all 100 are certain, and kept by exact tiles
same     140 > 140 -> 70 > 70 -> 35 > 35 -> 70 > 70 -> 140 > 140      the inner 96 are certain

The paper says no more than "a simple 3D Unet [Wolny et al. 2020] with three up-down blocks with a convolution before
each downsampling step", patches of 140 and kept centres of 96. These levels are those of the work it cites: they admit
140, and 96 is what they leave of it. (Three halvings would need a multiple of 8.)
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
from vol2vol.nets.weighting import Weighting, check_weighting
from vol2vol.shapes import shaped

Final = Literal["sigmoid", "none"]


class Segmenter(nn.Module):
    """Predict for every voxel the probability that it belongs to the structures of the training masks.

    Input (B, in_channels, *space) in the network's range, output (B, out_channels, *space): probabilities, or logits
    with final "none". Channels are width, 2 width, 4 width. In 3D the upper `flat` levels have kernels and
    strides of 1 along z. Raises `BadInput` for arguments that do not fit.
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
        norm: Kind = "batch",
        final: Final = "sigmoid",
        affine: bool = False,
        weights: Weighting = "plain",
        flat: int = 0,
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        check_dims(dims)
        check_count(in_channels=in_channels, out_channels=out_channels, width=width, levels=levels)
        check_choice("padding", padding, ("valid", "same"))
        check_choice("final", final, ("sigmoid", "none"))
        check_weighting(weights)
        check_flat(dims, flat, levels)
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        self.gradient_checkpointing = False
        channels = [width * 2**level for level in range(levels)]
        first, twos = [in_channels, *channels[1:]], [within_planes(dims, 2, level < flat) for level in range(levels)]
        coarser = list(zip(channels[1:], channels, twos, strict=False))
        self.down = nn.ModuleList(self._two(*c, level) for level, c in enumerate(zip(first, channels, strict=True)))
        self.halvings = nn.ModuleList(conv(dims, b, a, two, stride=two, weights=weights) for a, b, two in coarser)
        self.doublings = nn.ModuleList(
            transposed(dims, a, b, two, stride=two, weights=weights) for a, b, two in reversed(coarser)
        )
        self.crops = nn.ModuleList(skip_crop(dims, padding, levels, level, flat) for level in range(levels - 2, -1, -1))
        self.up = nn.ModuleList(self._two(2 * channels[n], channels[n], n) for n in range(levels - 2, -1, -1))
        self.last = nn.Sequential(conv(dims, width, out_channels, 1, weights=weights))
        if final == "sigmoid":
            self.last.append(Probability())
        _initialise(self)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "segmenter", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Return the probabilities of the voxels of `x` (B, in_channels, *space)."""
        skips = []
        for level, two in enumerate(self.down):
            x = self._run(two, self.halvings[level - 1](x) if level else x)
            skips.append(x)
        x = skips.pop()
        for double, crop, two in zip(self.doublings, self.crops, self.up, strict=True):
            x = self._run(two, torch.cat([crop(skips.pop()), double(x)], 1))
        output: Tensor = self.last(x)
        return output

    def _run(self, step: nn.Module, x: Tensor) -> Tensor:
        return checkpointed(step, x) if self.gradient_checkpointing else step(x)

    def _two(self, inputs: int, outputs: int, level: int) -> nn.Sequential:
        """Return two convolutions k3, each normalised and rectified."""
        own, flat = self.arguments, level < self.arguments["flat"]
        kernel = within_planes(self.dims, 3, flat)
        padding = within_planes(self.dims, int(own["padding"] == "same"), flat, 0)
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers.append(conv(self.dims, channels, outputs, kernel, padding=padding, weights=own["weights"]))
            layers += [normalisation(outputs, own["norm"], own["affine"]), nn.ReLU(True)]
        return nn.Sequential(*layers)


def skip_crop(dims: int, padding: Padding, levels: int, level: int, flat: int) -> nn.Module:
    """Return the crop of a skip at a level to the size of what comes from below, with two convolutions k3 per level.

    The upper `flat` levels lose nothing along z.
    """
    if padding == "same":
        return nn.Identity()

    def lost(flat: int) -> int:
        voxels = 0
        for lower in range(levels - 1, level, -1):
            convolved = (2 if lower == levels - 1 else 4) if lower >= flat else 0
            voxels = (voxels + convolved) * (2 if lower > flat else 1)
        return voxels

    return Crop(dims, *(within_planes(dims, lost(0), flat > 0, lost(flat)),) * 2)


@torch.no_grad()
def _initialise(net: nn.Module) -> None:
    """Draw weights that preserve the variance of a rectified signal (He et al. 2015), by torch's global generator."""
    for name, parameter in net.named_parameters():
        if parameter.is_meta:
            continue
        if name.endswith((".scale", ".shift", ".gain")):
            continue
        if name.endswith("weight"):
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        else:
            nn.init.zeros_(parameter)
