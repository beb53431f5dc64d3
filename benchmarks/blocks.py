"""What many small blocks cost beyond their arithmetic: `python -m benchmarks.blocks`, about four minutes.

A stack of tiny planes is predicted by a tiny U-Net, so that there is a block for every few kilobytes, and next to
nothing to compute in it. Every row is one fresh process; what is compared runs in turns:

    predict     the whole verb, by one process and by several workers
    compute     reading the input and running the network, and nothing else, in one process
    write       tensorstore writing the same blocks into an array of the same format, and nothing else

*Own* milliseconds are CPU time of the verb and its workers, less that of a prediction of a few blocks (starting,
importing), less compute and write, per block. `--full` adds 100 000 blocks (an hour or so less on a fast machine).
"""

from __future__ import annotations

import argparse
import json
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
from vol2vol.volumes import create_volume, open_volume

COUNTS = (100, 1000, 4000)
FULL = (100, 1000, 10_000, 100_000)
FEW = 8
"""Blocks of the prediction whose time is that of starting."""
PLANES, SIDE = 16, 16


def setting(folder: Path, count: int) -> tuple[Path, Path]:
    """Write the model and a stack of planes of so many blocks, unless they are there; return both."""
    import torch

    from vol2vol import nets
    from vol2vol.bundles import save_bundle
    from vol2vol.intensity import fixed
    from vol2vol.protocol import between

    model, path = folder / "model", folder / f"in-{count}.zarr"
    if not model.exists():
        torch.manual_seed(0)
        net = nets.build("unet", dims=2, levels=2, width=4, norm="none")
        grey = {name: fixed(0, 255) for name in ("source", "target")}
        save_bundle(model, between({"forward": net}), grey, channels={"source": 1, "target": 1})
    if not path.exists():
        shape = (PLANES * count, SIDE, SIDE)
        volume = create_volume(
            path, shape=(1, *shape), dtype="uint8", voxel_size=(8, 8, 8), unit="nanometer", chunks=(256, SIDE, SIDE)
        )
        random = np.random.default_rng(0)
        for z in range(0, shape[0], 256 * 64):
            box = Box((z, 0, 0), (min(z + 256 * 64, shape[0]), SIDE, SIDE))
            volume.write(box, random.integers(0, 256, (1, *box.shape), np.uint8))
        volume.close()
    return model, path


def one(folder: Path, what: str, count: int, workers: int) -> dict[str, Any]:
    """Do one thing in this process and return its wall and CPU seconds, peak memory and files."""
    import torch

    from vol2vol.prediction import Job, PredictSettings, Request, predict

    torch.set_num_threads(1)
    model, path = setting(folder, count)
    out = folder / f"out-{what}-{count}-{workers}.zarr"
    shutil.rmtree(out, ignore_errors=True)
    settings = PredictSettings(workers=workers, pyramid=False, memory="4GB")
    job = Job.open(Request.of(model, path, settings, "last"))
    boxes = job.layout.blocks()
    list(job.predict_row(boxes[:1]))
    files: list[int] = []
    began, before = time.perf_counter(), _cpu()
    if what == "predict":
        with _Counting(out) as counting:
            made = predict(model, path, out, settings)
        files, voxels = counting.most, made.voxels
        assert voxels == Box.of(job.source.spatial).size
    elif what == "compute":
        for row in job.layout.rows(boxes):
            for _, raw in job.predict_row(row):
                job.stored(raw)
    else:
        _write(out, job, boxes)
    seconds, cpu = time.perf_counter() - began, _cpu() - before
    peak = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    left = sum(1 for path in out.rglob("*") if path.is_file()) if what == "predict" else 0
    shutil.rmtree(out, ignore_errors=True)
    return {"blocks": len(boxes), "seconds": seconds, "cpu": cpu, "peak": peak, "most files": files, "files": left}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _write(out: Path, job: Any, boxes: list[Box]) -> None:
    """Write random blocks with tensorstore alone, into the array that a prediction would make."""
    import tensorstore as ts

    layout = job.layout
    create_volume(
        out,
        shape=(1, *job.source.spatial),
        dtype="uint8",
        voxel_size=(8, 8, 8),
        unit="nanometer",
        chunks=layout.chunks,
        shards=layout.block,
    ).close()
    with open_volume(out) as volume:
        assert volume.shards == layout.block
    array = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{out / '0'}/"}}).result()
    values = np.random.default_rng(0).integers(0, 256, layout.block, np.uint8)
    for box in boxes:
        array[box.slices].write(values[tuple(slice(0, n) for n in box.shape)]).result()


class _Counting:
    """Looks now and then how many files there are: of the ledger, and in all."""

    def __init__(self, out: Path) -> None:
        self.out, self.most, self._stop = out, [0, 0], threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Counting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(5.0):
            ledger = self.out / ".vol2vol"
            files = sum(1 for path in ledger.rglob("*") if path.is_file())
            self.most = [max(self.most[0], files), max(self.most[1], len(list(self.out.rglob("*"))))]


def row(folder: Path, count: int, workers: int, few: dict[int, float]) -> dict[str, Any]:
    """Run the three in turns and return what they say, per block."""

    def run(what: str, count: int, workers: int) -> dict[str, Any]:
        words = [sys.executable, "-m", "benchmarks.blocks", "--one", str(folder), what, str(count), str(workers)]
        return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    if workers not in few:
        few[workers] = run("predict", FEW, workers)["cpu"]
    predicted, computed, written = (
        run(what, count, w) for what, w in (("predict", workers), ("compute", 1), ("write", 1))
    )
    blocks = predicted["blocks"]

    def per(seconds: float) -> float:
        return round(1000 * seconds / blocks, 2)

    own = predicted["cpu"] - few[workers] - computed["cpu"] - written["cpu"]
    return {
        "blocks": blocks,
        "workers": workers,
        "predict, wall ms": per(predicted["seconds"]),
        "predict, cpu ms": per(predicted["cpu"]),
        "compute, wall ms": per(computed["seconds"]),
        "write, wall ms": per(written["seconds"]),
        "predict over compute and write, wall": round(
            predicted["seconds"] / (computed["seconds"] + written["seconds"]), 2
        ),
        "own ms": per(own),
        "starting, s": round(few[workers], 1),
        "MB of the verb, of a worker": [round(peak) for peak in predicted["peak"]],
        "most files of the ledger, in all": predicted["most files"],
        "files afterwards over blocks": round(predicted["files"] / blocks, 3),
    }


def main() -> None:
    """Run the rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also 10 000 and 100 000 blocks")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        folder, what, count, workers = arguments.one
        print(json.dumps(one(Path(folder), what, int(count), int(workers))))
        return
    few: dict[int, float] = {}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in FULL if arguments.full else COUNTS:
            for workers in arguments.workers:
                rows[f"{count} blocks, {workers} workers"] = row(Path(folder), count, workers, few)
                print(json.dumps(rows[f"{count} blocks, {workers} workers"]), flush=True)
    machine.save("blocks", {"machine": machine.describe(), "rows": rows})


if __name__ == "__main__":
    main()
