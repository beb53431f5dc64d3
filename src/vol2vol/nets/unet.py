"""Define the pix2pix-style U-Net of the stitching paper (section 8.1) for images and volumes.

valid, 5 levels    190 -> 94 -> 46 -> 22 -> 10 -> 4      d -> (d-2)/2, convolution k4 s2
full decoder       4 -> 10 -> 22 -> 46 -> 94 -> 190      d -> 2d+2, rims are computed from partial context
cropped decoder    4 -> 6 -> 10 -> 18 -> 34 -> 66        d -> 2d-2, the same values where they are certain
same padding       192 -> 96 -> ... -> 6 -> ... -> 192   d -> d/2 -> 2d

With blur-pooled strides (down "blurred") a valid encoder goes d -> (d-4)/2 and the full decoder d -> 2d+4; linear
interpolation (up "linear") makes the cropped decoder d -> 2d-4.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.arguments import arguments_in, check_choice, check_count, check_dims
from vol2vol.nets.checkpointing import checkpointed
from vol2vol.nets.layer_types import (
    Crop,
    Down,
    Extent,
    Input,
    Output,
    Pad,
    Padding,
    Up,
    check_flat,
    conv,
    enlarged,
    initialise,
    pooled,
    transposed,
    within_planes,
)
from vol2vol.nets.norm import Kind, normalisation
from vol2vol.nets.weighting import Weighting, check_weighting
from vol2vol.shapes import shaped

Decoder = Literal["full", "cropped"]
Final = Literal["tanh", "none"]

_TRANSPOSED_PADDING = {"full": 0, "same": 1, "cropped": 2}
_RESIZE_PADDING = {"full": 2, "same": 1, "cropped": 0}


class UNet(nn.Module):
    """Halve the size `levels` times by convolutions, double it again, and join encoder and decoder level by level.

    Input (B, in_channels, *space), output (B, out_channels, *space), in [-1, 1] with the final tanh. Channels grow as
    width, 2 width, ... up to max_multiplier * width. The decoder rectifies its inputs, so the encoder's leaky
    activations can be joined unchanged: relu(leaky(x)) = relu(x). In 3D the upper `flat` levels have kernels and
    strides of 1 along z, for voxels that are longer along z. Raises `BadInput` for arguments that do not fit.
    """

    def __init__(
        self,
        dims: int,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 64,
        levels: int = 5,
        padding: Padding = "valid",
        up: Up = "transposed",
        decoder: Decoder = "full",
        norm: Kind = "calibrated",
        final: Final = "tanh",
        max_multiplier: int = 8,
        down: Down = "strided",
        affine: bool = False,
        weights: Weighting = "plain",
        flat: int = 0,
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        _check(arguments)
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        self.gradient_checkpointing = False
        channels = [width * min(2**level, max_multiplier) for level in range(levels)]
        self.encoder = nn.ModuleList(
            self._down(inputs, outputs, level)
            for level, (inputs, outputs) in enumerate(zip([in_channels, *channels], channels, strict=False))
        )
        joined = [channels[-1], *(2 * c for c in reversed(channels[:-1]))]
        self.decoder = nn.ModuleList(
            self._up(inputs, outputs, step)
            for step, (inputs, outputs) in enumerate(zip(joined, [*reversed(channels[:-1]), out_channels], strict=True))
        )
        uncertain = 2 + (down == "blurred") + (up == "linear")  # voxels at each end of a level, more at the next
        crops = (self._crop(uncertain, around) for around in range(1, levels))
        self.crops = nn.ModuleList(crop if decoder == "cropped" else nn.Identity() for crop in crops)
        initialise(self)
        if norm == "none" and weights == "plain":
            _keep_variance(self)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "unet", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Translate `x` (B, in_channels, *space)."""
        skips = []
        for down in self.encoder:
            x = checkpointed(down, x) if self.gradient_checkpointing else down(x)
            skips.append(x)
        x = self.decoder[0](skips.pop())
        for crop, up in zip(self.crops, self.decoder[1:], strict=True):
            if self.gradient_checkpointing:
                x = checkpointed(_Joined(crop, up), skips.pop(), x)
                continue
            x = torch.cat([crop(skips.pop()), x], 1)
            for layer in up.children():  # layer by layer, so that tensors are freed after their last reader
                x = layer(x)
        return x

    def _norm(self, channels: int) -> nn.Module:
        return normalisation(channels, self.arguments["norm"], self.arguments["affine"])

    def _planar(self, extent: int, level: int, along_z: int = 1) -> Extent:
        return within_planes(self.dims, extent, level < self.arguments["flat"], along_z)

    def _crop(self, uncertain: int, around: int) -> Crop:
        """Return the crop of a skip that so many levels go around; those that are flat lose nothing along z."""
        levels, flat = self.arguments["levels"], self.arguments["flat"]
        halved = levels - max(levels - around, flat)
        lost, along_z = (uncertain * (2**n - 1) for n in (around, halved))
        extent = within_planes(self.dims, lost, halved < around, along_z)
        return Crop(self.dims, extent, extent)

    def _down(self, inputs: int, outputs: int, level: int) -> nn.Sequential:
        step = nn.Sequential()
        same = self.arguments["padding"] == "same"
        pool = pooled(self.dims, outputs, self.arguments["down"], mirrored=same)
        how: dict[str, Any] = {"padding": self._planar(int(same), level, 0), "weights": self.arguments["weights"]}
        kernel, stride = self._planar(4, level), self._planar(1 if pool else 2, level)
        step.add_module("conv", conv(self.dims, inputs, outputs, kernel, stride=stride, **how))
        innermost = level == self.arguments["levels"] - 1
        if level > 0 and not innermost:
            step.add_module("norm", self._norm(outputs))
        step.add_module("activation", nn.ReLU(True) if innermost else nn.LeakyReLU(0.2, True))
        if pool:
            step.add_module("pool", nn.Sequential(*pool))
        return step

    def _up(self, inputs: int, outputs: int, index: int) -> nn.Sequential:
        step, weights = nn.Sequential(), self.arguments["weights"]
        mode = "same" if self.arguments["padding"] == "same" else self.arguments["decoder"]
        if index > 0:
            step.add_module("activation", nn.ReLU(True))
        level = self.arguments["levels"] - 1 - index
        larger = enlarged(self.dims, inputs, self.arguments["up"], mirrored=mode != "cropped")
        if larger:
            larger[0] = nn.Upsample(scale_factor=self._planar(2, level), mode="nearest")
            for layer in larger:  # not as one module, which would hold its input until the last layer is done
                step.add_module(type(layer).__name__.lower(), layer)
            padding = self._planar(_RESIZE_PADDING[mode], level, 0)
            up = conv(self.dims, inputs, outputs, self._planar(3, level), padding=padding, weights=weights)
        else:
            padding = self._planar(_TRANSPOSED_PADDING[mode], level, 0)
            how: dict[str, Any] = {"stride": self._planar(2, level), "padding": padding, "weights": weights}
            up = transposed(self.dims, inputs, outputs, self._planar(4, level), **how)
        step.add_module("conv", up)
        if mode == "full" and self.arguments["down"] == "blurred":
            step.add_module("rim", Pad(self.dims, 1, 1))
        if index < self.arguments["levels"] - 1:
            step.add_module("norm", self._norm(outputs))
        elif self.arguments["final"] == "tanh":
            step.add_module("final", nn.Tanh())
        return step


class _Joined:
    """Join a skip with the lower level and go up, in one step, so that the joined tensor is not kept."""

    def __init__(self, crop: nn.Module, up: nn.Module) -> None:
        self.crop, self.up = crop, up

    def __call__(self, skip: Tensor, below: Tensor) -> Tensor:
        output: Tensor = self.up(torch.cat([self.crop(skip), below], 1))
        return output


def _check(arguments: dict[str, Any]) -> None:
    check_dims(arguments["dims"])
    check_count(**{n: arguments[n] for n in ("in_channels", "out_channels", "width", "levels", "max_multiplier")})
    check_choice("padding", arguments["padding"], ("valid", "same"))
    check_choice("up", arguments["up"], get_args(Up))
    check_choice("down", arguments["down"], get_args(Down))
    check_choice("decoder", arguments["decoder"], ("full", "cropped"))
    check_choice("final", arguments["final"], ("tanh", "none"))
    check_weighting(arguments["weights"])
    check_flat(arguments["dims"], arguments["flat"], arguments["levels"])
    if arguments["flat"] and (arguments["down"] == "blurred" or arguments["up"] == "linear"):
        raise BadInput("flat levels cannot be blurred: use down 'strided' and up 'transposed' or 'resize'")
    if arguments["padding"] == "same" and arguments["decoder"] == "cropped":
        raise BadInput("decoder 'cropped' needs padding 'valid': with padding 'same' nothing is cropped, use 'full'")


@torch.no_grad()
def _keep_variance(net: UNet) -> None:
    """Draw weights by torch's global generator that keep the signal's variance where nothing normalises it.

    As He et al. (2015): the variance of a weight is 1 over the number of inputs of a voxel and their mean square, which
    is 1 at the input, (1 + 0.2^2) / 2 behind a leaky rectifier and 1/2 behind a rectifier.
    """
    steps = [(step, 1.0 if level == 0 else 0.52) for level, step in enumerate(net.encoder)]
    for step, square in [*steps, *((step, 0.5) for step in net.decoder)]:
        for module in step.modules():
            if not isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                continue
            if module.weight.is_meta or not module.weight.requires_grad:
                continue
            inputs = module.in_channels * prod(module.kernel_size) / module.groups
            if isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
                inputs /= prod(module.stride)
            nn.init.normal_(module.weight, 0.0, (inputs * square) ** -0.5)
