"""Give `calibrated` norms the statistics of a domain, once, after training: total mean and total variance.

Running averages of instance statistics remember the last few patches, whatever domain they came from, and forget the
variance between patches. Here every layer gets E[h] and E[h^2] - E[h]^2 over all calibration patches together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.arguments import check_choice
from vol2vol.nets.footprint import Extent, extents
from vol2vol.nets.norm import Norm
from vol2vol.nets.trace import Layer, layers

Passes = Literal["exact", "single"]


class _Enough(Exception):
    """The layer to be measured has been reached: the rest of the network need not run."""


@torch.no_grad()
def calibrate(net: nn.Module, batches: Iterable[Tensor], *, passes: Passes = "exact") -> None:
    """Store the statistics of these batches (B, C, *space), in the network's range, in every `calibrated` norm.

    "exact" goes through the batches once per layer, each time up to that layer, so that a layer is measured behind
    the final statistics of those before it: on the calibration patches the prediction then sees exactly mean 0 and
    variance 1. Give it a list, or anything that can be iterated again; an iterator is held as a list. "single" goes
    through them once, with instance statistics upstream: cheaper, approximate. Sums are in float64, over the voxels
    whose context lies inside the patch, or over all of them where a patch is too small to have any. Networks without
    calibrated norms are left as they are. Raises `BadInput` for no or non-finite data and for sizes that do not fit.
    """
    check_choice("passes", passes, ("exact", "single"))
    records = layers(net)
    norms = [layer for layer in records if isinstance(layer.module, Norm) and layer.module.kind == "calibrated"]
    if not norms:
        return
    again = list(batches) if isinstance(batches, Iterator) else batches
    for layer in norms:
        layer.module.calibrated.fill_(False)  # type: ignore[union-attr, operator]
    training = net.training
    net.eval()
    try:
        for measured in [[layer] for layer in norms] if passes == "exact" else [norms]:
            _measure(net, records, measured, again)
    finally:
        net.train(training)


def _measure(net: nn.Module, records: Sequence[Layer], measured: list[Layer], batches: Iterable[Tensor]) -> None:
    """Go through the batches once and store the statistics of these layers."""
    sums = {layer.name: _Moments() for layer in measured}
    weight = next(net.parameters())
    for batch in batches:
        inside = extents(records, batch.shape[2:])
        with suppress(_Enough), _listening(measured, sums, inside):
            net(batch.to(weight.device, weight.dtype))
    for layer in measured:
        assert isinstance(layer.module, Norm)
        mean, variance = sums[layer.name].totals(layer.name)
        layer.module.mean.copy_(mean)
        layer.module.variance.copy_(variance)
        layer.module.calibrated.fill_(True)


class _Moments:
    """Sums over voxels, per channel."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Count the voxels of (B, C, *space)."""
        values = x.double().transpose(0, 1).flatten(1)
        self.count += values.shape[1]
        self.first = self.first.to(values) + values.sum(1)
        self.second = self.second.to(values) + (values * values).sum(1)

    def totals(self, name: str) -> tuple[Tensor, Tensor]:
        """Return mean and variance per channel."""
        if self.count == 0:
            raise BadInput("no patches to calibrate with: give at least one batch")
        mean = self.first / self.count
        variance = (self.second / self.count - mean**2).clamp_min(0)
        if not torch.isfinite(mean + variance).all():
            raise BadInput(f"layer {name!r} sees values that are not finite: look for NaN in the calibration patches")
        return mean, variance


@contextmanager
def _listening(
    measured: list[Layer], sums: dict[str, _Moments], inside: dict[str, tuple[Extent, ...]]
) -> Iterator[None]:
    """Add what these layers receive to their sums while the network runs; stop at the last of them."""

    def listen(layer: Layer) -> torch.utils.hooks.RemovableHandle:
        certain = [slice(e.start, e.stop) if e.start < e.stop else slice(None) for e in inside[layer.inputs[0]]]

        def hook(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            sums[layer.name].add(inputs[0][(..., *certain)])
            if layer is measured[-1]:
                raise _Enough

        assert layer.module is not None
        return layer.module.register_forward_pre_hook(hook)

    handles = [listen(layer) for layer in measured]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
