"""Run a network plane by plane along one axis, keeping only the planes it still needs.

Built from the traced layers, so any network of local operations streams; nothing is written per network. Fed the planes
of an input in order, in portions of any length, a `Stream` returns the planes of the network's output, each computed
once:

    convolution             keeps the kernel - stride planes that the next output shares with the last
    transposed convolution  runs as a valid one on (planes it shares with the past + new planes)
    skip                    waits in a queue until the decoder has caught up
    crop, padding           hold back, or mirror, the planes at both ends

Memory is that of a few planes per layer, whatever the length of the axis (depth-first execution, Alwani et al. 2016).
The stream is also the fast form of the network: normalisation is folded into the convolutions, channels lie last, and
the arithmetic may be half precision; the network itself is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.demand import Site, Span, site, spans
from vol2vol.nets.footprint import footprint, lengths
from vol2vol.nets.norm import Frozen, tile_dependent
from vol2vol.nets.planes import blank
from vol2vol.nets.steps import Conv, Crop, Join, Pad, Place, Pointwise, Transposed
from vol2vol.nets.trace import Layer, layers
from vol2vol.nets.weights import Weights, channels_last, is_shuffled

Step = Callable[[list[Tensor | None], bool], Tensor | None]


class Stream:
    """A frozen network fed along one spatial axis (0 is the first of the network's axes).

    The other axes see the whole extent of what is fed, with the network's own padding there; `window` says which part
    of the output is wanted on them (one span per axis of the network, None for all; the swept axis must be None), and
    what it does not need is not computed. `begin` is the first plane wanted of the output: those before it come out as
    zeros, and what only they need is not computed either. `dtype` is the arithmetic of the convolutions; the final
    activation is float32. Raises `BadInput`, naming the layer, for a network whose output depends on the tile or that
    has a layer without a local geometry.
    """

    def __init__(
        self,
        net: nn.Module,
        axis: int = 0,
        *,
        window: Sequence[Span | None] | None = None,
        begin: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        if dependent := tile_dependent(net):
            raise BadInput(
                f"layer {dependent[0]!r} normalises each tile by its own statistics and cannot be streamed: "
                "use --strategy average, blend or disjoint, or a model with norm calibrated"
            )
        self._layers, self._net = layers(net), net
        self._dtype = dtype or next((p.dtype for p in net.parameters()), torch.float32)
        self._axis = axis
        dims: Any = net.dims
        self._window = tuple(window) if window is not None else (None,) * dims
        self._first = self._needed_from(begin)
        self._after: dict[str, Callable[[Tensor], Tensor]] = {}
        self._compiled = self._compile()
        self._places: dict[str, Place] = {}
        self._size: tuple[int, ...] = ()
        self._steps: dict[str, Step] = {}
        self._fed = 0

    @torch.inference_mode()
    def push(self, planes: Tensor) -> Tensor | None:
        """Feed the next planes (B, C, *space) and return the output planes that became computable, if any."""
        size = tuple(n for a, n in enumerate(planes.shape[2:]) if a != self._axis)
        if not self._steps:
            self._begin(size)
        assert size == self._size, f"planes of {size} after planes of {self._size}"
        self._fed += planes.shape[self._axis + 2]
        return self._run(self._prepared(planes), last=False)

    @torch.inference_mode()
    def finish(self) -> Tensor | None:
        """Return the planes that only the end of the input makes computable, if any, and be ready for a new input."""
        made = self._run(None, last=True) if self._steps else None
        self.reset()
        return made

    @torch.inference_mode()
    def whole(self, planes: Tensor) -> Tensor:
        """Return the output for one whole input, each layer in one call; the stream must be at its beginning."""
        assert not self._steps, "the stream is under way"
        self._begin(tuple(n for a, n in enumerate(planes.shape[2:]) if a != self._axis))
        self._fed = planes.shape[self._axis + 2]
        try:
            made = self._run(self._prepared(planes), last=True)
        finally:
            self.reset()
        assert made is not None, "the input is too small for the network"
        return made

    def _prepared(self, planes: Tensor) -> Tensor:
        if self._fed <= self.unread:
            return blank(planes.shape, planes.new_empty(0, dtype=self._dtype))
        return channels_last(planes.to(self._dtype))

    def reset(self) -> None:
        """Forget all planes; the next one pushed is the first of a new input."""
        self._steps, self._fed = {}, 0

    @property
    def unread(self) -> int:
        """How many planes at the start of the input nothing depends on."""
        return self._first.get(self._layers[0].name, 0)

    @property
    def held(self) -> int:
        """Bytes of the planes that wait."""
        queues = [getattr(step, "planes", None) for step in self._steps.values()]
        queues += [queue for step in self._steps.values() for queue in getattr(step, "waiting", ())]
        return sum(queue.bytes for queue in queues if queue is not None)

    def _needed_from(self, begin: int) -> dict[str, int]:
        """Return the first plane needed of each layer's output, those left out needing all."""
        if begin == 0:
            return {}
        foot: Any = footprint(self._net)
        n = foot.admissible(begin + foot.minimum[self._axis] + foot.period[self._axis], self._axis, at_least=True)
        window = (begin, lengths(self._layers, n, self._axis)[self._layers[-1].name])
        return {name: low for name, (low, _) in spans(self._layers, n, self._axis, window).items()}

    def _compile(self) -> dict[str, Weights | None]:
        """Return every convolution's weights, and None for each layer that is done with one of them."""
        readers: dict[str, list[Layer]] = {layer.name: [] for layer in self._layers}
        for layer in self._layers:
            for name in layer.inputs:
                readers[name].append(layer)
        compiled: dict[str, Weights | None] = {}
        for layer in self._layers:
            if layer.kind in ("conv", "transposed"):
                after = readers[layer.name]
                norm = after[0].module if len(after) == 1 and isinstance(after[0].module, Frozen) else None
                compiled[layer.name] = Weights.of(layer, norm, self._dtype)
                if norm is not None:
                    compiled[after[0].name] = None
                elif len(after) == 1 and isinstance(after[0].module, (nn.Tanh, nn.Sigmoid)) and is_shuffled(layer):
                    in_place = torch.tanh_ if isinstance(after[0].module, nn.Tanh) else torch.sigmoid_
                    self._after[layer.name] = self._ranged(in_place)
                    compiled[after[0].name] = None
        return compiled

    def _activation(self, layer: Layer) -> Callable[[Tensor], Tensor]:
        """Return a pointwise layer; the last, whose range is that of the result, is float32 at least."""
        module: Any = layer.module
        return self._ranged(module) if isinstance(module, (nn.Tanh, nn.Sigmoid)) else module

    def _ranged(self, run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return a function that is computed in float32 at least."""
        return run if self._dtype == torch.float64 else lambda x: run(x.float())

    def _begin(self, size: tuple[int, ...]) -> None:
        """Lay out the steps for planes of this size; the layout is kept for the next input of the same size."""
        if size != self._size:
            self._size, self._places = size, self._lay_out(size)
        self._steps = {name: self._step(layer, self._places[name]) for name, layer in self._needed().items()}

    def _needed(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self._layers if layer.name in self._places}

    def _lay_out(self, size: tuple[int, ...]) -> dict[str, Place]:
        sizes = list(size)
        sizes.insert(self._axis, 0)
        axes = [a for a in range(len(sizes)) if a != self._axis]
        needed = {a: spans(self._layers, sizes[a], a, self._window[a]) for a in axes}
        whole = {a: lengths(self._layers, sizes[a], a) for a in axes}
        places = {}
        for layer in self._layers:
            if layer.kind != "input" and layer.name in needed[axes[0]]:
                sites = {a: site(layer, needed[a], a, whole[a][layer.inputs[0]]) for a in axes}
                where = tuple(sites.get(a) for a in range(len(sizes)))
                places[layer.name] = Place(self._axis, where, self._first.get(layer.name, 0))
        given = tuple(Site((needed[a][self._layers[0].name],)) if a in axes else None for a in range(len(sizes)))
        return {self._layers[0].name: Place(self._axis, given), **places}

    def _step(self, layer: Layer, place: Place) -> Step:
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

    def _run(self, planes: Tensor | None, *, last: bool) -> Tensor | None:
        made: dict[str, Tensor | None] = {}
        active = self._needed()
        unread = dict.fromkeys(active, 0)
        for layer in active.values():
            for name in layer.inputs:
                unread[name] += 1
        for layer in active.values():
            inputs = [planes] if layer.kind == "input" else [made[name] for name in layer.inputs]
            made[layer.name] = self._steps[layer.name](inputs, last)
            for name in layer.inputs:
                unread[name] -= 1
                if not unread[name]:
                    made[name] = None
        return made[self._layers[-1].name]
