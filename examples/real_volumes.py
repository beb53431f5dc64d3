"""The main job on real electron microscopy: train, predict, compare; see docs/real-volumes.md for what came out.

    python examples/real_volumes.py                           # everything; about ten minutes of one core per model
    python examples/real_volumes.py --part 2d --data DIR --out DIR train.epochs=50

`DIR` is a folder with the volumes named below. Nothing is copied from it, and only `--out` is written to.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

import vol2vol
from vol2vol.geometry import Box
from vol2vol.metrics.seams.known_grid import seam_tests
from vol2vol.report.figures.style import picture
from vol2vol.study import compare
from vol2vol.training import read_log

NANOMETER = "nanometer"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model: what it is trained on, and what its volumes' files do not say."""

    recipe: str
    overrides: tuple[str, ...]
    source: str
    target: str
    voxel_size: tuple[float, float, float]
    target_voxel_size: tuple[float, float, float]
    tile: str
    """Small enough that the volume has tile borders to look at."""


PARTS = {
    "2d": Part(
        recipe="small-2d",
        overrides=("train.epochs=20", "train.steps_per_epoch=100"),
        source="epfl_hippocampus/block000to019_raw.tif",
        target="drosophila_vnc/stack1_raw.tif",
        voxel_size=(5.0, 5.0, 5.0),
        target_voxel_size=(50.0, 4.6, 4.6),
        tile="254",
    ),
    "3d": Part(
        recipe="small-3d",
        overrides=("train.epochs=20", "train.steps_per_epoch=100"),
        source="flyem_medulla/sample1_raw.tif",
        target="flyem_medulla/sample2_raw.tif",
        voxel_size=(10.0, 10.0, 10.0),
        target_voxel_size=(10.0, 10.0, 10.0),
        tile="94",
    ),
}


def main() -> None:
    """Run one part or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the real volumes")
    parser.add_argument("--out", type=Path, default=Path("runs/real-volumes"), help="folder for everything written")
    parser.add_argument("--part", choices=(*PARTS, "both"), default="both")
    parser.add_argument("overrides", nargs="*", help="changes to the recipe, such as train.epochs=50")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in PARTS if asked.part == "both" else [asked.part]:
        run_part(name, asked.data, asked.out / name, tuple(asked.overrides))


def run_part(name: str, data: Path, out: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train, predict and compare one part; return the numbers, which also lie in `out/numbers.json`."""
    part = PARTS[name]
    out.mkdir(parents=True, exist_ok=True)
    source, target = data / part.source, data / part.target
    if name == "3d":
        target = _degraded(target, out / "target-degraded.zarr", part.target_voxel_size)
    began = time.monotonic()
    trained = vol2vol.train(
        part.recipe,
        source,
        target,
        out / "run",
        overrides=(*part.overrides, *overrides),
        voxel_size=part.voxel_size,
        target_voxel_size=part.target_voxel_size,
        unit=NANOMETER,
        progress=False,
    )
    log = read_log(trained.run / "log.csv")
    numbers: dict[str, Any] = {
        "seconds of training": time.monotonic() - began,
        "first epoch": log[0],
        "last epoch": log[-1],
        "forward": _predictions(part, trained.run, source, out, "forward"),
    }
    if name == "3d":
        numbers["forward"] |= _known(data / part.source, out, part, "forward")
        numbers["backward"] = _predictions(part, trained.run, target, out, "backward")
        numbers["backward"] |= _known(data / part.target, out, part, "backward")
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    _pictures(name, part, data, out)
    print(json.dumps(numbers, indent=1))
    return numbers


def _predictions(part: Part, run: Path, source: Path, out: Path, direction: str) -> dict[str, Any]:
    """Predict with and without seams on one grid of tiles; return rates and the seam test of each."""
    numbers: dict[str, Any] = {}
    for strategy in ("exact", "disjoint"):
        settings = vol2vol.PredictSettings(strategy=strategy, direction=direction, tile=part.tile)
        output = out / f"{direction}-{strategy}.zarr"
        size = part.voxel_size if direction == "forward" else part.target_voxel_size
        prediction = vol2vol.predict(run, source, output, settings, voxel_size=size, unit=NANOMETER)
        plan = prediction.layout.passes[0].plan
        report = seam_tests(vol2vol.open_volume(output), plan)
        numbers[strategy] = {
            "voxels per second": prediction.voxels / prediction.seconds if prediction.voxels else None,
            "tile": plan.tile,
            "step": plan.step,
            "step across borders, in steps elsewhere (SGR)": {
                row.axis: row.statistic for row in report.rows if row.test == "SGR" and row.planes
            },
            "verdict": report.verdict,
        }
    return numbers


def _known(clean: Path, out: Path, part: Part, direction: str) -> dict[str, Any]:
    """Compare a translation of the 3D part, and its input, with the answer that degrading by hand gives."""
    size = part.voxel_size
    translated = vol2vol.open_volume(out / f"{direction}-exact.zarr")
    original = vol2vol.open_volume(clean, voxel_size=size, unit=NANOMETER)
    if direction == "forward":
        answer = vol2vol.open_volume(_degraded(clean, out / "source-without-noise.zarr", size, noise=0))
        before = original
    else:
        answer, before = original, vol2vol.open_volume(out / "target-degraded.zarr")
    return {
        "untranslated against the answer": asdict(compare(before, answer)),
        "translated against the answer": asdict(compare(translated, answer)),
    }


def _degraded(
    clean: Path, path: Path, voxel_size: tuple[float, float, float], *, blur: float = 1.5, noise: float = 12.0
) -> Path:
    """Write a blurred, flatter, brighter and noisier copy of a cube (250^3 voxels, held in memory)."""
    if path.exists():
        return path
    volume = vol2vol.open_volume(clean, voxel_size=voxel_size, unit=NANOMETER)
    values = gaussian_filter(volume.read(Box.of(volume.spatial))[0].astype(np.float32), blur)
    values = 0.6 * values + 70 + np.random.default_rng(0).normal(0, noise, values.shape) * (noise > 0)
    partial = path.with_name(f"partial-{path.name}")
    degraded = vol2vol.create_volume(
        partial, shape=volume.shape, dtype=np.uint8, voxel_size=voxel_size, unit=NANOMETER, overwrite=True
    )
    degraded.write(Box.of(degraded.spatial), np.clip(np.rint(values), 0, 255).astype(np.uint8)[None])
    degraded.close()
    partial.rename(path)
    return path


def _pictures(name: str, part: Part, data: Path, out: Path, side: int = 384) -> None:
    """Write planes side by side: input, seamless translation, the same with seams, target."""
    directions = ("forward", "backward") if name == "3d" else ("forward",)
    for direction in directions:
        clean = vol2vol.open_volume(data / part.source, voxel_size=part.voxel_size, unit=NANOMETER)
        if name == "3d":
            other = vol2vol.open_volume(out / "target-degraded.zarr")
        else:
            other = vol2vol.open_volume(data / part.target, voxel_size=part.target_voxel_size, unit=NANOMETER)
        first, last = (clean, other) if direction == "forward" else (other, clean)
        predictions = [vol2vol.open_volume(out / f"{direction}-{strategy}.zarr") for strategy in ("exact", "disjoint")]
        for view, plane in PLANES.items():
            row = [plane(volume)[:side, :side] for volume in (first, *predictions, last)]
            if min(min(image.shape) for image in row) > 60:
                height = min(image.shape[0] for image in row)
                montage = np.concatenate([np.pad(image[:height], ((0, 0), (0, 8))) for image in row], axis=1)
                (out / f"{direction}-{view}.png").write_bytes(picture(montage, limits=(0, 255)))


def _middle(volume: vol2vol.Volume, axis: int) -> np.ndarray:
    start, stop = [0, 0, 0], list(volume.spatial)
    start[axis] = volume.spatial[axis] // 2
    stop[axis] = start[axis] + 1
    return volume.read(Box(tuple(start), tuple(stop)))[0].squeeze(axis)


PLANES: dict[str, Callable[[vol2vol.Volume], np.ndarray]] = {
    "xy": lambda volume: _middle(volume, 0),
    "xz": lambda volume: _middle(volume, 1),
}

if __name__ == "__main__":
    main()
