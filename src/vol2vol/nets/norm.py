"""Normalise by one layer for 2D and 3D, with or without a learnt affine; normalisation is the third cause of seams.

kind        trains on                        predicts on
tracked     instance statistics              running mean of instance statistics (the stitching paper's choice)
calibrated  instance statistics              exact total statistics of a calibration pass (`calibrate`)
instance    instance statistics              instance statistics: depends on the tile
batch       batch statistics                 running mean of batch statistics
renorm      batch statistics, corrected      running mean of batch statistics (batch renormalisation, Ioffe 2017)
group       statistics of groups of channels the same: depends on the tile
channel     each voxel's own channels        the same: a voxel at a time, whatever the tile
none        nothing                          nothing
frozen      -                                a fixed mean and variance per channel, in every mode (`variants.frozen`)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import gcd
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from vol2vol.errors import BadInput
from vol2vol.nets.arguments import check_choice

Kind = Literal["tracked", "calibrated", "instance", "batch", "renorm", "group", "channel", "none", "frozen"]
KINDS: tuple[str, ...] = get_args(Kind)
STATELESS = ("none", "channel")
"""Kinds without statistics over space: their output depends on no other voxel."""
TILEWISE = ("instance", "group")
"""Kinds without other statistics than the tile's."""
STORED = ("mean", "variance", "calibrated", "steps", "aside_mean", "aside_variance")
"""Names of all buffers of norms."""
EPSILON = 1e-5
MOMENTUM = 0.1
GROUPS = 8
"""Groups of kind group, fewer where they do not divide the channels."""

RENORM_MOMENTUM = 0.01
"""Weight of a step in the running statistics of kind renorm; earlier steps weigh alike until there are 100."""
R_LARGEST, D_LARGEST = 3.0, 5.0
"""Largest corrections of scale and of shift (Ioffe 2017)."""
R_STEPS, D_STEPS = (500, 4000), (500, 2500)
"""Steps between which the largest correction grows from none: a tenth of the paper's, whose runs were longer."""
Shown = Literal["own", "cycle", "identity"]
PASSES: tuple[str, ...] = get_args(Shown)
"""What a network of two domains is shown: its own domain, translations made to look like it, and the other domain."""

_pass: ContextVar[int] = ContextVar("pass", default=0)
_kept: ContextVar[dict[nn.Module, Any] | None] = ContextVar("kept", default=None)
_recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)


@contextmanager
def recomputing(kept: dict[nn.Module, Any] | None = None) -> Iterator[None]:
    """Mark a forward pass that only recomputes activations for a gradient and must not update statistics again.

    `kept` is what `keeping` yielded for the first pass.
    """
    tokens = _recomputing.set(True), _kept.set(kept)
    try:
        yield
    finally:
        _recomputing.reset(tokens[0])
        _kept.reset(tokens[1])


@contextmanager
def keeping(kept: dict[nn.Module, Any]) -> Iterator[None]:
    """Keep in `kept` what layers need to compute the same once more after their state has changed."""
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)


def once(module: nn.Module, compute: Any) -> Any:
    """Return what `compute` returns in a first pass, and the same values again where it is recomputed."""
    kept = _kept.get()
    if kept is not None and _recomputing.get() and module in kept:
        return kept[module]
    values = compute()
    if kept is not None:
        kept[module] = values
    return values


@contextmanager
def showing(what: Shown) -> Iterator[None]:
    """Mark what a network is shown in training; kind renorm keeps statistics of each, and predicts with its own."""
    token = _pass.set(PASSES.index(what))
    try:
        yield
    finally:
        _pass.reset(token)


def is_recomputing() -> bool:
    """Return whether activations are being recomputed for a gradient."""
    return _recomputing.get()


def normalisation(channels: int, kind: Kind, affine: bool = False) -> nn.Module:
    """Return the layer of this kind for tensors (B, channels, *space); raise `BadInput` for an unknown kind."""
    check_choice("norm", kind, KINDS)
    return Frozen(channels, affine) if kind == "frozen" else Norm(channels, kind, affine)


class _Affine(nn.Module):
    """A learnt scale and shift per channel, where there is one."""

    scale: nn.Parameter | None
    shift: nn.Parameter | None

    def __init__(self, channels: int, affine: bool) -> None:
        super().__init__()
        self.channels = channels
        self.scale = nn.Parameter(torch.ones(channels)) if affine else None
        self.shift = nn.Parameter(torch.zeros(channels)) if affine else None


class Norm(_Affine):
    """Normalise every channel of (B, C, *space); the kind and the mode decide by which statistics (table above)."""

    mean: Tensor
    variance: Tensor
    calibrated: Tensor
    steps: Tensor
    aside_mean: Tensor
    aside_variance: Tensor

    def __init__(self, channels: int, kind: Kind, affine: bool = False) -> None:
        super().__init__(channels, affine and kind != "none")
        if kind == "channel" and channels < 2:
            raise BadInput("norm 'channel' compares the channels of a voxel: use a width of at least 2")
        self.kind, self.name = kind, ""
        if kind in ("tracked", "calibrated", "batch", "renorm"):
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("variance", torch.ones(channels))
        if kind == "calibrated":
            self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))
        if kind == "renorm":
            self.register_buffer("steps", torch.zeros(len(PASSES), dtype=torch.int64))
            self.register_buffer("aside_mean", torch.zeros(len(PASSES) - 1, channels))
            self.register_buffer("aside_variance", torch.ones(len(PASSES) - 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised tensor; in training, also update running statistics, unless recomputing.

        Raises `BadInput`, naming the layer, where statistics would be those of a single value.
        """
        if self.kind == "none":
            return x
        if self.kind == "channel":
            return self._across_channels(x)
        if not self.training and self.stored:
            return functional.batch_norm(x, self.mean, self.variance, self.scale, self.shift, eps=EPSILON)
        self._check_values(x)
        if self.kind == "group":
            return functional.group_norm(x, gcd(GROUPS, self.channels), self.scale, self.shift, EPSILON)
        if self.kind == "renorm":
            return self._renormalised(x)
        running: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.training and self.kind in ("tracked", "batch"):
            running = (self.mean, self.variance)
            if _recomputing.get():  # autograd expects the same tensors to be saved as the first time
                running = (self.mean.clone(), self.variance.clone())
        how: dict[str, Any] = {"weight": self.scale, "bias": self.shift, "momentum": MOMENTUM, "eps": EPSILON}
        if self.kind == "batch":
            return functional.batch_norm(x, *running, training=True, **how)
        return functional.instance_norm(x, *running, **how)

    def _across_channels(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        y = (x - mean) * torch.rsqrt(variance + EPSILON)
        if self.scale is None or self.shift is None:
            return y
        space = (1, -1, *(1 for _ in x.shape[2:]))
        return y * self.scale.view(space) + self.shift.view(space)

    def _renormalised(self, x: Tensor) -> Tensor:
        """Normalise by the batch, then correct towards the running statistics of what is shown."""
        r, d = once(self, lambda: self._corrections(x.detach()))
        if self.scale is not None and self.shift is not None:
            r, d = r * self.scale, d * self.scale + self.shift
        return functional.batch_norm(x, None, None, r, d, training=True, eps=EPSILON)

    @torch.no_grad()
    def _corrections(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift per channel, and update the running statistics."""
        which = _pass.get()
        mean, variance = self.mean, self.variance
        if which:
            mean, variance = self.aside_mean[which - 1], self.aside_variance[which - 1]
        axes = [0, *range(2, x.ndim)]
        batch_variance, batch_mean = torch.var_mean(x.to(mean.dtype), axes, correction=0)
        steps = self.steps[which].to(mean.dtype)
        most_r = 1 + (R_LARGEST - 1) * _ramp(steps, R_STEPS)
        most_d = D_LARGEST * _ramp(steps, D_STEPS)
        spread = torch.sqrt(variance + EPSILON)
        r = torch.sqrt(batch_variance + EPSILON) / spread
        r = torch.minimum(torch.maximum(r, 1 / most_r), most_r)
        d = torch.minimum(torch.maximum((batch_mean - mean) / spread, -most_d), most_d)
        count = x.numel() // x.shape[1]
        weight = torch.clamp(1 / (steps + 1), min=RENORM_MOMENTUM)
        mean.lerp_(batch_mean, weight)
        variance.lerp_(batch_variance * (count / (count - 1)), weight)
        self.steps[which] += 1
        return r, d

    def _check_values(self, x: Tensor) -> None:
        values = x.numel() // self.channels
        if self.kind not in ("batch", "renorm"):
            values //= max(1, x.shape[0])
        if self.kind != "group" and values == 1:
            more = " or more of them at once (batch_size)" if self.kind in ("batch", "renorm") else ""
            raise BadInput(
                f"layer {self.name or 'norm'!r} (norm {self.kind!r}) would normalise a single value per channel: use "
                f"larger patches{more}, or norm 'none' or 'channel'"
            )

    @property
    def stored(self) -> bool:
        """Whether this layer has statistics for prediction that do not depend on the tile."""
        return self.kind in ("tracked", "batch", "renorm") or (self.kind == "calibrated" and bool(self.calibrated))

    def extra_repr(self) -> str:
        """Show channels and kind."""
        return f"{self.channels}, kind={self.kind!r}, affine={self.scale is not None}"


def _ramp(steps: Tensor, between: tuple[int, int]) -> Tensor:
    """Return 0 before the first of two steps, 1 after the second, and what lies on the line between."""
    return ((steps - between[0]) / (between[1] - between[0])).clamp(0, 1)


class Frozen(_Affine):
    """Normalise every channel by a fixed mean and variance: the same function in every mode and on every tile."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, affine: bool = False) -> None:
        super().__init__(channels, affine)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel; the output is `scale * x + shift`."""
        scale = torch.rsqrt(self.variance + EPSILON)
        if self.scale is None or self.shift is None:
            return scale, -self.mean * scale
        scale = scale * self.scale.detach()
        return scale, self.shift.detach() - self.mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Return `(x - mean) / sqrt(variance + 1e-5)`, times scale plus shift if learnt, for `x` (B, C, *space)."""
        return functional.batch_norm(x, self.mean, self.variance, self.scale, self.shift, eps=EPSILON)

    def extra_repr(self) -> str:
        """Show channels."""
        return f"{self.channels}, affine={self.scale is not None}"


def tile_dependent(net: nn.Module) -> list[str]:
    """Return the names of layers whose output, in prediction, depends on the tile: the third cause of seams.

    These are instance and group norms, batch norms without running statistics, torch's layer norms, and calibrated
    norms before calibration. A network that `frozen` returned has none.
    """
    return [name for name, module in net.named_modules() if _depends_on_tile(module)]


def _depends_on_tile(module: nn.Module) -> bool:
    if isinstance(module, Norm):
        return module.kind not in STATELESS and not module.stored
    if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d)):
        return not module.track_running_stats
    return isinstance(module, (nn.GroupNorm, nn.LayerNorm))
