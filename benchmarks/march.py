"""What a march costs beside tiles that lie side by side: `python -m benchmarks.march [--save]`, minutes on two cores.

One generator with random weights (a residual network with two strides) and one volume each in 2D and 3D, so large that
four tiles fill an axis without overlap and five with an overlap of a quarter: 25 tiles for 16 in a plane, 125 for 64 in
a volume. Whole predictions, file to file, all rows in turn, the shortest of each counts:

    disjoint    tiles side by side (simple tiling), one at a time
    raster      the march, one tile at a time, by one process
    batch       the march, several tiles of a wave at once, by one process with all threads
    workers     the march in two processes of one thread each, against raster and disjoint by one process of one thread

A tile of the march costs what another tile costs, so that raster order takes 25 / 16 and 125 / 64 times as long as
simple tiling. What processes that share nothing gain on the machine bounds the last row (`benchmarks.predict`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import machine
from vol2vol import nets
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.estimate import dry_run
from vol2vol.protocol import March, Translation
from vol2vol.volumes import create_volume, open_volume

CASES: dict[int, tuple[int, tuple[int, int, int], int]] = {2: (192, (1, 768, 768), 16), 3: (40, (160, 160, 160), 4)}
"""By number of dimensions: the side of a tile, the shape of the volume and the width of the network."""


def setting(folder: Path, dims: int) -> tuple[Path, Path]:
    """Write a model that may march and a volume of noise; return both."""
    torch.manual_seed(0)
    tile, shape, width = CASES[dims]
    net = nets.build("resnet", dims=dims, width=width, blocks=1, norm="instance")  # 40 fits
    translation = Translation(network=net, reads=("source",), makes=("target",), applied=March(share=(0.25, 0.25)))
    grey = {domain: fixed(0, 255) for domain in ("source", "target")}
    model = save_bundle(
        folder / f"model-{dims}d",
        {"forward": translation},
        grey,
        channels={"source": 1, "target": 1},
        provenance={"patch": tile},
    )
    volume = create_volume(
        folder / f"in-{dims}d.zarr", shape=(1, *shape), dtype="uint8", voxel_size=(8, 8, 8), unit="nanometer",
        chunks=(min(shape[0], 40), 96, 96),
    )  # fmt: skip
    volume.write(Box.of(shape), np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8))
    volume.close()
    return model, folder / f"in-{dims}d.zarr"


def rows(batch: int) -> dict[str, tuple[int, dict[str, Any]]]:
    """Return by row the threads of this process and the settings of predict."""
    every = torch.get_num_threads()
    return {
        "disjoint, one thread": (1, {"strategy": "disjoint"}),
        "raster, one thread": (1, {"strategy": "march"}),
        "workers": (2, {"strategy": "march", "workers": 2}),
        "disjoint": (every, {"strategy": "disjoint"}),
        "raster": (every, {"strategy": "march"}),
        "batch": (every, {"strategy": "march", "batch_size": batch}),
    }


def measure(folder: Path, dims: int, batch: int, rounds: int) -> dict[str, Any]:
    """Time all rows in turns, and say whether their marches have the same bytes."""
    model, source = setting(folder, dims)
    every, seconds, made = torch.get_num_threads(), dict[str, list[float]](), dict[str, np.ndarray]()
    for _ in range(rounds):
        for name, (threads, how) in rows(batch).items():
            torch.set_num_threads(threads)
            settings = PredictSettings(pyramid=False, memory="4GB", any_intensity=True, **how)
            out = folder / f"{dims}d-{name.replace(', ', '-').replace(' ', '-')}.zarr"
            seconds.setdefault(name, []).append(predict(model, source, out, settings, overwrite=True).seconds)
            made[name] = np.asarray(open_volume(out))
    torch.set_num_threads(every)
    best = {name: min(times) for name, times in seconds.items()}
    planned = dry_run(model, source, PredictSettings(strategy="march", memory="4GB", any_intensity=True))
    return {
        "volume": CASES[dims][1],
        "tile": planned["tile"],
        "tiles": planned["tiles"],
        "waves": planned["waves"],
        "tiles kept at once": planned["tiles kept at once"],
        "batch": batch,
        "seconds of all rounds": seconds,
        "raster over disjoint": best["raster"] / best["disjoint"],
        "batch over disjoint": best["batch"] / best["disjoint"],
        "workers over disjoint, one thread": best["workers"] / best["disjoint, one thread"],
        "raster over batch": best["raster"] / best["batch"],
        "raster, one thread, over workers": best["raster, one thread"] / best["workers"],
        "voxels that differ from raster order": {
            name: int((made[name] != made["raster, one thread"]).sum()) for name in ("workers", "raster", "batch")
        },
    }


def main() -> None:
    """Run both cases and print or save the result."""
    parser = argparse.ArgumentParser(description="The march against simple tiling.")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/march.json")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {f"{dims}D": measure(Path(folder), dims, arguments.batch, arguments.rounds) for dims in CASES}
    result = {"machine": machine.describe(), **result}
    print(json.dumps(result, indent=1))
    if arguments.save:
        machine.save("march", result)


if __name__ == "__main__":
    main()
