"""Calibrate norms after training: store the total mean and variance of a domain in every `calibrated` norm.

Running averages of instance statistics depend on the last few patches, whatever their domain, and lack the variance
between patches. Calibration stores E[h] and E[h^2] - E[h]^2 over all calibration patches of one domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

import torch
from torch import Tensor, nn

from vol2vol.nets.arguments import check_choice
from vol2vol.nets.channels import repeated
from vol2vol.nets.footprint import Extent, extents
from vol2vol.nets.moments import Moments
from vol2vol.nets.norm import Norm
from vol2vol.nets.trace import Layer, layers

Passes = Literal["exact", "single"]


class _LastLayerReached(Exception):
    """The last layer to measure was reached; the rest of the network need not run."""


@torch.no_grad()
def calibrate(net: nn.Module, batches: Iterable[Tensor], *, passes: Passes = "exact") -> None:
    """Store the statistics of these batches (B, C, *space), in the network's range, in every `calibrated` norm.

    "exact" iterates over the batches once per norm, each time up to that norm, so that it is measured after the final
    statistics of all norms before it; in prediction, the calibration patches then have exactly mean 0 and variance 1.
    Batches must be iterable several times; an iterator is converted to a list. "single" iterates once, with instance
    statistics in the norms before: cheaper, but approximate. Sums are in float64, over the voxels whose context lies
    inside the patch, or over all voxels of patches that are too small. Networks without calibrated norms do not
    change. Raises `BadInput` for no batches, non-finite values, and sizes that the network does not admit.
    """
    check_choice("passes", passes, ("exact", "single"))
    records = layers(net)
    norms = [layer for layer in records if isinstance(layer.module, Norm) and layer.module.kind == "calibrated"]
    if not norms:
        return
    patches = list(batches) if isinstance(batches, Iterator) else batches
    for layer in norms:
        layer.module.calibrated.fill_(False)  # type: ignore[union-attr, operator]
    training = net.training
    net.eval()
    try:
        for measured in [[layer] for layer in norms] if passes == "exact" else [norms]:
            _measure(net, records, measured, patches)
    finally:
        net.train(training)


def _measure(net: nn.Module, records: Sequence[Layer], measured: list[Layer], batches: Iterable[Tensor]) -> None:
    """Iterate over the batches once and store the statistics of these layers."""
    sums = {layer.name: Moments() for layer in measured}
    weight = next(net.parameters())
    for batch in batches:
        inside = extents(records, batch.shape[2:])
        with suppress(_LastLayerReached), _hooks(measured, sums, inside):
            net(repeated(batch, net.in_channels).to(weight.device, weight.dtype))  # type: ignore[arg-type]
    for layer in measured:
        assert isinstance(layer.module, Norm)
        mean, variance = sums[layer.name].totals(layer.name)
        layer.module.mean.copy_(mean)
        layer.module.variance.copy_(variance)
        layer.module.calibrated.fill_(True)


@contextmanager
def _hooks(measured: list[Layer], sums: dict[str, Moments], inside: dict[str, tuple[Extent, ...]]) -> Iterator[None]:
    """Add the inputs of these layers to their sums while the network runs; stop at the last layer."""

    def add_hook(layer: Layer) -> torch.utils.hooks.RemovableHandle:
        certain = [slice(e.start, e.stop) if e.start < e.stop else slice(None) for e in inside[layer.inputs[0]]]

        def hook(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            sums[layer.name].add(inputs[0][(..., *certain)])
            if layer is measured[-1]:
                raise _LastLayerReached

        assert layer.module is not None
        return layer.module.register_forward_pre_hook(hook)

    handles = [add_hook(layer) for layer in measured]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
