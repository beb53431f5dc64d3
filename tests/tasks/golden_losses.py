"""The losses of ten steps of every task in double precision; as a script, write them to `golden_losses.json`.

Weights and patches are sums of powers of two, from a generator that is the same everywhere, and everything is computed
in float64: what processors, threads and libraries round differently stays far below 1e-6, as float32 does not.
Measured with torch 2.13 on an AMD EPYC, over all tasks and steps: two threads instead of one differ by 6e-15 at most,
relative, kernels without vector instructions (`ATEN_CPU_CAPABILITY=default`) by 5e-15, those for AVX2 by 4e-16, and a
run without oneDNN by nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from vol2vol import nets
from vol2vol.tasks import TASKS, build

STORED = Path(__file__).with_suffix(".json")
STEPS = 10
ADAM = (2e-4, (0.5, 0.999))
"""Learning rate and moments."""
SMALL = {
    "unet": {"levels": 2, "width": 4},
    "patchgan": {"width": 4, "n_layers": 1},
    "segmenter": {"levels": 2, "width": 4},
    "resnet": {"width": 2, "blocks": 1},
}
NAMES = ("cut", "cyclegan", "denoise", "pix2pix", "regress", "segment")
"""Tasks of this package."""


@contextmanager
def double_precision() -> Iterator[None]:
    """Let tasks compute in float64 what they make float32 of."""
    kept = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.float = kept


def losses(name: str, dims: int, steps: int = STEPS) -> dict[str, list[float]]:
    """Return every term that a task logs in some steps on small networks, step by step."""
    settings = _settings(name)
    task = build(settings, dims=dims)
    for key, weight in task.named_parameters():
        weight.data = 0.25 * _drawn(key, tuple(weight.shape))
    task.double()
    optimizers = {name: torch.optim.Adam(player.parameters(), *ADAM) for name, player in task.players.items()}
    torch.manual_seed(0)
    seen: dict[str, list[float]] = {}
    with double_precision():
        for step in range(steps):
            for turn in task.turns(_batch(settings, dims, step)):
                optimizers[turn.player].zero_grad()
                turn.loss.backward()
                optimizers[turn.player].step()
                for term, value in turn.log.items():
                    seen.setdefault(term, []).append(float(value))
    return seen


def _settings(name: str):
    fields = TASKS[name].Settings().model_dump()
    networks = {key: value for key, value in fields.items() if isinstance(value, dict) and "arguments" in value}
    small = {key: {**value, "arguments": SMALL[value["name"]]} for key, value in networks.items()}
    return TASKS[name].Settings(**small, **({"pool": 2} if "pool" in fields else {}))


def _batch(settings, dims: int, step: int) -> dict[str, torch.Tensor]:
    """Return patches of all domains that a task needs, 0 or 1 where they are masks."""
    about = settings.predicts
    network = nets.build(about.name, dims=dims, **about.arguments)
    size = nets.footprint(network).admissible({2: 40, 3: 28}[dims], 0, at_least=True)
    shape = (1, 1, *(size,) * dims)
    batch = {need.name: _drawn(f"{need.name} {step}", shape) for need in settings.needs() if not need.optional}
    return {
        need.name: (batch[need.name] > 0.25).double() if need.kind == "mask" else batch[need.name]
        for need in settings.needs()
        if need.name in batch
    }


def _drawn(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return numbers in -1..1, multiples of 2^-20, decided by a name."""
    random = np.random.default_rng(zlib.crc32(key.encode()))
    return torch.from_numpy(random.integers(-(2**20), 2**20, shape) / 2.0**20)


if __name__ == "__main__":
    torch.set_num_threads(1)
    values = {f"{name} {dims}D": losses(name, dims) for name in NAMES for dims in (2, 3)}
    STORED.write_text(json.dumps(values, indent=1) + "\n")
