"""Statistics of a calibration pass against those of the whole volume: how much the output differs, and what each costs.

    python -m benchmarks.statistics            a volume of 64 x 192 x 192 voxels, 2D and 3D, a minute
    python -m benchmarks.statistics --side 384

The networks are U-Nets of 3 levels with random weights and instance norm; the volume is noise of two scales whose
brightness and contrast rise along x. `calibrated` measures 64 patches (`adapt_statistics`), `global` the whole volume,
layer by layer. Also compared: statistics of each tile, averaged in overlaps. Differences are standard deviations over
that of the output with global statistics. Writes benchmarks/results/statistics.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from benchmarks import machine
from vol2vol import nets
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import Job, PredictSettings, Request, predict
from vol2vol.prediction.statistics import with_statistics
from vol2vol.protocol import between
from vol2vol.recipes import adapt_statistics
from vol2vol.volumes import create_volume, open_volume

WIDTH = 8


def write_volume(path: Path, side: int) -> None:
    """Write noise of two scales whose brightness and contrast rise along x."""
    rng, shape = np.random.default_rng(0), (64, side, side)
    coarse, fine = (gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma) for sigma in (6, 1))
    rise = np.linspace(0.3, 1, side, dtype=np.float32)
    grey = (128 + 40 * (coarse / coarse.std() + fine / fine.std())) * rise
    array = np.clip(grey, 0, 255).astype(np.uint8)[None]
    volume = create_volume(
        path, shape=array.shape, dtype="uint8", voxel_size=(8, 8, 8), unit="nanometer", chunks=(32, 64, 64)
    )
    volume.write(Box.of(volume.spatial), array)
    volume.close()


def write_model(path: Path, dims: int) -> None:
    """Write a network with norm calibrated that is calibrated on noise, and so has to be measured again."""
    torch.manual_seed(0)
    net = nets.build("unet", dims=dims, levels=3, width=WIDTH, norm="calibrated")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(module.weight, 0, (2 / module.weight[0].numel()) ** 0.5)
    nets.calibrate(net, [torch.rand(1, 1, *(62,) * dims) * 2 - 1])
    grey = fixed(0, 255)
    both = {"source": grey, "target": grey}
    save_bundle(path, between({"forward": net.eval()}), both, channels={"source": 1, "target": 1})


def compared(folder: Path, dims: int, side: int) -> dict[str, Any]:
    """Return differences of the outputs, seconds and operations for one network."""
    source, model, adapted = folder / "in.zarr", folder / f"model-{dims}", folder / f"adapted-{dims}"
    write_model(model, dims)
    began = time.perf_counter()
    adapt_statistics(model, source, adapted, patches=64)
    calibrating = time.perf_counter() - began
    request = Request.of(model, source, PredictSettings(statistics="global", raw=True), "auto")
    job = Job.open(request)
    began = time.perf_counter()
    with_statistics(job)
    measuring = time.perf_counter() - began
    made: dict[str, np.ndarray] = {}
    tiles = {"strategy": "average", "statistics": "tile", "tile": "64" if dims == 3 else "128"}
    for name, by, how in (
        ("global", model, {"statistics": "global"}),
        ("calibrated", adapted, {}),
        ("tile", model, tiles),
    ):
        output = folder / f"{name}-{dims}.zarr"
        predict(by, source, output, PredictSettings.model_validate({"raw": True, **how}))
        made[name] = open_volume(output).read(Box.of((64, side, side)))
    spread = float(made["global"].std())
    return {
        "sd of calibrated - global": float((made["calibrated"] - made["global"]).std()) / spread,
        "sd of tile - global": float((made["tile"] - made["global"]).std()) / spread,
        "seconds of calibrating": calibrating,
        "seconds of measuring the whole": measuring,
        "whole over calibrating": measuring / calibrating,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=192)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        write_volume(Path(name, "in.zarr"), options.side)
        rows = {f"{dims}D": compared(Path(name), dims, options.side) for dims in (2, 3)}
    found = {"machine": machine.describe(), **vars(options), "networks": rows}
    print(machine.save("statistics", found))
    for dims, row in rows.items():
        print(dims, {key: round(value, 4) for key, value in row.items()})


if __name__ == "__main__":
    main()
