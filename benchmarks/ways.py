"""The ways of predicting that are compared: as the stitching paper printed it, ours, and MONAI's sliding window."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks import machine
from vol2vol import nets, plans
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import Job, PredictSettings, Request, predict
from vol2vol.prediction.layout_cost import cost_of
from vol2vol.prediction.sweep import swept
from vol2vol.protocol import between
from vol2vol.volumes import Volume, create_volume, open_volume

WIDTH = 16
PRECISIONS: tuple[Literal["float32"], Literal["bfloat16"]] = ("float32", "bfloat16")
ROUNDS = 3
"""Times that what is compared is run, all ways in turns; the shortest counts, of each way alike."""
AROUND = 160
"""Voxels around a volume that hold what a prediction reads of its mirror image."""


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
        save_bundle(model, between({"forward": network(dims)}), both, channels={"source": 1, "target": 1})
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


def exact(model: Path, path: Path, seconds: float, **settings: Any) -> dict[str, Any]:
    """Return what a prediction from file to file that took so long says of itself."""
    job = Job.open(Request.of(model, path, PredictSettings(pyramid=False, **settings), "last"))
    cost = cost_of(job.layout, job.engine.network)
    return {
        "seconds": seconds,
        "us_per_voxel": seconds / cost.voxels * 1e6,
        "flops_per_voxel": cost.flops_per_voxel,
        "over_floor": cost.flops_per_voxel / cost.floor_per_voxel,
        "gflops": cost.flops / seconds / 1e9,
        "block": job.layout.block,
    }


def pure(model: Path, path: Path, **settings: Any) -> float:
    """Return the seconds the network alone needs for the same pushes, on data in memory, written nowhere."""
    job = Job.open(Request.of(model, path, PredictSettings(**settings), "last"))
    around = (AROUND if job.engine.footprint.dims == 3 else 0, AROUND, AROUND)
    volume = job.source.read_padded(Box.of(job.source.spatial).grow(around, around)).astype(np.float32) / 127.5 - 1

    def read(box: Box) -> np.ndarray:
        return volume[:, *box.relative_to([-n for n in around]).slices]

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
    seconds: dict[str, list[float]] = {}

    def timed(way: str, took: float) -> None:
        seconds.setdefault(way, []).append(took)

    for _ in range(ROUNDS):
        _, took, voxels = as_printed(net, volume, part)
        timed("printed", took)
        for precision in PRECISIONS:
            settings = PredictSettings(pyramid=False, precision=precision)
            timed(precision, predict(model, path, folder / "out.zarr", settings, overwrite=True).seconds)
            timed(f"{precision} in memory", pure(model, path, precision=precision))
    per_voxel = min(seconds["printed"]) / voxels * 1e6
    foot = nets.footprint(net)
    printed_flops = nets.flops(net, (190,) * dims) / 64**dims
    rows: dict[str, Any] = {
        "volume": shape,
        "seconds of all rounds": seconds,
        "printed": {"us_per_voxel": per_voxel, "timed_voxels": voxels, "flops_per_voxel": printed_flops},
    }
    for precision in PRECISIONS:
        ours = exact(model, path, min(seconds[precision]), precision=precision)
        ours["pure_seconds"] = min(seconds[f"{precision} in memory"])
        ours["end_to_end_over_pure"] = ours["seconds"] / ours["pure_seconds"]
        ours["times_faster"] = per_voxel / ours["us_per_voxel"]
        peak = machine.convolution_peak(dims, torch.float32 if precision == "float32" else torch.bfloat16)
        ours["convolution_peak"] = peak
        ours["share_of_peak"] = ours["gflops"] / peak["gflops"]
        ours["share_of_peak_in_memory"] = ours["share_of_peak"] * ours["end_to_end_over_pure"]
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
