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
from vol2vol.nets.weighting import Weighting, check_weighting
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
        affine: bool = False,
        weights: Weighting = "plain",
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        _check(arguments)
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        self.gradient_checkpointing = False
        head = [*self._conv(in_channels, width, 7), self._norm(width), self._activation()]
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
        return [pad, conv(self.dims, inputs, outputs, kernel, weights=self.arguments["weights"])]

    def _norm(self, channels: int) -> nn.Module:
        return normalisation(channels, self.arguments["norm"], self.arguments["affine"])

    @property
    def _same(self) -> bool:
        result: bool = self.arguments["padding"] == "same"
        return result

    def _down(self, channels: int) -> nn.Sequential:
        """Halve the size; pooled, the convolution itself has no stride."""
        pool = pooled(self.dims, 2 * channels, self.arguments["down"], mirrored=self._same)
        how: dict[str, Any] = {"padding": int(self._same), "weights": self.arguments["weights"]}
        step = conv(self.dims, channels, 2 * channels, 3, stride=1 if pool else 2, **how)
        return nn.Sequential(step, self._norm(2 * channels), self._activation(), *pool)

    def _up(self, channels: int) -> nn.Sequential:
        """Double the size. The resize convolution is k4: an odd kernel would displace the image by half a voxel."""
        outputs = channels // 2
        up = enlarged(self.dims, channels, self.arguments["up"], mirrored=self._same)
        if up:
            up += self._conv(channels, outputs, 4)
        else:
            how: Any = {"padding": 1, "output_padding": int(self._same), "weights": self.arguments["weights"]}
            up = [transposed(self.dims, channels, outputs, 3, **how)]
        return nn.Sequential(*up, self._norm(outputs), self._activation())

    def _activation(self) -> nn.Module:
        return nn.ReLU(True) if self.arguments["activation"] == "relu" else nn.LeakyReLU(0.2, True)


def _check(arguments: dict[str, Any]) -> None:
    check_dims(arguments["dims"])
    check_count(**{name: arguments[name] for name in ("in_channels", "out_channels", "width", "blocks")})
    check_choice("padding", arguments["padding"], ("valid", "same"))
    check_choice("up", arguments["up"], get_args(Up))
    check_choice("down", arguments["down"], get_args(Down))
    check_choice("activation", arguments["activation"], get_args(Activation))
    check_choice("final", arguments["final"], ("tanh", "none"))
    check_weighting(arguments["weights"])


class _Block(nn.Module):
    """Add two convolutions k3 of the input to the input itself, cropped where they are valid."""

    def __init__(self, net: ResNet, channels: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            *net._conv(channels, channels, 3), net._norm(channels), net._activation(),
            *net._conv(channels, channels, 3), net._norm(channels),
        )  # fmt: skip
        self.crop = nn.Identity() if net._same else Crop(net.dims, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.crop(x) + self.change(x)
        return output
