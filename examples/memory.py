"""Measure the peak memory of training and prediction as patch, tile and volume grow; docs/training.md has the numbers.

python examples/memory.py [--quick]

Each line is one new process. The volume grows 8-fold from one column to the next: the numbers should stay.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import vol2vol
from vol2vol.geometry import Box, grid

WORK = """
import resource, sys
import torch
torch.set_num_threads(1)
from vol2vol.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
SHORT = ("train.epochs=1", "train.steps_per_epoch=3", "data.calibration=2")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller volumes, one patch and one tile each")
    quick = parser.parse_args().quick
    sides = (128, 256) if quick else (256, 512)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volumes = [_volume(folder / f"{side}.zarr", side) for side in sides]
        print(f"{'peak of the process, MB':32}" + "".join(f"{side}^3".rjust(10) for side in sides))
        for recipe, patches in {"small-2d": (158, 254), "small-3d": (54, 94)}.items():
            for patch in patches[:1] if quick else patches:
                row = [_train(folder, recipe, patch, volume) for volume in volumes]
                _print(f"train {recipe}, patch {patch}", row)
            for budget in ("500MB",) if quick else ("500MB", "1000MB"):
                row = [_predict(folder, recipe, "--memory", budget, volume=volume) for volume in volumes]
                _print(f"predict {recipe}, --memory {budget}", row)
        for tile in ("54",) if quick else ("54", "94"):
            row = [_predict(folder, "small-3d", "--tile", tile, volume=volume) for volume in volumes]
            _print(f"predict small-3d, --tile {tile}", row)


def _print(what: str, row: list[int]) -> None:
    print(f"{what:32}" + "".join(f"{peak:10d}" for peak in row), flush=True)


def _volume(path: Path, side: int) -> Path:
    """Write a cube of coarse blocks and noise, block by block."""
    volume = vol2vol.create_volume(
        path, shape=(1, side, side, side), dtype=np.uint8, voxel_size=(8, 8, 8), unit="nm", chunks=(64, 64, 64)
    )
    random = np.random.default_rng(0)
    for box in grid(Box.of(volume.spatial), (64, 64, 64)):
        coarse = np.kron(random.integers(0, 5, (8, 8, 8)), np.ones((8, 8, 8)))
        volume.write(box, (40 * coarse + random.integers(0, 50, coarse.shape)).astype(np.uint8)[None])
    volume.close()
    return path


def _train(folder: Path, recipe: str, patch: int, volume: Path) -> int:
    run = folder / f"{recipe}-{patch}-{volume.stem}"
    words = ["train", *SHORT, f"data.patch={patch}", "--recipe", recipe, "--source", volume, "--target", volume]
    return _peak([*words, "--out", run])


def _predict(folder: Path, recipe: str, *flags: str, volume: Path) -> int:
    run = next(folder.glob(f"{recipe}-*"))
    return _peak(["predict", run, volume, folder / "out.zarr", *flags, "--overwrite"])


def _peak(words: list[object]) -> int:
    """Return the most MB that a process running these words held."""
    command = [sys.executable, "-c", WORK, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
