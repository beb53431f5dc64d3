"""Define translations without training: a look-up table, alone or followed by one linear filter.

They are traced, tiled, streamed and stored like other networks, and have no seams: a look-up depends on one voxel, a
filter on a fixed neighbourhood. `vol2vol.recipes.baselines` fits their parameters.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vol2vol.nets.arguments import arguments_in, check_choice, check_count, check_dims
from vol2vol.nets.layer_types import Input, Output, Pad, Padding, Piecewise, conv
from vol2vol.shapes import shaped


class Lookup(nn.Module):
    """A monotone piecewise-linear map of every voxel's value, one per channel: reach 0, period 1.

    Input and output (B, channels, *space) in the network's range. Identity, mean and standard deviation (an affine
    map) and histogram matching differ only in their `knots`, see `layer_types.Piecewise`. Raises `BadInput` for
    arguments that do not fit.
    """

    def __init__(self, dims: int, *, channels: int = 1, knots: int = 2) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        check_dims(dims)
        check_count(channels=channels, segments=knots - 1)
        self.arguments, self.dims, self.in_channels = arguments, dims, channels
        self.table = Piecewise(channels, knots)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "lookup", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Translate `x` (B, channels, *space)."""
        output: Tensor = self.table(x)
        return output


class Spectral(nn.Module):
    """A look-up, followed by a linear filter of `2 * radius + 1` voxels per axis and channel: reach `radius`, period 1.

    Input and output (B, channels, *space) in the network's range. The filter is a convolution whose weights are
    fitted, not trained. Padding "same" mirrors at the borders of the tile; "valid" computes only certain voxels.
    Raises `BadInput` for arguments that do not fit.
    """

    def __init__(
        self, dims: int, *, channels: int = 1, knots: int = 2, radius: int = 12, padding: Padding = "valid"
    ) -> None:
        arguments = arguments_in(locals())
        super().__init__()
        check_dims(dims)
        check_count(channels=channels, segments=knots - 1, radius=radius)
        check_choice("padding", padding, ("valid", "same"))
        self.arguments, self.dims, self.in_channels = arguments, dims, channels
        self.table = Piecewise(channels, knots)
        self.pad = Pad(dims, radius, radius) if padding == "same" else nn.Identity()
        self.filter = conv(dims, channels, channels, 2 * radius + 1, groups=channels).requires_grad_(False)
        weight, bias = self.filter.parameters()
        if not weight.is_meta:
            nn.init.dirac_(weight, channels)
            nn.init.zeros_(bias)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network."""
        return {"name": "spectral", "arguments": dict(self.arguments)}

    @shaped
    def forward(self, x: Input) -> Output:
        """Translate `x` (B, channels, *space)."""
        output: Tensor = self.filter(self.pad(self.table(x)))
        return output
