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

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.norm import Frozen, tile_dependent
from vol2vol.nets.steps import CHANNELS_LAST, Conv, Crop, Join, Pad, Transposed, Weights
from vol2vol.nets.trace import Layer, layers

Step = Callable[[list[Tensor | None], bool], Tensor | None]


class Stream:
    """A frozen network fed along one spatial axis (0 is the first of the network's axes).

    The other axes see the whole extent of what is fed, with the network's own padding there. `dtype` is the arithmetic
    of the convolutions; the final activation is float32. Raises `BadInput`, naming the layer, for a network whose
    output depends on the tile or that has a layer without a local geometry.
    """

    def __init__(self, net: nn.Module, axis: int = 0, *, dtype: torch.dtype | None = None) -> None:
        if dependent := tile_dependent(net):
            raise BadInput(
                f"layer {dependent[0]!r} normalises each tile by its own statistics and cannot be streamed: "
                "use --strategy average, blend or disjoint, or a model with norm calibrated"
            )
        self._layers = layers(net)
        self._dtype = dtype or next(net.parameters()).dtype
        self._axis = axis
        self._compiled = self._compile()
        self.reset()

    def reset(self) -> None:
        """Forget all planes; the next one pushed is the first of a new input."""
        self._steps = {layer.name: self._step(layer) for layer in self._layers}

    @torch.inference_mode()
    def push(self, planes: Tensor) -> Tensor | None:
        """Feed the next planes (B, C, *space) and return the output planes that became computable, if any."""
        layout = CHANNELS_LAST[planes.ndim - 2]
        return self._run(planes.to(self._dtype).contiguous(memory_format=layout), last=False)

    @torch.inference_mode()
    def finish(self) -> Tensor | None:
        """Return the planes that only the end of the input makes computable, if any, and be ready for a new input."""
        made = self._run(None, last=True)
        self.reset()
        return made

    @property
    def held(self) -> int:
        """Bytes of the planes that wait."""
        queues = [getattr(step, "planes", None) for step in self._steps.values()]
        queues += [q for step in self._steps.values() for q in getattr(step, "waiting", ())]
        return sum(queue.bytes for queue in queues if queue is not None)

    def _compile(self) -> dict[str, Weights | None]:
        """Return every convolution's weights, and None for each normalisation that was folded into them."""
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
        return compiled

    def _step(self, layer: Layer) -> Step:
        weights = self._compiled.get(layer.name)
        if weights is not None:
            return (Conv if layer.kind == "conv" else Transposed)(layer, self._axis, weights)
        if layer.kind in ("input", "output") or layer.name in self._compiled:
            return lambda inputs, last: inputs[0]
        if layer.kind in ("cat", "add"):
            return Join(layer, self._axis)
        if layer.kind == "crop":
            return Crop(layer, self._axis)
        if layer.kind == "pad":
            return Pad(layer, self._axis)
        module: Any = layer.module
        if isinstance(module, (nn.Tanh, nn.Sigmoid)) and self._dtype != torch.float64:
            return lambda inputs, last: None if inputs[0] is None else module(inputs[0].float())
        return lambda inputs, last: None if inputs[0] is None else module(inputs[0])

    def _run(self, planes: Tensor | None, *, last: bool) -> Tensor | None:
        made: dict[str, Tensor | None] = {}
        unread = {layer.name: 0 for layer in self._layers}
        for layer in self._layers:
            for name in layer.inputs:
                unread[name] += 1
        for layer in self._layers:
            inputs = [planes] if layer.kind == "input" else [made[name] for name in layer.inputs]
            made[layer.name] = self._steps[layer.name](inputs, last)
            for name in layer.inputs:
                unread[name] -= 1
                if not unread[name]:
                    made[name] = None
        return made[self._layers[-1].name]
