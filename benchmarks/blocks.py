"""What many small blocks cost beyond their arithmetic: `python -m benchmarks.blocks`, about four minutes.

A stack of small planes is predicted, so that there is a block for every few kilobytes. Two networks: *tiny*, which
leaves next to nothing to compute in a block, and *small*, of which a block takes some tens of milliseconds. Everything
runs in fresh processes:

    predict     the whole verb, by one process and by several workers
    compute     reading the input and running the network, and nothing else, in one process
    write       tensorstore writing the same blocks into an array of the same format, and nothing else

Up to 1000 blocks a prediction is timed three times, and the shortest counts. The verb is the first of the workers and
starts others where that pays: how many it did start is said. *Own* milliseconds are CPU time of all of them, less that
of a prediction of a few blocks and of the others' imports, less compute and write, per block. `--full` adds 10 000 and
100 000 tiny blocks (about two hours).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from vol2vol.geometry import Box
from vol2vol.volumes import create_volume

NETWORKS: dict[str, tuple[int, dict[str, int]]] = {
    "tiny": (16, {"levels": 2, "width": 4}),
    "small": (96, {"levels": 4, "width": 16}),
}
"""By name: the side of a plane in voxels, and the arguments of a 2D U-Net."""
COUNTS = {"tiny": (100, 1000, 4000), "small": (100, 300)}
FULL = {"tiny": (100, 1000, 10_000, 100_000), "small": (100, 300)}
FEW = 8
"""Blocks of the prediction whose time is that of starting."""
REPEATS = 3
"""Predictions of up to 1000 blocks, of which the shortest counts."""
PLANES = 16
"""Planes of a block."""


def setting(folder: Path, name: str, count: int) -> tuple[Path, Path]:
    """Write the model and a stack of planes of so many blocks, unless they are there; return both."""
    import torch

    from vol2vol import nets
    from vol2vol.intensity import fixed
    from vol2vol.models.bundle import save_bundle
    from vol2vol.protocol import between

    side, arguments = NETWORKS[name]
    model, path = folder / name, folder / f"{name}-{count}.zarr"
    if not model.exists():
        torch.manual_seed(0)
        net = nets.build("unet", dims=2, norm="none", **arguments)
        grey = {domain: fixed(0, 255) for domain in ("source", "target")}
        save_bundle(model, between({"forward": net}), grey, channels={"source": 1, "target": 1})
    if not path.exists():
        shape, chunks, random = (PLANES * count, side, side), (256, side, side), np.random.default_rng(0)
        volume = create_volume(
            path, shape=(1, *shape), dtype="uint8", voxel_size=(8, 8, 8), unit="nanometer", chunks=chunks
        )
        for z in range(0, shape[0], 256):
            box = Box((z, 0, 0), (min(z + 256, shape[0]), side, side))
            volume.write(box, random.integers(0, 256, (1, *box.shape), np.uint8))
        volume.close()
    return model, path


def measure(folder: Path, what: str, name: str, count: int, workers: int) -> dict[str, Any]:
    """Do one thing in this process; return its wall and CPU seconds, peak memory in MB and files."""
    import torch

    from vol2vol.machines.executors import process
    from vol2vol.prediction import Job, PredictSettings, Request, predict

    torch.set_num_threads(1)
    model, path = setting(folder, name, count)
    if what == "prepare":
        return {}
    out = folder / f"out-{os.getpid()}.zarr"
    settings = PredictSettings(workers=workers, pyramid=False, memory="4GB")
    files, started, hire = 0, [1], process.hire

    def hired(*how: Any) -> process.Process:
        started.append(1)
        return hire(*how)

    process.hire = hired
    if what == "start":
        began, before = time.perf_counter(), _cpu()
        subprocess.run([sys.executable, "-c", "import vol2vol.prediction.compute"], check=True)
        blocks = 1
    elif what == "predict":
        began, before = time.perf_counter(), _cpu()
        with _LedgerFiles(out) as ledger:
            blocks = predict(model, path, out, settings).blocks
        files = ledger.most
    else:
        job = Job.open(Request.of(model, path, settings, "last"))
        boxes = job.layout.blocks()
        blocks = len(boxes)
        list(job.predict_row(boxes[:1]))
        began, before = time.perf_counter(), _cpu()
        if what == "compute":
            for row in job.layout.rows(boxes):
                for _, raw in job.predict_row(row):
                    job.stored(raw)
        else:
            _write(out, job, boxes)
    seconds, cpu = time.perf_counter() - began, _cpu() - before
    peak = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    left = sum(len(names) for _, _, names in os.walk(out))
    shutil.rmtree(out, ignore_errors=True)
    return {
        "blocks": blocks,
        "seconds": seconds,
        "cpu": cpu,
        "peak": peak,
        "ledger": files,
        "left": left,
        "processes": len(started),
    }


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(times.ru_utime + times.ru_stime for times in used)


def _write(out: Path, job: Any, boxes: list[Box]) -> None:
    """Write random blocks with tensorstore alone, into the array that a prediction would make."""
    import tensorstore as ts

    layout, about = job.layout, {"voxel_size": (8, 8, 8), "unit": "nanometer", "dtype": "uint8"}
    shape = (1, *job.source.spatial)
    create_volume(out, shape=shape, chunks=layout.chunks, shards=layout.block, **about).close()
    array = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{out / '0'}/"}}).result()
    values = np.random.default_rng(0).integers(0, 256, layout.block, np.uint8)
    for box in boxes:
        array[box.slices].write(values[tuple(slice(0, n) for n in box.shape)]).result()


class _LedgerFiles:
    """Looks every second how many files an output has beside its shards, and keeps the most."""

    def __init__(self, out: Path) -> None:
        self.out, self.most, self._stop = out, 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _LedgerFiles:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(1.0):
            self.most = max(self.most, sum(len(names) for _, _, names in os.walk(self.out / ".vol2vol")))


class Runs:
    """Runs of one network in processes of their own; what does not depend on the workers is run once."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._known: dict[tuple[str, int, int], dict[str, Any]] = {}

    def run(self, what: str, count: int, workers: int = 1) -> dict[str, Any]:
        """Return what `measure` returns."""
        if (what, count, workers) not in self._known:
            words = [str(self.folder), what, self.name, str(count), str(workers)]
            command = [sys.executable, "-m", "benchmarks.blocks", "--measure", *words]
            repeats = REPEATS if what == "predict" and count <= 1000 else 1
            printed = [
                subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(repeats)
            ]
            self._known[what, count, workers] = min(map(json.loads, printed), key=lambda run: run.get("seconds", 0))
        return self._known[what, count, workers]

    def row(self, count: int, workers: int) -> dict[str, Any]:
        """Return what a prediction by so many workers takes, per block."""
        for size in (FEW, count):
            self.run("prepare", size)
        start = self.run("start", FEW)["cpu"]
        computed, written, alone = (self.run(what, count) for what in ("compute", "write", "predict"))
        predicted = self.run("predict", count, workers)
        starting = self.run("predict", FEW)["cpu"] + start * (predicted["processes"] - 1)
        blocks, bare = predicted["blocks"], computed["seconds"] + written["seconds"]

        def per_block(seconds: float) -> float:
            return round(1000 * seconds / blocks, 2)

        return {
            "blocks": blocks,
            "workers": workers,
            "processes": predicted["processes"],
            "predict, wall ms": per_block(predicted["seconds"]),
            "compute, wall ms": per_block(computed["seconds"]),
            "write, wall ms": per_block(written["seconds"]),
            "predict over compute and write, wall": round(predicted["seconds"] / bare, 2),
            "over one process, wall": round(predicted["seconds"] / alone["seconds"], 2),
            "predict, cpu ms": per_block(predicted["cpu"]),
            "own ms": per_block(predicted["cpu"] - starting - computed["cpu"] - written["cpu"]),
            "starting, cpu s": round(starting, 1),
            "peak MB of the verb, of a worker": [round(peak) for peak in predicted["peak"]],
            "most files of the ledger": predicted["ledger"],
            "files afterwards per block": round(predicted["left"] / blocks, 3),
        }


def main() -> None:
    """Run the rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also 10 000 and 100 000 tiny blocks")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 3], help="numbers of processes")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        folder, what, name, count, workers = arguments.measure
        print(json.dumps(measure(Path(folder), what, name, int(count), int(workers))))
        return
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, counts in (FULL if arguments.full else COUNTS).items():
            runs = Runs(Path(folder), name)
            for count in counts:
                for workers in arguments.workers:
                    row = rows[f"{name}, {count} blocks, {workers} workers"] = runs.row(count, workers)
                    print(name, json.dumps(row), flush=True)
    machine.save("blocks", {"machine": machine.describe(), "rows": rows})


if __name__ == "__main__":
    main()
