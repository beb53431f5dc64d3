"""What share of the convolution peak a network could reach here at most, layer by layer, and what it does reach.

A layer takes at least the time of its operations at the machine's best rate over a sweep of convolution shapes, and at
least that of moving its input, output and weights once at the rate at which memory is copied (roofline, Williams et al.
2009); layers without operations only the latter. Measured is one push of a sweep under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from benchmarks import machine
from vol2vol import nets
from vol2vol.nets.stream import Stream
from vol2vol.nets.stream_layers import Conv, Transposed

PORTION = {2: (16, 64, 1024), 3: (1, 32, 512)}
"""Images at once, planes per push and width of the column, as prediction chooses them for the benchmark's volumes."""
PUSHES = 3


def bandwidth() -> float:
    """Return the bytes per second at which one large array is copied to another, read and written counted."""
    source = torch.ones(64 << 20)
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / machine.best_of(lambda: target.copy_(source), 5)


def roofline(net: torch.nn.Module, dims: int, dtype: torch.dtype) -> dict[str, Any]:
    """Return by layer what one push needs, the least time it can take and the time it took; and the sums as shares."""
    peak, rate = machine.convolution_peak(dims, dtype)["gflops"] * 1e9, bandwidth()
    net = nets.cropped(nets.frozen(net))
    foot = nets.footprint(net)
    batch, planes, kept = PORTION[dims]
    across = foot.admissible(kept + foot.reach[0][0] + foot.reach[1][0], 1, at_least=True)
    stream = Stream(net, 0, window=[None] + [(0, kept)] * (dims - 1), dtype=dtype)
    channels: Any = net.in_channels
    portion = torch.rand(batch, channels, planes, *(across,) * (dims - 1)) * 2 - 1
    for _ in range(sum(side[0] for side in foot.reach) // planes + 2):
        stream.push(portion)
    rows: dict[str, dict[str, float]] = {}
    stream._steps = {name: _watched(name, step, rows) for name, step in stream._steps.items()}
    for _ in range(PUSHES):
        stream.push(portion)
    return _shares(rows, peak, rate)


def _watched(name: str, step: Any, rows: dict[str, dict[str, float]]) -> Callable[..., Tensor | None]:
    """Return a step that notes its operations, the bytes it cannot avoid to move and its shortest time."""

    def call(inputs: list[Tensor | None], last: bool) -> Tensor | None:
        began = time.perf_counter()
        made = step(inputs, last)
        seconds = time.perf_counter() - began
        taken = [x for x in inputs if x is not None]
        if made is not None and taken and not _passes_on(made, taken):
            operations = 0
            if isinstance(step, Conv | Transposed):
                seen = made if isinstance(step, Conv) else taken[0]
                operations = 2 * step.weights.weight.numel() * seen.shape[0] * prod(seen.shape[2:])
            moved = sum(x.numel() * x.element_size() for x in (*taken, made))
            row = rows.setdefault(name, {"operations": operations, "bytes": moved, "seconds": seconds})
            row["seconds"] = min(seconds, row["seconds"])
        return made

    return call


def _passes_on(made: Tensor, taken: list[Tensor]) -> bool:
    return any(made.data_ptr() == x.data_ptr() and made.shape == x.shape for x in taken)


def _shares(rows: dict[str, dict[str, float]], peak: float, rate: float) -> dict[str, Any]:
    for row in rows.values():
        row["least seconds"] = max(row["operations"] / peak, row["bytes"] / rate)
    sums = {key: sum(row[key] for row in rows.values()) for key in ("operations", "bytes", "seconds", "least seconds")}
    return {
        "convolution peak, GFLOP/s": peak / 1e9,
        "bandwidth, GB/s": rate / 1e9,
        "layers": {name: _words(row) for name, row in sorted(rows.items(), key=lambda item: -item[1]["seconds"])},
        "share of peak at most": sums["operations"] / sums["least seconds"] / peak,
        "share of peak reached": sums["operations"] / sums["seconds"] / peak,
    }


def _words(row: dict[str, float]) -> str:
    """Return one line of the table."""
    return (
        f"{row['operations'] / 1e9:7.2f} GFLOP {row['bytes'] / 1e6:7.1f} MB, "
        f"at least {row['least seconds'] * 1e3:6.1f} ms, took {row['seconds'] * 1e3:6.1f} ms"
    )
