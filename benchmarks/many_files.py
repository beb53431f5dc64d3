"""Thousands of small files: `python -m benchmarks.many_files`, about three minutes; `--quick` takes a tenth of them.

TIFFs of 256 x 256 are written, and training on them begins: time counts from the call of `vol2vol.train` to the first
step, when files were opened and checked, intensities measured and a batch drawn. Two trainings, a denoiser of all files
by a pattern and a regression of half as many pairs by a data sheet, and beside them what anybody's loop costs:

    headers     opening each file with tifffile and asking for its shape and type, nothing else
    imread      a plain torch data set: one file read whole by tifffile for each patch that is cut from it

Everything runs in a process of its own, with the files in the page cache; seconds of a machine that does other things,
too, are longer than those of its CPU. Bounds stand beside what they bound.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks import machine

COUNT = 20_000
BEGIN = 60.0
"""Seconds within which training on `COUNT` files begins on two cores."""
KILOBYTES = 8.0
"""Of memory per file, at most."""
OPEN = 64
"""Files that are open when training begins, at most."""
OVER_HEADERS, OVER_IMREAD = 6.0, 8.0
"""Times the CPU seconds of the plain loops, at most."""
SIDE = 256
PATCHES = 400
"""That are drawn, to say how long one takes."""


class Begun(Exception):
    """Training has begun, which is all that is asked for."""


def write(folder: Path, count: int) -> None:
    """Write so many images, crops of one picture with noise, unless they are there."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    coarse = np.kron(random.integers(0, 5, (64, 64)), np.ones((16, 16)))
    picture = (40 * coarse).astype(np.uint8)
    for i in range(count):
        y, x = random.integers(0, picture.shape[0] - SIDE, 2)
        noise = random.integers(0, 50, (SIDE, SIDE), np.uint8)
        tifffile.imwrite(folder / f"cell{i:06}.tif", picture[y : y + SIDE, x : x + SIDE] + noise)


def sheet(folder: Path, count: int) -> Path:
    """Write a data sheet of half as many pairs."""
    path = folder / f"pairs{count}.csv"
    pairs = [f"cell{2 * i:06}.tif,cell{2 * i + 1:06}.tif" for i in range(count // 2)]
    path.write_text("\n".join(["source,target", *pairs]) + "\n")
    return path


def training(folder: Path, what: str, count: int) -> dict[str, Any]:
    """Begin a training; say how long that took, what memory it takes and how long drawing a patch takes."""
    from vol2vol.recipes import train
    from vol2vol.training.loop import Loop

    drawn: dict[str, Any] = {}

    def first_step(loop: Loop, *_: Any) -> None:
        drawn["data"] = loop.data
        raise Begun

    Loop.training_step = first_step  # type: ignore[method-assign]
    files = sorted(str(path) for path in folder.glob("*.tif"))[:count]
    given: dict[str, Any] = {"denoise": {"source": files, "target": None}}.get(what, {"source": None, "target": None})
    given |= {"sheet": sheet(folder, count)} if what == "regress" else {}
    before, began, cpu = _memory(), time.perf_counter(), time.process_time()
    with contextlib.suppress(Begun):
        train(f"small-{what}-2d", **given, out=folder / f"run-{os.getpid()}", progress=False)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    most, held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(os.listdir("/proc/self/fd"))
    began = time.process_time()
    for index in range(PATCHES):
        drawn["data"][index]
    patch = (time.process_time() - began) / PATCHES / len(drawn["data"][0])
    grown = _memory() - before
    return {"seconds": seconds, "cpu": cpu, "peak MB": most, "grown": grown, "open files": held, "patch": patch}


def headers(folder: Path, _: str, count: int) -> dict[str, Any]:
    """Open each file and ask for its shape and type."""
    began, cpu = time.perf_counter(), time.process_time()
    for path in sorted(folder.glob("*.tif"))[:count]:
        with tifffile.TiffFile(path) as file:
            _ = file.pages.first.shape, file.pages.first.dtype
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def imread(folder: Path, _: str, count: int) -> dict[str, Any]:
    """Cut patches of the size of `small-denoise-2d` from whole files."""
    import torch

    from vol2vol.recipes import load_recipe

    files, side = sorted(folder.glob("*.tif"))[:count], min(load_recipe("small-denoise-2d").patch)
    random = np.random.default_rng(0)
    began = time.process_time()
    for _ in range(PATCHES):
        image = tifffile.imread(files[int(random.integers(len(files)))])
        y, x = random.integers(0, SIDE - side + 1, 2)
        torch.from_numpy(image[y : y + side, x : x + side].astype(np.float32) / 127.5 - 1)
    return {"patch": (time.process_time() - began) / PATCHES}


def _memory() -> float:
    """Return the memory that this process holds, in KB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


def run(folder: Path, what: str, count: int) -> dict[str, Any]:
    """Return what one measurement says, made in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.many_files", "--measure", str(folder), what, str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def row(folder: Path, what: str, count: int, plain: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what beginning a training costs, beside its bounds and the plain loops."""
    tenth, whole = run(folder, what, count // 10), run(folder, what, count)
    bounded = {
        "begins after, s": (whole["seconds"], BEGIN),
        "over headers alone, cpu": (whole["cpu"] / plain["headers"]["cpu"], OVER_HEADERS),
        "a patch over imread, cpu": (whole["patch"] / plain["imread"]["patch"], OVER_IMREAD),
        "memory per file, KB": ((whole["grown"] - tenth["grown"]) / (count - count // 10), KILOBYTES),
        "open files": (whole["open files"], OPEN),
    }
    return {
        "files": count,
        **{name: {"is": round(value, 2), "at most": bound} for name, (value, bound) in bounded.items()},
        "within all bounds": all(value <= bound for value, bound in bounded.values()),
        "begins after, cpu s": round(whole["cpu"], 1),
        "headers alone, s and cpu s": [round(plain["headers"][key], 1) for key in ("seconds", "cpu")],
        "a patch, by imread, cpu ms": [round(1000 * patch, 2) for patch in (whole["patch"], plain["imread"]["patch"])],
        "peak MB of a tenth, of all": [round(tenth["peak MB"]), round(whole["peak MB"])],
    }


def main() -> None:
    """Run the rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="number of files")
    parser.add_argument("--quick", action="store_true", help="a tenth of the files; nothing is kept")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        folder, what, count = arguments.measure
        measures = {"headers": headers, "imread": imread}
        print(json.dumps(measures.get(what, training)(Path(folder), what, int(count))))
        return
    count = arguments.count // 10 if arguments.quick else arguments.count
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        write(folder, count)
        plain = {what: run(folder, what, count) for what in ("headers", "imread")}
        for what in ("denoise", "regress"):
            rows[what] = row(folder, what, count, plain)
            print(what, json.dumps(rows[what]), flush=True)
    if not arguments.quick:
        machine.save("many_files", {"machine": machine.describe(), "rows": rows})


if __name__ == "__main__":
    main()
