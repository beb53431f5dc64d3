"""Prepare a network for streaming: its layers, its folded weights, and where each layer works, shared by all streams.

A sweep starts a stream for every row of blocks. Tracing the layers and computing their places for each stream again
would take longer than computing a small block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint
from vol2vol.nets.demand import Site, Span, site, spans
from vol2vol.nets.footprint import footprint, lengths
from vol2vol.nets.norm import Frozen, tile_dependent
from vol2vol.nets.stream_layers import Conv, Crop, Join, Pad, Place, Pointwise, Transposed
from vol2vol.nets.trace import Layer, layers, leading
from vol2vol.nets.weights import Weights, is_shuffled

Step = Callable[[list[Tensor | None], bool], Tensor | None]
Value = TypeVar("Value")
MAX_CACHED = 256
"""Maximum number of cached places; a volume has a few kinds: its first, inner and last columns."""


class Streamable:
    """A frozen network, prepared for any number of streams, also in several threads.

    `dtype` is the arithmetic of the convolutions. With `until`, the output is that of the layer of this name.
    Raises `BadInput`, naming the layer, for a network whose output depends on the tile or that has a layer without a
    local geometry.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype | None = None, *, until: str | None = None) -> None:
        if dependent := tile_dependent(net):
            raise BadInput(
                f"layer {dependent[0]!r} normalises each tile by its own statistics and cannot be streamed: "
                "use `strategy` average, blend or disjoint, or a model with norm calibrated"
            )
        self.net: Any = net
        self.layers = layers(net) if until is None else leading(layers(net), until)
        self.dtype = dtype or next((p.dtype for p in net.parameters()), torch.float32)
        self._after: dict[str, Callable[[Tensor], Tensor]] = {}
        self._compiled = self._compile()
        self._known: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    @cached_property
    def footprint(self) -> Footprint:
        """The footprint of the network."""
        return footprint(self.net)

    def first_needed(self, axis: int, begin: int) -> dict[str, int]:
        """Return the first needed plane of each layer's output; of omitted layers all planes are needed.

        `begin` is the first requested plane of the network's output.
        """
        return self._cached(("first", axis, begin), lambda: self._first_needed(axis, begin))

    def places(self, axis: int, begin: int, window: tuple[Span | None, ...], size: tuple[int, ...]) -> dict[str, Place]:
        """Return the place of each needed layer, for planes of this size (the spatial axes except the swept one)."""
        return self._cached(
            ("places", axis, begin, window, size),
            lambda: self._places(axis, self.first_needed(axis, begin), window, size),
        )

    def _cached(self, key: Hashable, make: Callable[[], Value]) -> Value:
        with self._lock:
            if key in self._known:
                result: Value = self._known[key]
                return result
        value = make()
        with self._lock:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[key] = value
        return value

    def _first_needed(self, axis: int, begin: int) -> dict[str, int]:
        if begin == 0:
            return {}
        foot = self.footprint
        n = foot.admissible(begin + foot.minimum[axis] + foot.period[axis], axis, at_least=True)
        window = (begin, lengths(self.layers, n, axis)[self.layers[-1].name])
        return {name: low for name, (low, _) in spans(self.layers, n, axis, window).items()}

    def _places(
        self, axis: int, first: dict[str, int], window: Sequence[Span | None], size: Sequence[int]
    ) -> dict[str, Place]:
        sizes = list(size)
        sizes.insert(axis, 0)
        axes = [a for a in range(len(sizes)) if a != axis]
        needed = {a: spans(self.layers, sizes[a], a, window[a]) for a in axes}
        whole = {a: lengths(self.layers, sizes[a], a) for a in axes}
        read = tuple(Site((needed[a][self.layers[0].name],)) if a in axes else None for a in range(len(sizes)))
        places = {self.layers[0].name: Place(axis, read)}
        for layer in self.layers:
            if layer.kind != "input" and layer.name in needed[axes[0]]:
                sites = {a: site(layer, needed[a], a, whole[a][layer.inputs[0]]) for a in axes}
                where = tuple(sites.get(a) for a in range(len(sizes)))
                places[layer.name] = Place(axis, where, first.get(layer.name, 0))
        return places

    def step(self, layer: Layer, place: Place) -> Step:
        """Return a new step for a layer, in the state at the start of a stream."""
        weights = self._compiled.get(layer.name)
        if weights is not None and layer.kind == "conv":
            return Conv(layer, place, weights)
        if weights is not None:
            return Transposed(layer, place, weights, self._after.get(layer.name))
        if layer.kind in ("input", "output") or layer.name in self._compiled:
            return Pointwise(lambda x: x, place)
        if layer.kind in ("cat", "add"):
            return Join(layer, place)
        if layer.kind == "crop":
            return Crop(layer, place)
        if layer.kind == "pad":
            return Pad(layer, place)
        return Pointwise(self._activation(layer), place)

    def _compile(self) -> dict[str, Weights | None]:
        """Return the weights of every convolution, and None for each layer that is folded into a convolution."""
        readers: dict[str, list[Layer]] = {layer.name: [] for layer in self.layers}
        for layer in self.layers:
            for name in layer.inputs:
                readers[name].append(layer)
        compiled: dict[str, Weights | None] = {}
        for layer in self.layers:
            if layer.kind in ("conv", "transposed"):
                after = readers[layer.name]
                norm = after[0].module if len(after) == 1 and isinstance(after[0].module, Frozen) else None
                compiled[layer.name] = Weights.of(layer, norm, self.dtype)
                if norm is not None:
                    compiled[after[0].name] = None
                elif len(after) == 1 and isinstance(after[0].module, (nn.Tanh, nn.Sigmoid)) and is_shuffled(layer):
                    in_place = torch.tanh_ if isinstance(after[0].module, nn.Tanh) else torch.sigmoid_
                    self._after[layer.name] = self._at_least_float32(in_place)
                    compiled[after[0].name] = None
        return compiled

    def _activation(self, layer: Layer) -> Callable[[Tensor], Tensor]:
        """Return a pointwise layer as a function; final activations are computed in float32 at least."""
        module: Any = layer.module
        return self._at_least_float32(module) if isinstance(module, (nn.Tanh, nn.Sigmoid)) else module

    def _at_least_float32(self, run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return a function that computes in float32 at least."""
        return run if self.dtype == torch.float64 else lambda x: run(x.float())
