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

import numpy as np
import torch
from torch import nn

from benchmarks import machine
from benchmarks.roofline import roofline
from vol2vol import nets, plans
from vol2vol.bundles import save_bundle
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.nets.demand import operations
from vol2vol.prediction import Job, PredictSettings, Request, predict
from vol2vol.prediction.engine import Engine
from vol2vol.prediction.layout import floor
from vol2vol.prediction.planner import make_layout
from vol2vol.prediction.sweep import swept
from vol2vol.volumes import Volume, build_pyramid, create_volume, open_volume

WIDTH = 16
ROWS = ("printed", "monai", "memory", "workers", "pyramid", "compile", "roofline", "plan")


def network(dims: int) -> nn.Module:
    """Return the paper's U-Net with random weights and calibrated statistics, so that its output has contrast."""
    torch.manual_seed(0)
    net = nets.build("unet", dims=dims, levels=5, width=WIDTH, norm="calibrated")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(module.weight, 0, 0.05)
    nets.calibrate(net, [torch.rand(1, 1, *(190,) * dims) * 2 - 1])
    return net.eval()


def setting(folder: Path, dims: int, shape: tuple[int, int, int]) -> tuple[Path, Path]:
    """Write the model and a volume of noise unless they are there; return both."""
    model, path = folder / f"model-{dims}d", folder / f"in-{dims}d-{'x'.join(map(str, shape))}.zarr"
    if not model.exists():
        grey = fixed(0, 255)
        both = {"source": grey, "target": grey}
        save_bundle(model, {"forward": network(dims)}, both, channels={"source": 1, "target": 1})
    if path.exists():
        return model, path
    block = (min(64, shape[0]), *(min(256, n) for n in shape[1:]))
    volume = create_volume(
        path,
        shape=(1, *shape),
        dtype="uint8",
        voxel_size=(8, 8, 8),
        unit="nanometer",
        chunks=(16 if dims == 2 else 64, 64, 64),
    )
    random = np.random.default_rng(0)
    for z in range(0, shape[0], block[0]):
        stop = min(z + block[0], shape[0])
        slab = random.integers(0, 256, (1, stop - z, *shape[1:]), dtype=np.uint8)
        volume.write(Box((z, 0, 0), (stop, *shape[1:])), slab)
    volume.close()
    return model, path


def as_printed(net: nn.Module, volume: Volume, part: Box, *, phase: str = "printed") -> tuple[np.ndarray, float, int]:
    """Predict a part of a volume the published way; return the result, seconds and voxels."""
    foot = nets.footprint(net)
    plan = (plans.printed if phase == "printed" else plans.exact)(foot, (190,) * foot.dims)
    plan = plan if foot.dims == 3 else plans.planar(plan, 0)
    made = np.zeros((1, *part.shape), np.float32)
    began = time.perf_counter()
    with torch.inference_mode():
        for kept in plan.kept_boxes(part):
            tile = torch.from_numpy(volume.read_padded(plan.read_box(kept)).astype(np.float32) / 127.5 - 1)[None]
            output = net(tile if foot.dims == 3 else tile[:, :, 0])
            output = output if foot.dims == 3 else output[:, :, None]
            cut = [slice(a, a + k) for a, k in zip(plan.margin[0], plan.kept, strict=True)]
            inside = kept & part
            view = output[0][(slice(None), *cut)].numpy()[:, *inside.relative_to(kept.start).slices]
            made[:, *inside.relative_to(part.start).slices] = view
    return made, time.perf_counter() - began, part.size


def exact(folder: Path, model: Path, path: Path, **settings: Any) -> dict[str, Any]:
    """Predict file to file and measure; the network's own time is measured by a second pass over one row."""
    out = folder / "out.zarr"
    chosen = PredictSettings(pyramid=False, **settings)
    result = predict(model, path, out, chosen, overwrite=True)
    job = Job.open(Request.of(model, path, chosen, "last"))
    cost = job.layout.cost(job.engine.network)
    return {
        "seconds": result.seconds,
        "us_per_voxel": result.seconds / result.voxels * 1e6,
        "flops_per_voxel": cost.flops_per_voxel,
        "over_floor": cost.flops_per_voxel / cost.floor_per_voxel,
        "gflops": cost.flops / result.seconds / 1e9,
        "block": job.layout.block,
        "output": str(out),
    }


def pure(model: Path, path: Path, **settings: Any) -> float:
    """Return the seconds the network alone needs for the same pushes, on data in memory, written nowhere."""
    job = Job.open(Request.of(model, path, PredictSettings(**settings), "last"))
    volume = job.source.read(Box.of(job.source.spatial)).astype(np.float32) / 127.5 - 1

    def read(box: Box) -> np.ndarray:
        shape = [range(a, b) for a, b in zip(box.start, box.stop, strict=True)]
        index = [np.mod(np.array(r), n) for r, n in zip(shape, volume.shape[1:], strict=True)]
        return volume[:, index[0][:, None, None], index[1][:, None], index[2]]

    assert job.layout.sweep is not None
    began = time.perf_counter()
    for row in job.layout.rows(job.layout.blocks()):
        for _ in swept(read, job.engine, job.layout.sweep, row):
            pass
    return time.perf_counter() - began


def compare(folder: Path, dims: int, shape: tuple[int, int, int], part: Box) -> dict[str, Any]:
    """Compare the published way with exact prediction, in time, operations and values."""
    model, path = setting(folder, dims, shape)
    net = nets.frozen(network(dims))
    volume = open_volume(path)
    _, seconds, voxels = as_printed(net, volume, part)
    per_voxel = seconds / voxels * 1e6
    foot = nets.footprint(net)
    printed_flops = nets.flops(net, (190,) * dims) / 64**dims
    rows: dict[str, Any] = {
        "volume": shape,
        "printed": {"us_per_voxel": per_voxel, "timed_voxels": voxels, "flops_per_voxel": printed_flops},
    }
    for precision in ("float32", "bfloat16"):
        ours = exact(folder, model, path, precision=precision)
        ours["pure_seconds"] = pure(model, path, precision=precision)
        ours["end_to_end_over_pure"] = ours["seconds"] / ours["pure_seconds"]
        ours["times_faster"] = per_voxel / ours["us_per_voxel"]
        peak = machine.convolution_peak(dims, torch.float32 if precision == "float32" else torch.bfloat16)
        ours["convolution_peak"] = peak
        ours["share_of_peak"] = ours["gflops"] / peak["gflops"]
        ours["arithmetic_bound"] = printed_flops / ours["flops_per_voxel"]
        rows[precision] = ours
    near = Box(part.start, tuple(min(a + 64, b) for a, b in zip(part.start, part.stop, strict=True)))
    same_phase, _, _ = as_printed(net, volume, near, phase="exact")
    roi = ",".join(f"{a}:{b}" for a, b in zip(near.start, near.stop, strict=True))
    predict(model, path, folder / "raw.zarr", PredictSettings(raw=True, pyramid=False, roi=roi), overwrite=True)
    raw = open_volume(folder / "raw.zarr").read(Box.of(near.shape))
    rows["largest_difference_same_phase"] = float(np.abs(raw - same_phase).max())
    rows["output_sd"] = float(same_phase.std())
    assert foot.dims == dims
    return rows


def monai(folder: Path, dims: int, shape: tuple[int, int, int], part: Box) -> dict[str, Any]:
    """Run MONAI's sliding window on a part: seconds per voxel, and how far its result is from the exact one."""
    from monai.inferers import SlidingWindowInferer

    _, path = setting(folder, dims, shape)
    net = nets.padded(nets.frozen(network(dims)))
    volume = open_volume(path).read(part).astype(np.float32) / 127.5 - 1
    tile = torch.from_numpy(volume)[None] if dims == 3 else torch.from_numpy(np.moveaxis(volume, 1, 0).copy())
    padded = predict_padded(net, tile)
    rows = {}
    for overlap in (0.25, 0.5):
        inferer = SlidingWindowInferer(roi_size=(192,) * dims, overlap=overlap, mode="gaussian", sw_batch_size=1)
        began = time.perf_counter()
        with torch.inference_mode():
            made = inferer(tile, net)
        seconds = time.perf_counter() - began
        interior = (..., *(slice(63, -63) for _ in range(dims)))
        difference = (made[interior] - padded[interior]).abs()
        rows[f"overlap {overlap}"] = {
            "us_per_voxel": seconds / part.size * 1e6,
            "largest_difference_from_one_pass": float(difference.max()),
            "mean_difference_over_sd": float(difference.mean() / padded.std()),
        }
    return rows


def predict_padded(net: nn.Module, tile: torch.Tensor) -> torch.Tensor:
    """Return one pass of the padded network over everything."""
    with torch.inference_mode():
        return net(tile)


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
    """Time one and two workers of one thread each, whole calls and from the second block on."""
    model, path = setting(folder, 3, shape)
    torch.set_num_threads(1)
    seconds = {}
    for count in (1, 2):
        settings = PredictSettings(pyramid=False, workers=count)
        seconds[count] = predict(model, path, folder / f"workers{count}.zarr", settings, overwrite=True).seconds
    return {"volume": shape, "seconds": seconds, "speed_up": seconds[1] / seconds[2]}


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
        cost = layout.cost(net)
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
