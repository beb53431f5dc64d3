"""Run a network plane by plane along one axis, keeping only the planes it still needs.

A stream is built from the traced layers, so any network of local operations can be streamed without code of its own.
Given the planes of an input in order, any number at a time, a `Stream` returns the planes of the network's output, each
computed once:

    convolution             keeps the kernel - stride planes that the next output shares with the last
    transposed convolution  runs as a valid one on the planes shared with the previous call and the new planes
    skip                    waits in a queue until the decoder has computed the same planes
    crop, padding           drop, or mirror, the planes at both ends

Memory is that of a few planes per layer, whatever the length of the axis (depth-first execution, Alwani et al. 2016).
A stream is also faster than the network: normalisation is folded into the convolutions, memory is channels-last, and
the arithmetic may be half precision. The network itself does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.nets.demand import Span
from vol2vol.nets.plane_queue import blank
from vol2vol.nets.stream_layers import Place
from vol2vol.nets.streamable import Step, Streamable
from vol2vol.nets.trace import Layer
from vol2vol.nets.weights import channels_last


class Stream:
    """A frozen network fed along one spatial axis (0 is the first of the network's axes).

    On the other axes the whole input is processed, with the network's own padding. `window` is the requested part of
    the output on these axes (one span per axis of the network, None for all; None for the swept axis), and `begin` is
    the first requested plane: earlier planes are returned as zeros, and whatever the requested part does not depend on
    is not computed. `dtype` is the arithmetic of the convolutions; the final activation is float32. For many streams
    of one network, create its `Streamable` once. Raises `BadInput`, naming the layer, for a network whose output
    depends on the tile or that has a layer without a local geometry.
    """

    def __init__(
        self,
        net: nn.Module | Streamable,
        axis: int = 0,
        *,
        window: Sequence[Span | None] | None = None,
        begin: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._shared = shared = net if isinstance(net, Streamable) else Streamable(net, dtype)
        self._layers, self._dtype = shared.layers, shared.dtype
        self._axis, self._begin_at = axis, begin
        dims: Any = shared.net.dims
        self._window = tuple(window) if window is not None else (None,) * dims
        self._first = shared.first_needed(axis, begin)
        self._places: dict[str, Place] = {}
        self._size: tuple[int, ...] = ()
        self._steps: dict[str, Step] = {}
        self._received = 0

    @torch.inference_mode()
    def push(self, planes: Tensor) -> Tensor | None:
        """Process the next planes (B, C, *space) and return the output planes (B, C, *space) they complete, or None."""
        size = tuple(n for a, n in enumerate(planes.shape[2:]) if a != self._axis)
        if not self._steps:
            self._begin(size)
        assert size == self._size, f"planes of {size} after planes of {self._size}"
        self._received += planes.shape[self._axis + 2]
        return self._run(self._prepared(planes), last=False)

    @torch.inference_mode()
    def finish(self) -> Tensor | None:
        """Return the output planes that the end of the input completes, or None, and reset for a new input."""
        output = self._run(None, last=True) if self._steps else None
        self.reset()
        return output

    @torch.inference_mode()
    def whole(self, planes: Tensor) -> Tensor:
        """Return the output for a whole input (B, C, *space), each layer in one call; needs a stream at its start."""
        assert not self._steps, "the stream is under way"
        self._begin(tuple(n for a, n in enumerate(planes.shape[2:]) if a != self._axis))
        self._received = planes.shape[self._axis + 2]
        try:
            output = self._run(self._prepared(planes), last=True)
        finally:
            self.reset()
        assert output is not None, "the input is too small for the network"
        return output

    def _prepared(self, planes: Tensor) -> Tensor:
        if self._received <= self.unread:
            return blank(planes.shape, planes.new_empty(0, dtype=self._dtype))
        return channels_last(planes.to(self._dtype))

    def reset(self) -> None:
        """Discard all planes; the next pushed plane is the first of a new input."""
        self._steps, self._received = {}, 0

    @property
    def unread(self) -> int:
        """Number of planes at the start of the input on which the requested output does not depend."""
        return self._first.get(self._layers[0].name, 0)

    @property
    def held(self) -> int:
        """Bytes of all queued planes."""
        queues = [getattr(step, "planes", None) for step in self._steps.values()]
        queues += [queue for step in self._steps.values() for queue in getattr(step, "waiting", ())]
        return sum(queue.bytes for queue in queues if queue is not None)

    def _begin(self, size: tuple[int, ...]) -> None:
        """Create the steps for planes of this size; their places are kept for the next input of the same size."""
        if size != self._size:
            self._size = size
            self._places = self._shared.places(self._axis, self._begin_at, self._window, size)
        self._steps = {name: self._shared.step(layer, self._places[name]) for name, layer in self._needed().items()}

    def _needed(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self._layers if layer.name in self._places}

    def _run(self, planes: Tensor | None, *, last: bool) -> Tensor | None:
        outputs: dict[str, Tensor | None] = {}
        active = self._needed()
        unread = dict.fromkeys(active, 0)
        for layer in active.values():
            for name in layer.inputs:
                unread[name] += 1
        for layer in active.values():
            inputs = [planes] if layer.kind == "input" else [outputs[name] for name in layer.inputs]
            outputs[layer.name] = self._steps[layer.name](inputs, last)
            for name in layer.inputs:
                unread[name] -= 1
                if not unread[name]:
                    outputs[name] = None
        return outputs[self._layers[-1].name]
