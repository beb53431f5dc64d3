"""Is a distance between distributions held up by reading? Patches from a stored volume through two feature networks.

    python -m benchmarks.features                    64 patches for Inception, 1984 for the encoder
    python -m benchmarks.features --patches 1000

Writes benchmarks/results/features.json. Per network and plane: patches per second of reading and cutting alone, of the
network alone on patches in memory, and of both together as `metrics.features.extract` runs them. The
volume is opened anew for each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.machine import describe, save
from benchmarks.seams import make
from vol2vol.metrics.distances.cut_patches import Cutting, cut, positions
from vol2vol.metrics.distances.encoder import Encoder, EncoderSettings
from vol2vol.metrics.distances.features import extract, grey_map, images_of
from vol2vol.metrics.distances.inception import InceptionV3
from vol2vol.volumes import open_volume

BATCH = 32


def measure(path: str, network: nn.Module, cutting: Cutting, device: str) -> dict[str, Any]:
    """Return patches per second of reading, of the network and of both, and how much both exceed the network."""
    grey = grey_map(open_volume(path))
    network = network.to(device).eval()
    stacks: list[torch.Tensor] = []

    def read() -> None:
        volume = open_volume(path)
        waiting = []
        for patch in cut(volume, positions(volume, cutting), cutting):
            waiting.append(torch.from_numpy(patch.copy()))
            if len(waiting) == BATCH:
                stacks.append(images_of(torch.stack(waiting).numpy(), cutting, grey))
                waiting.clear()

    def compute() -> None:
        with torch.inference_mode():
            for stack in stacks:
                network(stack.to(device)).cpu()

    def both() -> None:
        extract(open_volume(path), network, grey, cutting, batch=BATCH, device=device)

    extract(open_volume(path), network, grey, Cutting(count=BATCH, size=cutting.size, axis=cutting.axis), device=device)
    seconds = {name: _seconds(run) for name, run in (("reading", read), ("network", compute), ("both", both))}
    patches = len(stacks) * BATCH
    return {
        "patches": patches,
        "plane": cutting.axis,
        **{f"{name}, patches per second": round(patches / took, 1) for name, took in seconds.items()},
        "both over network": round(seconds["both"] / seconds["network"], 3),
    }


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Make a volume, measure, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    networks = {"inception": (InceptionV3(), 64), "encoder": (Encoder(EncoderSettings().widths), 1984)}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.zarr"
        make(path, 256, seamed=False)
        for name, (network, usual) in networks.items():
            for plane in ("xy", "xz"):
                count = (options.patches or usual) // BATCH * BATCH
                rows[f"{name} {plane}"] = measure(
                    str(path),
                    network,
                    Cutting(count=count, axis=plane),
                    options.device,
                )
                print(name, rows[f"{name} {plane}"])
    print(save("features" if options.device == "cpu" else "features-gpu", {"machine": describe(), "rows": rows}))


if __name__ == "__main__":
    main()
