"""Define the ResNet generator (Johnson et al. 2016, as used by Zhu et al. 2017) for images and volumes."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor, nn

from vol2vol.nets.arguments import arguments_in, check_choice, check_count, check_dims
from vol2vol.nets.checkpointing import checkpointed
from vol2vol.nets.layer_types import (
    Crop,
    Down,
    Input,
    Output,
    Pad,
    Padding,
    Up,
    conv,
    enlarged,
    initialise,
    pooled,
    transposed,
)
from vol2vol.nets.norm import Kind, normalisation
from vol2vol.shapes import shaped

Final = Literal["tanh", "none"]
Activation = Literal["relu", "leaky"]


class ResNet(nn.Module):
    """Convolution k7, two k3 s2 down, residual blocks of two k3, two steps up, convolution k7.

    Input (B, in_channels, *space), output (B, out_channels, *space), in [-1, 1] with the final tanh. Padding "same"
    mirrors at the borders of the tile; "valid" computes only certain voxels: the skips of the blocks are cropped.
    The activation is a ReLU, or a leaky ReLU of slope 0.2 (Böhland et al. 2023, whose width is 96 and norm "instance").
    Raises `BadInput` for arguments that do not fit.
    """

    def __init__(
        self,
        dims: int,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 64,
        blocks: int = 9,
        padding: Padding = "same",
        up: Up = "transposed",
        norm: Kind = "calibrated",
        final: Final = "tanh",
        down: Down = "strided",
        activation: Activation = "relu",
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        check_dims(dims)
        check_count(in_channels=in_channels, out_channels=out_channels, width=width, blocks=blocks)
        check_choice("padding", padding, ("valid", "same"))
        check_choice("up", up, get_args(Up))
        check_choice("down", down, get_args(Down))
        check_choice("activation", activation, get_args(Activation))
        check_choice("final", final, ("tanh", "none"))
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        self.gradient_checkpointing = False
        head = [*self._conv(in_channels, width, 7), normalisation(width, norm), self._activation()]
        tail = [*self._conv(width, out_channels, 7), *([nn.Tanh()] if final == "tanh" else [])]
        self.steps = nn.ModuleList(
            [
                nn.Sequential(*head),
                *(self._down(width * n) for n in (1, 2)),
                *(_Block(self, 4 * width) for _ in range(blocks)),
                *(self._up(width * n) for n in (4, 2)),
                nn.Sequential(*tail),
            ]
        )
        initialise(self)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "resnet", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Translate `x` (B, in_channels, *space)."""
        for step in self.steps:
            if self.gradient_checkpointing:
                x = checkpointed(step, x)
                continue
            for layer in step if isinstance(step, nn.Sequential) else [step]:
                x = layer(x)  # layer by layer, so that tensors are freed after their last reader
        return x

    def _conv(self, inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        """Return mirror padding (identity where valid) and a convolution of stride 1."""
        before = (kernel - 1) // 2
        pad = Pad(self.dims, before, kernel - 1 - before) if self._same else nn.Identity()
        return [pad, conv(self.dims, inputs, outputs, kernel)]

    @property
    def _same(self) -> bool:
        result: bool = self.arguments["padding"] == "same"
        return result

    def _down(self, channels: int) -> nn.Sequential:
        """Halve the size; pooled, the convolution itself has no stride."""
        pool = pooled(self.dims, 2 * channels, self.arguments["down"], mirrored=self._same)
        step = conv(self.dims, channels, 2 * channels, 3, stride=1 if pool else 2, padding=int(self._same))
        return nn.Sequential(step, normalisation(2 * channels, self.arguments["norm"]), self._activation(), *pool)

    def _up(self, channels: int) -> nn.Sequential:
        """Double the size. The resize convolution is k4: an odd kernel would displace the image by half a voxel."""
        outputs = channels // 2
        up = enlarged(self.dims, channels, self.arguments["up"], mirrored=self._same)
        if up:
            up += self._conv(channels, outputs, 4)
        else:
            up = [transposed(self.dims, channels, outputs, 3, padding=1, output_padding=int(self._same))]
        return nn.Sequential(*up, normalisation(outputs, self.arguments["norm"]), self._activation())

    def _activation(self) -> nn.Module:
        return nn.ReLU(True) if self.arguments["activation"] == "relu" else nn.LeakyReLU(0.2, True)


class _Block(nn.Module):
    """Add two convolutions k3 of the input to the input itself, cropped where they are valid."""

    def __init__(self, net: ResNet, channels: int) -> None:
        super().__init__()
        norm = net.arguments["norm"]
        self.change = nn.Sequential(
            *net._conv(channels, channels, 3), normalisation(channels, norm), net._activation(),
            *net._conv(channels, channels, 3), normalisation(channels, norm),
        )  # fmt: skip
        self.crop = nn.Identity() if net._same else Crop(net.dims, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.crop(x) + self.change(x)
        return output
