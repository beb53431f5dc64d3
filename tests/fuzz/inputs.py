"""Small valid inputs of every kind, which the fuzzer then damages."""

import shutil
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import tensorstore as ts
import tifffile
import torch
import yaml

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.geometry import Box
from vol2vol.intensity import Intensity
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction.job import Request
from vol2vol.prediction.run import begin
from vol2vol.prediction.settings import PredictSettings
from vol2vol.protocol import between
from vol2vol.volumes import create_volume

SHAPE = (4, 40, 44)
TINY = (
    "data.patch=30",
    "data.calibration=2",
    "task.loss_region=full",
    "task.generator.arguments={levels: 2, width: 4}",
    "task.critic.arguments={width: 4, n_layers: 1}",
    "train.epochs=1",
    "train.steps_per_epoch=1",
)
VOLUMES = (
    "five.zarr",
    "four.zarr",
    "plain.n5",
    "plain.tif",
    "strips.tif",
    "ome.tif",
    "imagej.tif",
    "slices",
    "data.h5",
    "map.mrc",
    "colour.png",
    "pages",
)
"""Names of the volumes below `good`."""


def tissue(seed=0):
    """Return a small uint8 volume with structure."""
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.integers(0, 4, [-(-n // 4) for n in SHAPE]), np.ones((4, 4, 4)))
    return (40 * smooth[tuple(map(slice, SHAPE))] + rng.integers(0, 90, SHAPE)).astype(np.uint8)


def _volumes(folder):
    array = tissue()
    for name, version, more in (("five.zarr", "0.5", {"shards": (4, 40, 44)}), ("four.zarr", "0.4", {})):
        made = create_volume(
            folder / name,
            shape=(1, *SHAPE),
            dtype="u1",
            voxel_size=(8, 8, 8),
            unit="nanometer",
            chunks=(2, 20, 22),
            version=version,
            **more,
        )
        made.write(Box.of(SHAPE), array[None])
        made.close()
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder / 'plain.n5'}/"}, "create": True}
    metadata = {
        "dimensions": SHAPE[::-1],
        "blockSize": [22, 20, 2],
        "dataType": "uint8",
        "compression": {"type": "gzip"},
    }
    ts.open({**spec, "metadata": {**metadata, "axes": ["x", "y", "z"], "resolution": [8, 8, 8], "units": ["nm"] * 3}})
    opened = ts.open({**spec, "open": True, "metadata": metadata}).result()
    opened[...] = array.T
    tifffile.imwrite(folder / "plain.tif", array, photometric="minisblack")
    tifffile.imwrite(folder / "strips.tif", array, photometric="minisblack", compression="zlib", rowsperstrip=8)
    sizes = {f"PhysicalSize{a}": 0.008 for a in "ZYX"}
    tifffile.imwrite(folder / "ome.tif", array, ome=True, metadata={"axes": "ZYX"} | sizes)
    tifffile.imwrite(folder / "imagej.tif", array, imagej=True, metadata={"axes": "ZYX", "spacing": 1.0, "unit": "um"})
    for name in ("slices", "pages"):
        (folder / name).mkdir()
    for z, plane in enumerate(array):
        tifffile.imwrite(folder / "slices" / f"{z}.tif", plane, photometric="minisblack")
        _png(folder / "pages" / f"page_{z:03d}.png", plane)
    _png(folder / "colour.png", np.stack([array[0]] * 3, axis=-1))
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("raw", data=array, chunks=(2, 20, 22), compression="gzip")
        file["raw"].attrs["element_size_um"] = [0.008] * 3
        file["raw"].attrs["note"] = "x" * 100
    with mrcfile.new(folder / "map.mrc") as file:
        file.set_data(array.view(np.int8))
        file.voxel_size = 80


def _png(path, plane):
    from PIL import Image

    Image.fromarray(plane).save(path)


def _model(folder):
    torch.manual_seed(0)
    networks = {}
    for direction in ("forward", "backward"):
        network = nets.build("unet", dims=2, levels=2, width=4)
        nets.calibrate(network, [torch.randn(2, 1, 30, 30)])
        networks[direction] = network.eval()
    values = {domain: Intensity(low=(0.0,), high=(255.0,)) for domain in ("source", "target")}
    save_bundle(
        folder / "model", between(networks), values, channels={"source": 1, "target": 1}, provenance={"patch": 30}
    )
    state = {key: value for key, value in networks["forward"].state_dict().items() if value.is_floating_point()}
    torch.save(state, folder / "state.pth")


def _predictions(folder):
    model, source = str(folder / "model"), str(folder / "five.zarr")
    assert main(["predict", model, source, str(folder / "done.zarr"), "--tile", "30"]) == 0
    begin(Request.of(model, source, PredictSettings(), "auto"), str(folder / "begun.zarr"), overwrite=False)


def _settings(folder):
    recipe = {"extends": "small-2d", "train": {"epochs": 1, "lr": 0.0002}, "data": {"patch": 30}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    steps = [{"step": "crop", "z": [0, 3]}, {"step": "resample", "voxel_size": [16, 16, 16]}]
    (folder / "preparation.yaml").write_text(yaml.safe_dump({"name": "p", "about": "a", "steps": steps}))
    (folder / "study.yaml").write_text(yaml.safe_dump({"extends": "phantom-quick", "name": "s"}))


def make(folder: Path) -> None:
    """Write every kind of input below a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _volumes(folder)
    _model(folder)
    _predictions(folder)
    _settings(folder)
    words = ["train", *TINY, "--recipe", "small-2d", "--source", folder / "five.zarr", "--target", folder / "four.zarr"]
    assert main([str(word) for word in (*words, "--out", folder / "run")]) == 0


if __name__ == "__main__":
    make(Path(sys.argv[1]))
