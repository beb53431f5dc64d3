"""Normalise without learnt scale, by one layer for 2D and 3D; normalisation is the third cause of seams.

kind        trains on             predicts on
tracked     instance statistics   running mean of instance statistics (the paper's choice)
calibrated  instance statistics   exact total statistics of a calibration pass (`calibrate`)
instance    instance statistics   instance statistics: depends on the tile
batch       batch statistics      running mean of batch statistics
none        nothing               nothing
frozen      -                     a fixed mean and variance per channel, whatever the mode (`variants.frozen`)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from vol2vol.nets.arguments import check_choice

Kind = Literal["tracked", "calibrated", "instance", "batch", "none", "frozen"]
KINDS: tuple[str, ...] = get_args(Kind)
EPSILON = 1e-5
MOMENTUM = 0.1

_recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)


@contextmanager
def recomputing() -> Iterator[None]:
    """Mark a forward pass that only recomputes activations for a gradient and must not update statistics again."""
    token = _recomputing.set(True)
    try:
        yield
    finally:
        _recomputing.reset(token)


def normalisation(channels: int, kind: Kind) -> nn.Module:
    """Return the layer of this kind for tensors (B, channels, *space); raise `BadInput` for an unknown kind."""
    check_choice("norm", kind, KINDS)
    return Frozen(channels) if kind == "frozen" else Norm(channels, kind)


class Norm(nn.Module):
    """Normalise every channel of (B, C, *space); the kind and the mode decide by which statistics (table above)."""

    mean: Tensor
    variance: Tensor
    calibrated: Tensor

    def __init__(self, channels: int, kind: Kind) -> None:
        super().__init__()
        self.channels, self.kind = channels, kind
        if kind in ("tracked", "calibrated", "batch"):
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("variance", torch.ones(channels))
        if kind == "calibrated":
            self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised tensor; in training, also update running statistics, unless recomputing."""
        if self.kind == "none":
            return x
        if not self.training and self.stored:
            return functional.batch_norm(x, self.mean, self.variance, eps=EPSILON)
        running: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.training and self.kind in ("tracked", "batch"):
            running = (self.mean, self.variance)
            if _recomputing.get():  # autograd expects the same tensors to be saved as the first time
                running = (self.mean.clone(), self.variance.clone())
        if self.kind == "batch":
            return functional.batch_norm(x, *running, training=True, momentum=MOMENTUM, eps=EPSILON)
        return functional.instance_norm(x, *running, momentum=MOMENTUM, eps=EPSILON)

    @property
    def stored(self) -> bool:
        """Whether this layer has statistics for prediction that do not depend on the tile."""
        return self.kind in ("tracked", "batch") or (self.kind == "calibrated" and bool(self.calibrated))

    def extra_repr(self) -> str:
        """Show channels and kind."""
        return f"{self.channels}, kind={self.kind!r}"


class Frozen(nn.Module):
    """Normalise every channel by a fixed mean and variance: the same function in every mode and on every tile."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel; the output is `scale * x + shift`."""
        scale = torch.rsqrt(self.variance + EPSILON)
        return scale, -self.mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Return `(x - mean) / sqrt(variance + 1e-5)` for `x` (B, C, *space)."""
        return functional.batch_norm(x, self.mean, self.variance, eps=EPSILON)

    def extra_repr(self) -> str:
        """Show channels."""
        return f"{self.channels}"


def tile_dependent(net: nn.Module) -> list[str]:
    """Return the names of layers whose output, in prediction, depends on the tile: the third cause of seams.

    These are instance norms, batch norms without running statistics, group and layer norms, and calibrated norms
    before calibration. A network that `frozen` returned has none.
    """
    return [name for name, module in net.named_modules() if _depends_on_tile(module)]


def _depends_on_tile(module: nn.Module) -> bool:
    if isinstance(module, Norm):
        return module.kind != "none" and not module.stored
    if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d)):
        return not module.track_running_stats
    return isinstance(module, (nn.GroupNorm, nn.LayerNorm))
