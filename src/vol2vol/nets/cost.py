"""Compute the operations and the memory of a network for an input of a given size, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import nn

from vol2vol.nets.footprint import extents
from vol2vol.nets.norm import Norm
from vol2vol.nets.trace import Layer, layers


def flops(net: nn.Module, size: Sequence[int]) -> int:
    """Return the floating-point operations of all convolutions for one input of this size; a multiply-add counts two.

    `size` has the spatial axes only. The count equals that of `torch.utils.flop_counter`. Raises `BadInput` for sizes
    that the network does not admit.
    """
    records = layers(net)
    voxels = _voxels(records, size)
    total = 0
    for layer in records:
        if layer.kind in ("conv", "transposed"):
            module: Any = layer.module
            total += 2 * voxels[layer.name if layer.kind == "conv" else layer.inputs[0]] * module.weight.numel()
    return total


def peak_memory(net: nn.Module, size: Sequence[int], *, bytes_per_value: int = 4, workspace: bool = True) -> int:
    """Estimate the peak memory, in bytes, of predicting one input of this spatial size, without the weights.

    Every tensor is held from the layer that computes it to the last layer that reads it, the input to the end. Without
    `workspace` the sum is what torch allocates for tensors. `workspace` adds copies of input and output of the running
    convolution, which kernels convert to a layout of their own. Resident memory was measured at 0.9 to 1.8 times this
    estimate (CPU, float32, one thread; the high end in 2D, where kernels keep their workspace). Raises `BadInput` for
    sizes that the network does not admit.
    """
    records = layers(net)
    voxels = _voxels(records, size)
    values = {layer.name: voxels[layer.name] * layer.channels for layer in records}
    storage, last = _storages(records)
    alive: dict[str, int] = {}
    peak = 0
    for step, layer in enumerate(records):
        if storage[layer.name] == layer.name:
            alive[layer.name] = values[layer.name]
        reordered = workspace and layer.kind in ("conv", "transposed")
        extra = values[layer.inputs[0]] + values[layer.name] if reordered else 0
        peak = max(peak, sum(alive.values()) + extra)
        alive = {name: count for name, count in alive.items() if last[name] > step}
    return peak * bytes_per_value


def _voxels(records: Sequence[Layer], size: Sequence[int]) -> dict[str, int]:
    by_layer = extents(records, size)
    return {name: prod(extent.length for extent in axes) for name, axes in by_layer.items()}


def _storages(records: Sequence[Layer]) -> tuple[dict[str, str], dict[str, int]]:
    """Return the layer in whose memory each output lies, and the step after which that memory is free."""
    storage: dict[str, str] = {}
    last: dict[str, int] = {}
    for step, layer in enumerate(records):
        storage[layer.name] = storage[layer.inputs[0]] if _shares(layer) else layer.name
        for name in (*layer.inputs, layer.name):
            last[storage[name]] = step
    for held_by_the_caller in (records[0], records[-1]):
        last[storage[held_by_the_caller.name]] = len(records)
    return storage, last


def _shares(layer: Layer) -> bool:
    """Return whether a layer's output lies in the memory of its input."""
    if layer.kind in ("crop", "output") or getattr(layer.module, "inplace", False):
        return True
    return isinstance(layer.module, nn.Identity) or (isinstance(layer.module, Norm) and layer.module.kind == "none")
