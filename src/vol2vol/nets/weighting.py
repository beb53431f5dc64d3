"""Convolutions whose weights are normalised instead of what they compute: nothing depends on the tile.

weights       effective weights
plain         as they are learnt
standardised  mean 0 and variance 1 / fan-in per output channel, times a learnt gain (Brock et al. 2021, equation 1)
spectral      divided by their largest singular value, by power iteration (Miyato et al. 2018)

For prediction the effective weights are computed once (`variants.frozen`), and the layer is a plain convolution.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from vol2vol.nets.arguments import check_choice
from vol2vol.nets.norm import is_recomputing, once

Weighting = Literal["plain", "standardised", "spectral"]
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)
GAIN = (2 / (1 - 1 / torch.pi)) ** 0.5
"""Initial gain of standardised weights: it keeps the variance of a signal through a rectifier (Brock et al. 2021)."""
EPSILON = 1e-4


class Reweighted(nn.Module):
    """A convolution whose weights are computed from those that are learnt."""

    weight: Tensor
    learnt: tuple[str, ...] = ()
    """Names of its tensors that the plain convolution lacks."""

    def effective(self) -> Tensor:
        """Return the weights that the convolution uses, in the layout of `weight`."""
        raise NotImplementedError

    def _matrix(self) -> Tensor:
        """Return the weights as a matrix (output channels, everything else)."""
        transposed = isinstance(self, (nn.ConvTranspose2d, nn.ConvTranspose3d))
        return (self.weight.transpose(0, 1) if transposed else self.weight).flatten(1)


class Standardised(Reweighted):
    """Weights of mean 0 and variance 1 / fan-in, times a learnt gain."""

    gain: nn.Parameter
    learnt = ("gain",)

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        own: Any = self
        self.gain = nn.Parameter(torch.full((own.out_channels,), GAIN))

    def effective(self) -> Tensor:
        """Return the standardised weights."""
        module: Any = self
        taps = self._matrix().shape[1]
        along = 1 if isinstance(self, (nn.ConvTranspose2d, nn.ConvTranspose3d)) else 0
        fan_in = taps / prod(module.stride) if along else taps
        shape = [-1 if axis == along else 1 for axis in range(self.weight.ndim)]
        variance, mean = torch.var_mean(self._matrix(), 1, correction=0)
        scale = self.gain * torch.rsqrt(variance * fan_in + EPSILON)
        return (self.weight - mean.view(shape)) * scale.view(shape)


class SpectrallyNormed(Reweighted):
    """Weights divided by their largest singular value, which one power iteration per training step follows."""

    direction: Tensor
    learnt = ("direction",)

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        own: Any = self
        somewhere = torch.cos(torch.arange(1.0, own.out_channels + 1))
        self.register_buffer("direction", functional.normalize(somewhere, dim=0))

    def effective(self) -> Tensor:
        """Return the weights over their largest singular value."""
        matrix = self._matrix()
        u, v = once(self, lambda: self._singular(matrix.detach()))
        return self.weight / torch.dot(u, torch.mv(matrix, v))

    @torch.no_grad()
    def _singular(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return the estimated singular vectors; in training after one more power iteration."""
        u = functional.normalize(self.direction, dim=0)
        if self.training and not is_recomputing():
            u = functional.normalize(torch.mv(matrix, torch.mv(matrix.T, u)), dim=0)
            self.direction.copy_(u)
        return u.clone(), functional.normalize(torch.mv(matrix.T, u), dim=0)


class _Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (B, C, *space) with the effective weights."""
        own: Any = self
        run = functional.conv2d if x.ndim == 4 else functional.conv3d
        return run(x, own.effective(), own.bias, own.stride, own.padding, own.dilation, own.groups)


class _Transposed(nn.Module):
    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve `x` (B, C, *space), transposed, with the effective weights."""
        own: Any = self
        run = functional.conv_transpose2d if x.ndim == 4 else functional.conv_transpose3d
        how = (own.stride, own.padding, own.output_padding, own.groups, own.dilation)
        return run(x, own.effective(), own.bias, *how)


class _Standardised2(_Plain, Standardised, nn.Conv2d):
    pass


class _Standardised3(_Plain, Standardised, nn.Conv3d):
    pass


class _StandardisedUp2(_Transposed, Standardised, nn.ConvTranspose2d):
    pass


class _StandardisedUp3(_Transposed, Standardised, nn.ConvTranspose3d):
    pass


class _Spectral2(_Plain, SpectrallyNormed, nn.Conv2d):
    pass


class _Spectral3(_Plain, SpectrallyNormed, nn.Conv3d):
    pass


class _SpectralUp2(_Transposed, SpectrallyNormed, nn.ConvTranspose2d):
    pass


class _SpectralUp3(_Transposed, SpectrallyNormed, nn.ConvTranspose3d):
    pass


CONVOLUTIONS: dict[str, dict[int, Any]] = {
    "plain": {2: nn.Conv2d, 3: nn.Conv3d},
    "standardised": {2: _Standardised2, 3: _Standardised3},
    "spectral": {2: _Spectral2, 3: _Spectral3},
}
TRANSPOSED: dict[str, dict[int, Any]] = {
    "plain": {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d},
    "standardised": {2: _StandardisedUp2, 3: _StandardisedUp3},
    "spectral": {2: _SpectralUp2, 3: _SpectralUp3},
}


def check_weighting(weights: str) -> None:
    """Raise `BadInput` for an unknown way to normalise weights."""
    check_choice("weights", weights, WEIGHTINGS)


def effective_weight(module: Any) -> Tensor:
    """Return the weights that a convolution of any kind uses, detached."""
    weight: Tensor = module.effective() if isinstance(module, Reweighted) else module.weight
    return weight.detach()
