"""Prediction against the ways it replaces: `python -m benchmarks.predict [--quick] [--json] [--rows ...]`.

One set of weights, one volume, one run: the paper's U-Net (five levels, valid) at width 16. Rows:

printed    190 -> 64 tiles, full decoder, nothing folded, default layout, read - compute - write in turn
exact      `predict --strategy exact`, file to file, float32 and bfloat16
monai      MONAI's sliding window on the same network and volume (what it computes has seams)
memory     peak memory of a prediction as the volume grows
workers    two workers over one
pyramid    what the coarser levels add to a prediction
compile    one tile by plain torch, by torch.compile, and as a stream (folded, channels last)
roofline   by layer, the least time that arithmetic and memory allow, and what it took (`benchmarks/roofline.py`)
plan       planned operations over the floor for 1000 x 1092 x 1092

Times are wall seconds of whole runs; the printed way is timed on a part of the volume and given per voxel.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.roofline import roofline
from benchmarks.ways import ROUNDS, WIDTH, compare, monai, network, setting
from vol2vol import nets
from vol2vol.geometry import Box
from vol2vol.nets.demand import operations
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.engine import Engine
from vol2vol.prediction.layout_cost import cost_of, floor
from vol2vol.prediction.planner import make_layout
from vol2vol.volumes import build_pyramid

ROWS = ("printed", "monai", "memory", "workers", "pyramid", "compile", "roofline", "plan")


PEAK = """
import sys
from pathlib import Path
from vol2vol.prediction import PredictSettings, predict
predict(sys.argv[1], sys.argv[2], sys.argv[3], PredictSettings(pyramid=False, memory="2GB"), overwrite=True)
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""
"""Prints the peak resident memory of its own process in KiB (Linux; the usual call also counts its parent's)."""


def memory(folder: Path, side: int) -> dict[str, Any]:
    """Return peak resident memory of predictions of 1, 2, 4 and 8 times the length, each in its own process."""
    peaks = {}
    for times in (1, 2, 4, 8):
        model, path = setting(folder, 3, (256 * times, side, side))
        command = [sys.executable, "-c", PEAK, str(model), str(path), str(folder / "memory.zarr")]
        peaks[times] = 1024 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    values = [peaks[n] for n in (2, 4, 8)]
    return {"bytes": peaks, "largest_over_smallest_of_2_4_8": max(values) / min(values)}


def workers(folder: Path, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Time one and two workers of one thread each, and what two processes gain on this machine at all.

    Processes which do the same arithmetic in memory and know nothing of each other are one bound; the cores that one
    worker keeps busy already, for it reads, converts and writes in threads, are another.
    """
    model, path = setting(folder, 3, shape)
    torch.set_num_threads(1)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    cores = []
    alone: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS - 1):
        for count in (1, 2):
            settings = PredictSettings(pyramid=False, workers=count)
            began = time.process_time()
            made = predict(model, path, folder / f"workers{count}.zarr", settings, overwrite=True)
            seconds[count].append(made.seconds)
            cores += [(time.process_time() - began) / made.seconds] if count == 1 else []
            alone[count].append(_alone(count))
    return {
        "volume": shape,
        "seconds": seconds,
        "speed_up": min(seconds[1]) / min(seconds[2]),
        "cores that one worker keeps busy": min(cores),
        "speed_up of processes that share nothing": 2 * min(alone[1]) / min(alone[2]),
    }


ALONE = """
import time
import torch
from benchmarks.ways import network
from vol2vol import nets
from vol2vol.nets.stream import Stream
torch.set_num_threads(1)
net = nets.cropped(nets.frozen(network(3)))
foot = nets.footprint(net)
side = foot.admissible(512 + foot.reach[0][0] + foot.reach[1][0], 1, at_least=True)
stream = Stream(net, 0, window=[None, (0, 512), (0, 512)])
planes = torch.rand(1, 1, 32, side, side)
with torch.inference_mode():
    for _ in range(6):
        stream.push(planes)
    print("ready", flush=True)
    input()
    began = time.perf_counter()
    for _ in range(12):
        stream.push(planes)
print(time.perf_counter() - began)
"""
"""Says when it is ready, waits until it is told to begin, then computes in memory and prints its seconds."""


def _alone(count: int) -> float:
    """Return the seconds of the slowest of so many processes that compute at the same time."""
    command = [sys.executable, "-c", ALONE]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for one in started:
        assert one.stdout is not None
        one.stdout.readline()
    for one in started:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    return max(float(one.communicate()[0]) for one in started)


def pyramid(folder: Path, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Time a prediction with and without coarser levels, and how long these take by themselves afterwards."""
    model, path = setting(folder, 3, shape)
    seconds = {}
    for wanted in (False, True):
        settings = PredictSettings(pyramid=wanted, precision="bfloat16")
        seconds[wanted] = predict(model, path, folder / f"pyramid-{wanted}.zarr", settings, overwrite=True).seconds
    began = time.perf_counter()
    build_pyramid(str(folder / "pyramid-False.zarr"))
    afterwards = time.perf_counter() - began
    return {
        "volume": shape,
        "without": seconds[False],
        "with": seconds[True],
        "afterwards": afterwards,
        "with over without": seconds[True] / seconds[False],
    }


def compiled(dims: int, side: int) -> dict[str, Any]:
    """Time one tile in three ways; what compiling itself takes is given apart."""
    net = nets.cropped(nets.frozen(network(dims)))
    tile = torch.rand(1, 1, *(side,) * dims) * 2 - 1
    rows: dict[str, Any] = {"tile": side}
    stream, faster = Engine.of(net), torch.compile(net)
    with torch.inference_mode():
        rows["plain seconds"] = machine.best_of(lambda: net(tile))
        began = time.perf_counter()
        try:
            faster(tile)
        except (RuntimeError, torch._dynamo.exc.BackendCompilerFailed) as error:
            rows["torch.compile"] = f"does not work here: {str(error).splitlines()[0]}"
        else:
            rows["compiling seconds"] = time.perf_counter() - began
            rows["compiled seconds"] = machine.best_of(lambda: faster(tile))
    rows["stream seconds"] = machine.best_of(lambda: stream.run(tile.numpy()))
    return rows


def plan() -> dict[str, Any]:
    """Return operations per output voxel over the floor, planned and at least, for the size of MitoEM's rat."""
    rows = {}
    spatial = (1000, 1092, 1092)
    for dims, assembly in ((2, "slices"), (3, "volume")):
        net = nets.cropped(nets.frozen(network(dims)))
        layout = make_layout(
            net,
            spatial,
            PredictSettings(memory="64GB"),
            assembly=assembly,
            voxel_size=(30.0, 30.0, 30.0),
            patch=190,
            channels=1,
        )
        cost = cost_of(layout, net)
        extent = spatial[-dims:]
        foot = nets.footprint(net)
        size = [foot.admissible(n + 64 + 62, 0, at_least=True) for n in extent]
        least = operations(nets.layers(net), size, [(2, 2 + n) for n in extent]) / prod(extent)
        rows[assembly] = {
            "over_floor": cost.flops_per_voxel / floor(net),
            "one_tile_over_floor": least / floor(net),
            "memory": cost.memory,
            "block": layout.block,
        }
    return rows


def rows(folder: Path, *, quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what each row runs, on small volumes if `quick`."""
    shape3 = (64, 128, 128) if quick else (384, 512, 512)
    shape2 = (4, 512, 512) if quick else (64, 1024, 1024)
    part3 = Box((0, 0, 0), (64, 64, 128)) if quick else Box((64, 64, 64), (192, 192, 192))
    part2 = Box((0, 0, 0), (1, 256, 256)) if quick else Box((0, 0, 0), (2, 1024, 1024))
    cube = (192,) * 3 if quick else (256,) * 3
    return {
        "printed": lambda: {"2D": compare(folder, 2, shape2, part2), "3D": compare(folder, 3, shape3, part3)},
        "monai": lambda: {
            "MONAI 2D": monai(folder, 2, shape2, Box((0, 0, 0), (1, *shape2[1:]))),
            "MONAI 3D": monai(folder, 3, cube, Box.of(cube)),
        },
        "memory": lambda: {"memory": memory(folder, 64 if quick else 128)},
        "workers": lambda: {"workers": workers(folder, (128, 128, 128) if quick else (2048, 512, 512))},
        "pyramid": lambda: {"pyramid": pyramid(folder, shape3)},
        "compile": lambda: {"compile": {"2D": compiled(2, 510), "3D": compiled(3, 190)}},
        "roofline": lambda: {
            f"roofline {dims}D {str(dtype).removeprefix('torch.')}": roofline(network(dims), dims, dtype)
            for dims in (2, 3)
            for dtype in (torch.float32, torch.bfloat16)
        },
        "plan": lambda: {"plan 1000 x 1092 x 1092": plan()},
    }


def main() -> None:
    """Run the rows asked for, print them, keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small volumes: a minute; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, Any] = {"machine": machine.describe(), "width": WIDTH}
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for row, run in rows(Path(name), quick=options.quick).items():
            if row in options.rows:
                began = time.perf_counter()
                results.update(run())
                took[row] = round(time.perf_counter() - began, 1)
    results["seconds of each row"] = took
    if not options.quick:
        machine.save("predict", results)
    print(json.dumps(results, indent=1) if options.json else _table(results))


def _table(results: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in results.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", _table(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:34} {f'{value:.4g}' if isinstance(value, float) else value}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
