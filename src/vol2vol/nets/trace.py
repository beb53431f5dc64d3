"""Trace a network: return its layers as plain records, in the order in which they run, without running it.

Footprint, cost, certain regions and streaming are computed from these records, so a network never declares its
geometry.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx, nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.nets.layer_types import POINTWISE, Blur, Crop, Pad
from vol2vol.nets.norm import Frozen, Norm
from vol2vol.nets.weighting import Reweighted

LayerKind = Literal[
    "input", "conv", "transposed", "upsample", "crop", "pad", "cat", "add", "norm", "activation", "output"
]

_CONVS = (nn.Conv2d, nn.Conv3d, Blur)
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    Norm, Frozen, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm
)  # fmt: skip
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU, nn.SiLU, nn.Identity, *POINTWISE)
_FUNCTIONS: dict[Callable[..., Any], LayerKind] = {torch.cat: "cat", operator.add: "add", torch.add: "add"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step of a network; spatial fields have one entry per axis and are empty where they do not apply."""

    name: str
    """Path of the module in the network, or a name for the input, a join or the output."""
    kind: LayerKind
    inputs: tuple[str, ...]
    """Names of the layers whose outputs it reads."""
    channels: int
    """Number of channels of its output."""
    module: nn.Module | None = None
    kernel: Shape = ()
    """Extent of a (transposed) convolution, dilation included."""
    stride: Shape = ()
    """Step of a convolution; factor of a transposed convolution or an upsampling."""
    padding: Shape = ()
    """Zeros added at both ends of a convolution's input, or voxels cut off both ends of a transposed one's output."""
    output_padding: Shape = ()
    """Voxels by which the output of a transposed convolution is longer at its end."""
    before: Shape = ()
    """Voxels cropped or padded at the start."""
    after: Shape = ()
    """Voxels cropped or padded at the end."""


def layers(net: nn.Module) -> list[Layer]:
    """Return the layers of a network with `.dims` and `.in_channels`, in the order they run.

    Raises `BadInput`, naming the layer, where its geometry is not one of the plain kinds.
    """
    graph = _Tracer().trace(net)
    records: dict[str, Layer] = {}
    names: dict[fx.Node, str] = {}
    for node in graph.nodes:
        inputs = tuple(names[i] for i in node.all_input_nodes)
        layer = _record(net, node, inputs, [records[name].channels for name in inputs])
        if layer.name in records:
            raise BadInput(f"layer {layer.name!r} runs twice: give each step a module of its own")
        names[node], records[layer.name] = layer.name, layer
    return list(records.values())


def leading(records: Sequence[Layer], name: str) -> list[Layer]:
    """Return the layers on which the output of one layer depends, that layer included, and an output after it."""
    by_name = {layer.name: layer for layer in records}
    needed, pending = set[str](), [name]
    while pending:
        current = pending.pop()
        if current not in needed:
            needed.add(current)
            pending += by_name[current].inputs
    output = Layer(name="output", kind="output", inputs=(name,), channels=by_name[name].channels)
    return [*(layer for layer in records if layer.name in needed), output]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, (Blur, Crop, Pad, Norm, Frozen, Reweighted, *POINTWISE))
        return leaf or super().is_leaf_module(m, module_qualified_name)


def _record(net: Any, node: fx.Node, inputs: tuple[str, ...], channels: list[int]) -> Layer:
    if node.op == "placeholder":
        return Layer(name=node.name, kind="input", inputs=(), channels=net.in_channels)
    if node.op == "output":
        return Layer(name=node.name, kind="output", inputs=inputs, channels=channels[0])
    if node.op == "call_function" and node.target in _FUNCTIONS:
        kind = _FUNCTIONS[node.target]
        if kind == "cat" and 1 not in (*node.args[1:], node.kwargs.get("dim")):
            raise BadInput(f"layer {node.name!r} joins along another axis than the channels: join along dim=1")
        return Layer(name=node.name, kind=kind, inputs=inputs, channels=sum(channels) if kind == "cat" else channels[0])
    if node.op == "call_module":
        name = str(node.target)
        return _module_record(name, net.get_submodule(name), inputs, channels[0], net.dims)
    raise BadInput(
        f"layer {node.name!r} ({node.op} {node.target}) has no plain geometry: build it from vol2vol.nets.layer_types"
    )


def _module_record(name: str, module: nn.Module, inputs: tuple[str, ...], channels: int, dims: int) -> Layer:
    if isinstance(module, _CONVS + _TRANSPOSED) and not isinstance(module.padding, str):
        extent = tuple(d * (k - 1) + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True))
        return Layer(
            name=name,
            kind="conv" if isinstance(module, _CONVS) else "transposed",
            inputs=inputs,
            channels=module.out_channels,
            module=module,
            kernel=extent,
            stride=tuple(module.stride),
            padding=tuple(module.padding),
            output_padding=tuple(module.output_padding),
        )
    if isinstance(module, (Crop, Pad)):
        kind: LayerKind = "crop" if isinstance(module, Crop) else "pad"
        return Layer(
            name=name, kind=kind, inputs=inputs, channels=channels, module=module,
            before=module.before, after=module.after,
        )  # fmt: skip
    if isinstance(module, nn.Upsample) and module.mode == "nearest" and module.scale_factor is not None:
        factor: Any = module.scale_factor
        factors = factor if isinstance(factor, tuple) else (factor,) * dims
        if all(f == int(f) for f in factors):
            stride = tuple(int(f) for f in factors)
            return Layer(name=name, kind="upsample", inputs=inputs, channels=channels, module=module, stride=stride)
    if isinstance(module, _NORMS + _ACTIVATIONS):
        kind = "norm" if isinstance(module, _NORMS) else "activation"
        return Layer(name=name, kind=kind, inputs=inputs, channels=channels, module=module)
    raise BadInput(
        f"layer {name!r} ({type(module).__name__}) has no plain geometry: build it from vol2vol.nets.layer_types"
    )
