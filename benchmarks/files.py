"""What predicting many small files costs beyond their arithmetic: `python -m benchmarks.files`, about five minutes.

Grey TIFFs of 256 x 256 and two networks: *tiny*, which leaves next to nothing to compute, and *small*, the size that
`small-2d` trains. Everything runs in fresh processes, whose start is not counted but where that is said:

    files       `predict_files`, by one process and by two
    again       the same call once more, when all is done
    one by one  `predict` for each file, in one process
    commands    `vol2vol predict` for each file, a process each, its start included
    loop        `tifffile.imread`, the network on the image mirrored by its reach, `tifffile.imwrite`: nothing is
                checked, recorded, flushed to disk or continued

Every row ends with its ratio to the loop's CPU time, which other programs on the machine disturb least. The last rows
are seconds until the first of 20 000 files is there, and the peak memory for few and for many files.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine

SIDE = 256
NETWORKS = {"tiny": {"levels": 2, "width": 4}, "small": {"levels": 4, "width": 16}}
"""By name: the arguments of a 2D U-Net."""
COUNT, MANY, COMMANDS = 300, 20_000, 3
MARGIN = 64
"""Voxels by which the loop mirrors an image: more than the reach of either network, and a multiple of its period."""


def setting(folder: Path, name: str, count: int) -> tuple[Path, Path]:
    """Write the model and so many files, unless they are there; return both."""
    import tifffile
    import torch

    from vol2vol import nets
    from vol2vol.intensity import fixed
    from vol2vol.models.bundle import save_bundle
    from vol2vol.protocol import between

    model, images = folder / name, folder / f"in-{count}"
    if not model.exists():
        torch.manual_seed(0)
        net = nets.build("unet", dims=2, norm="none", **NETWORKS[name])
        grey = {domain: fixed(0, 255) for domain in ("source", "target")}
        save_bundle(model, between({"forward": net}), grey, channels={"source": 1, "target": 1})
    if not images.exists():
        images.mkdir()
        random = np.random.default_rng(0)
        for i in range(count):
            image = random.integers(0, 256, (SIDE, SIDE), np.uint8)
            tifffile.imwrite(images / f"cell{i}{'ab'[i % 2]}.tif", image, photometric="minisblack")
    return model, images


def measure(folder: Path, what: str, name: str, count: int, workers: int) -> dict[str, Any]:
    """Do one thing in this process; return its wall and CPU seconds and peak memory in MB."""
    import torch

    torch.set_num_threads(1)
    model, images = setting(folder, name, count)
    out = folder / f"out-{name}-{count}-{what if what != 'again' else 'files'}-{workers}"
    if what != "again":
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
    done = {"files": _files, "again": _files, "first": _first, "one by one": _one_by_one, "loop": _loop}
    began, before = time.perf_counter(), _cpu()
    done[what](model, images, out, workers)
    peak = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"seconds": time.perf_counter() - began, "cpu": _cpu() - before, "peak": max(peak)}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(times.ru_utime + times.ru_stime for times in used)


def _files(model: Path, images: Path, out: Path, workers: int) -> None:
    from vol2vol import PredictSettings, predict_files

    assert not predict_files(model, f"{images}/*.tif", out, PredictSettings(workers=workers)).failed


def _first(model: Path, images: Path, out: Path, workers: int) -> None:
    """Predict until the first file is there."""
    from vol2vol import PredictSettings, predict_files

    def stop(done: int, total: int, voxels: int) -> None:
        if voxels:
            raise StopIteration

    try:
        predict_files(model, f"{images}/*.tif", out, PredictSettings(workers=workers), progress=stop)
    except StopIteration:
        return
    raise AssertionError("no file was predicted")


def _one_by_one(model: Path, images: Path, out: Path, workers: int) -> None:
    from vol2vol import predict

    for path in sorted(images.iterdir()):
        predict(model, path, out / path.name)


def _loop(model: Path, images: Path, out: Path, workers: int) -> None:
    """Predict as a script of ten lines would: one pass over each image, which is mirrored for it."""
    import tifffile
    import torch

    from vol2vol import nets
    from vol2vol.models.bundle import load_bundle

    net: Callable[[Any], Any] = nets.padded(nets.frozen(load_bundle(model).network("forward")))
    for path in sorted(images.iterdir()):
        image = np.pad(tifffile.imread(path), MARGIN, mode="reflect").astype(np.float32) / 127.5 - 1
        with torch.inference_mode():
            made = net(torch.from_numpy(image[None, None]))[0, 0, MARGIN:-MARGIN, MARGIN:-MARGIN].numpy()
        stored = np.clip(np.rint((made + 1) * 127.5), 0, 255).astype(np.uint8)
        tifffile.imwrite(out / path.name, stored, photometric="minisblack")


def commands(folder: Path, name: str) -> dict[str, Any]:
    """Predict a few files with a command for each."""
    model, images = setting(folder, name, COUNT)
    began, before = time.perf_counter(), _cpu()
    for path in sorted(images.iterdir())[:COMMANDS]:
        words = ["predict", str(model), str(path), str(folder / f"command-{name}-{path.name}")]
        subprocess.run([sys.executable, "-m", "vol2vol.cli", *words], check=True, capture_output=True)
    return {"seconds": time.perf_counter() - began, "cpu": _cpu() - before}


def alone(folder: Path, what: str, name: str, count: int, workers: int = 1) -> dict[str, Any]:
    """Return what `measure` returns, from a process of its own."""
    words = [str(folder), what, name, str(count), str(workers)]
    command = [sys.executable, "-m", "benchmarks.files", "--measure", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Return milliseconds per file of every way, and the ratio of its CPU time to the loop's."""
    setting(folder, name, COUNT)
    found = {
        "loop": (COUNT, alone(folder, "loop", name, COUNT)),
        "files": (COUNT, alone(folder, "files", name, COUNT)),
        "again": (COUNT, alone(folder, "again", name, COUNT)),
        "files, 2 workers": (COUNT, alone(folder, "files", name, COUNT, 2)),
        "one by one": (COUNT, alone(folder, "one by one", name, COUNT)),
        "commands": (COMMANDS, commands(folder, name)),
    }
    loop = found["loop"][1]["cpu"] / COUNT
    return {
        f"{name}, {way}": {
            "wall ms": round(1000 * made["seconds"] / count, 2),
            "cpu ms": round(1000 * made["cpu"] / count, 2),
            "cpu over the loop's": round(made["cpu"] / count / loop, 2),
        }
        for way, (count, made) in found.items()
    }


def main() -> None:
    """Run the rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        folder, what, name, count, workers = arguments.measure
        print(json.dumps(measure(Path(folder), what, name, int(count), int(workers))))
        return
    made: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in NETWORKS:
            made |= rows(folder, name)
        setting(folder, "tiny", MANY)
        first = alone(folder, "first", "tiny", MANY)
        made[f"first of {MANY} files"] = {"wall s": round(first["seconds"], 2), "cpu s": round(first["cpu"], 2)}
        for count in (COUNT, 10 * COUNT):
            setting(folder, "tiny", count)
            made[f"{count} files"] = {"peak MB": round(alone(folder, "files", "tiny", count)["peak"])}
    for row, values in made.items():
        print(row, json.dumps(values), flush=True)
    machine.save("files", {"machine": machine.describe(), "rows": made})


if __name__ == "__main__":
    main()
