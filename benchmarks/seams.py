"""Time and memory of the seam tests on a stored volume made on the spot, deleted afterwards.

    python -m benchmarks.seams                 256 x 1024 x 1024 voxels
    python -m benchmarks.seams --gigavoxel     1024 x 1024 x 1024 voxels
    python -m benchmarks.seams --source        conditioned on a source of the same size

Writes benchmarks/results/seams[-gigavoxel][-source].json. Every measurement runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from vol2vol.geometry import Box, grid
from vol2vol.metrics.seams.grid import Grid
from vol2vol.metrics.seams.known_grid import seam_tests
from vol2vol.metrics.seams.unknown_grid import comb_test
from vol2vol.volumes import Volume, create_volume, open_volume

RESULTS = Path(__file__).parent / "results"
STEP = 128
SIDE = 256


def make(path: Path, depth: int, *, seamed: bool) -> Volume:
    """Write a periodic uint8 texture, with a step of half a grey level (2 % of its deviation) per tile if wanted."""
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.standard_normal((SIDE,) * 3, dtype=np.float32), 1.5, mode="wrap")
    texture *= 25 / texture.std()
    shape = (1, depth, 1024, 1024)
    volume = create_volume(
        path, shape=shape, dtype=np.uint8, voxel_size=(1, 1, 1), unit="", chunks=(64,) * 3, shards=(SIDE,) * 3
    )
    for box in grid(Box.of(shape[1:]), (SIDE,) * 3):
        block = 128 + texture
        if seamed:
            tiles = rng.standard_normal((SIDE // STEP,) * 3).astype(np.float32)
            block = block + 0.5 * np.kron(tiles, np.ones((STEP,) * 3, np.float32))
        volume.write(box, np.clip(np.rint(block), 0, 255).astype(np.uint8)[None])
    volume.flush()
    return volume


def measure(test: str, path: str, source: str | None) -> dict[str, object]:
    """Run one test and return what it took."""
    volume, given = open_volume(path), None if source is None else open_volume(source)
    start = time.perf_counter()
    report = comb_test(volume) if test == "comb" else seam_tests(volume, Grid(step=(STEP,) * 3), source=given)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    voxels = int(np.prod(volume.shape))
    return {
        "test": test,
        "voxels": voxels,
        "seconds": round(seconds, 2),
        "megavoxels_per_second": round(voxels / seconds / 1e6, 1),
        "peak_memory_mb": round(peak / 1e6),
        "verdict": report.verdict,
    }


def main() -> None:
    """Make the volumes, measure in child processes, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigavoxel", action="store_true")
    parser.add_argument("--source", action="store_true")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        test, path, *rest = options.measure
        print(json.dumps(measure(test, path, rest[0] if rest else None)))
        return
    with tempfile.TemporaryDirectory() as folder:
        depth = 1024 if options.gigavoxel else 256
        paths = [str(Path(folder) / "volume.zarr")]
        make(Path(paths[0]), depth, seamed=True)
        if options.source:
            paths.append(str(Path(folder) / "source.zarr"))
            make(Path(paths[1]), depth, seamed=False)
        rows = [_child("seams", paths)] + ([] if options.source else [_child("comb", paths)])
    name = "seams" + "-gigavoxel" * options.gigavoxel + "-source" * options.source
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    for row in rows:
        print(row)


def _child(test: str, paths: list[str]) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.seams", "--measure", test, *paths]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
