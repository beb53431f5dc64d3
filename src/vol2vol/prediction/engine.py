"""Run a network on whole tiles, or plane by plane as a sweep, in the requested precision."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint, Shape
from vol2vol.nets.demand import Span
from vol2vol.nets.stream import Stream
from vol2vol.nets.streamable import Streamable
from vol2vol.plans import WAYS
from vol2vol.prediction.settings import MEASURED, PredictSettings

log = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOLERANCE = 0.05
"""Root mean square error of half precision, in standard deviations of the output, above which float32 is used."""


@dataclass(frozen=True)
class Engine:
    """A network for prediction with its device and its arithmetic."""

    network: nn.Module
    footprint: Footprint
    device: torch.device
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, network: nn.Module, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Engine:
        """Place a network on a device."""
        device = torch.device(device)
        return cls(network.to(device).eval(), nets.footprint(network), device, dtype)

    @cached_property
    def stitchable(self) -> bool:
        """Whether the network's output is independent of the tile, so that it can be swept."""
        return not nets.tile_dependent(self.network)

    @property
    def channels(self) -> int:
        """Number of channels that the network reads, those of noise included."""
        count: int = self.network.in_channels  # type: ignore[assignment]
        return count

    def stream(self, axis: int = 0, window: Sequence[Span | None] | None = None, begin: int = 0) -> Stream:
        """Return the network as a stream along an axis whose output starts at plane `begin`."""
        return Stream(self._streamable, axis, window=window, begin=begin)

    @cached_property
    def _streamable(self) -> Streamable:
        """The traced network, which all streams share."""
        return Streamable(self.network, self._arithmetic)

    @cached_property
    def _whole(self) -> Stream:
        """The stream for whole tiles."""
        return self.stream()

    @property
    def _arithmetic(self) -> torch.dtype:
        own = next((p.dtype for p in self.network.parameters()), torch.float32)
        return own if own == torch.float64 else self.dtype

    @torch.inference_mode()
    def run(self, tiles: np.ndarray) -> np.ndarray:
        """Return the network's output for a batch of tiles (B, C, *space), float32 (float64 for a float64 network)."""
        batch = self.shown(torch.from_numpy(tiles))
        if self.stitchable:
            output = self._whole.whole(batch)
        else:
            half = self.dtype != torch.float32
            with torch.autocast(self.device.type, self.dtype, enabled=half):
                output = self.network(batch)
        return to_numpy(output)

    def shown(self, batch: Tensor) -> Tensor:
        """Return a batch (B, C, *space) on the device, grey repeated where the network reads more channels."""
        channels: int = self.network.in_channels  # type: ignore[assignment]
        return nets.repeated(batch, channels).to(self.device)

    def tested(self, size: Shape) -> Engine:
        """Return this engine, or one in float32 if half precision gives wrong results on tiles of this size.

        Some half-precision kernels are known to be wrong for large 3D shapes. The test runs noise of the actual shape
        on a GPU and of a small shape on a CPU.
        """
        if self.dtype == torch.float32:
            return self
        shape = size if self.device.type == "cuda" else self.footprint.minimum
        noise = np.random.default_rng(0).uniform(-1, 1, (1, self.channels, *shape)).astype(np.float32)
        exact = replace(self, dtype=torch.float32).run(noise)
        error = float(np.sqrt(np.mean((self.run(noise) - exact) ** 2)) / max(float(exact.std()), 1e-12))
        if np.isfinite(error) and error < TOLERANCE:
            log.info("%s differs from float32 by %.2g of the output's standard deviation", self.dtype, error)
            return self
        log.warning("%s is wrong here by %.2g of the output's standard deviation: using float32", self.dtype, error)
        return replace(self, dtype=torch.float32)


def to_numpy(output: Tensor) -> np.ndarray:
    """Return a tensor as float32 (or float64) on the host."""
    return (output if output.dtype == torch.float64 else output.float()).cpu().numpy()


def predicting(trained: nn.Module, settings: PredictSettings) -> nn.Module:
    """Return the network that a strategy runs: frozen, then cropped, padded or full; `trained` is not modified."""
    strategy = WAYS[settings.strategy]
    if settings.statistics == "tile":
        trained = nets.tilewise(trained)
        if strategy.seamless:
            raise BadInput(
                f"statistics tile normalises every tile by its own statistics, so strategy {settings.strategy} cannot "
                "be seamless: use strategy average, blend or disjoint (seams are to be expected), or statistics "
                "calibrated"
            )
    if settings.statistics in MEASURED:
        trained = nets.unmeasured(trained)
    dependent = nets.tile_dependent(trained)
    if dependent and strategy.seamless:
        raise BadInput(
            f"layer {dependent[0]!r} normalises every tile by its own statistics, so no tiling is exact: "
            "use `strategy` average, blend or disjoint (seams are to be expected), or train with norm calibrated"
        )
    frozen = trained if dependent else nets.frozen(trained)
    if strategy.network == "padded":
        return nets.padded(frozen) if nets.croppable(frozen) else frozen
    return nets.cropped(frozen) if strategy.network == "cropped" else frozen
