"""Define a generator that retouches: it adds to the input a correction from a small neighbourhood, at full resolution.

It changes contrast, sharpness and noise, and little else: with a reach of a few voxels it cannot invent or remove
organelles, and without strides it adds no periodic pattern. Before training it is the identity.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.arguments import arguments_in, check_choice, check_count, check_dims
from vol2vol.nets.layer_types import Crop, Input, Output, Pad, Padding, conv
from vol2vol.nets.norm import Kind, normalisation
from vol2vol.shapes import shaped


class Retouch(nn.Module):
    """`blocks` convolutions k3 with ReLU, one k3 without, added to the input: reach `blocks + 1`, period 1.

    Input and output (B, channels, *space) in the network's range, which the output may leave. Padding "valid"
    computes only certain voxels, "same" mirrors at the borders of the tile. Raises `BadInput` for arguments that do
    not fit, and where the numbers of channels differ.
    """

    def __init__(
        self,
        dims: int,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 16,
        blocks: int = 4,
        padding: Padding = "valid",
        norm: Kind = "none",
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        check_dims(dims)
        check_count(in_channels=in_channels, out_channels=out_channels, width=width, blocks=blocks)
        check_choice("padding", padding, ("valid", "same"))
        if in_channels != out_channels:
            raise BadInput(f"{in_channels} channels cannot be retouched into {out_channels}: use another network")
        self.arguments, self.dims, self.in_channels = arguments, dims, in_channels
        same = padding == "same"
        channels = [in_channels, *[width] * blocks]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [*self._conv(before, after, same), normalisation(after, norm), nn.ReLU(True)]
        layers += self._conv(width, out_channels, same)
        self.change = nn.Sequential(*layers)
        self.crop = nn.Identity() if same else Crop(dims, blocks + 1, blocks + 1)
        nn.init.zeros_(self.get_parameter(f"change.{len(layers) - 1}.weight"))

    def _conv(self, inputs: int, outputs: int, same: bool) -> list[nn.Module]:
        layer: Any = conv(self.dims, inputs, outputs, 3)
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        return [Pad(self.dims, 1, 1) if same else nn.Identity(), layer]

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "retouch", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Translate `x` (B, channels, *space)."""
        output: Tensor = self.crop(x) + self.change(x)
        return output
