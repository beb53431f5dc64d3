"""A folder with good and bad files of every kind, and the fixture that checks that commands refuse them."""

import hashlib
import json
import os
import pickle
import shutil

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import torch

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.protocol import between
from vol2vol.volumes import create_volume

torch.set_num_threads(1)
SHAPE = (6, 40, 44)
SIZE = ("--voxel-size", "8,8,8")
TINY = (
    "data.patch=30",
    "data.calibration=2",
    "task.loss_region=full",
    "task.generator.arguments={levels: 2, width: 4}",
    "task.critic.arguments={width: 4, n_layers: 1}",
    "train.epochs=1",
    "train.steps_per_epoch=1",
)
"""Overrides of small-2d that train in a second."""


def tissue(shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.integers(0, 4, [-(-n // 4) for n in shape]), np.ones((4,) * len(shape)))
    return (40 * smooth[tuple(map(slice, shape))] + rng.integers(0, 90, shape)).astype(np.uint8)


def write(path, array, chunks=(2, 16, 16)):
    """Write ([C,] Z, Y, X) as OME-Zarr."""
    array = array if array.ndim == 4 else array[None]
    volume = create_volume(
        path, shape=array.shape, dtype=array.dtype, voxel_size=(8, 8, 8), unit="nanometer", chunks=chunks
    )
    volume.write(Box.of(volume.spatial), array)
    volume.close()


def bundle(path, dims, *, channels=1):
    torch.manual_seed(0)
    directions = {}
    for name in ("forward", "backward"):
        net = nets.build("unet", dims=dims, levels=2, width=4, in_channels=channels, out_channels=channels)
        nets.calibrate(net, [torch.randn(2, channels, *(30,) * dims)])
        directions[name] = net.eval()
    values = {"source": fixed(0, 255), "target": fixed(0, 255)}
    save_bundle(
        path, between(directions), values, channels={"source": channels, "target": channels}, provenance={"patch": 30}
    )


class Trap:
    """An object whose unpickling runs a command that creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _zarrs(folder):
    write(folder / "em.zarr", tissue())
    write(folder / "target.zarr", tissue(seed=1))
    write(folder / "rgb.zarr", np.stack([tissue(seed=seed) for seed in range(3)]))
    write(folder / "constant.zarr", np.full(SHAPE, 7, np.uint8))
    write(folder / "flat.zarr", tissue((1, *SHAPE[1:])))
    write(folder / "wide.zarr", tissue().astype(np.uint16) * 200)
    write(folder / "widest.zarr", tissue().astype(np.uint64))
    holes = tissue().astype(np.float32)
    write(folder / "float.zarr", holes)
    holes[4, 30, 20] = np.nan
    write(folder / "nan.zarr", holes)
    shutil.copytree(folder / "em.zarr", folder / "rotten.zarr")
    for chunk in (folder / "rotten.zarr" / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"x" * chunk.stat().st_size)
    shutil.copytree(folder / "em.zarr", folder / "broken json.zarr")
    (folder / "broken json.zarr" / "zarr.json").write_text("{")
    shutil.copytree(folder / "em.zarr", folder / "negative.zarr")
    header = folder / "negative.zarr" / "zarr.json"
    meta = json.loads(header.read_text())
    scale = meta["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    scale[-3:] = [-8, -8, float("nan")]
    header.write_text(json.dumps(meta))
    (folder / "two.zarr").mkdir()
    (folder / "two.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    for name in "ab":
        shutil.copytree(folder / "em.zarr" / "0", folder / "two.zarr" / name)


def _files(folder):
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty").mkdir()
    (folder / "words").mkdir()
    (folder / "words" / "notes.txt").write_text("not an image")
    tifffile.imwrite(folder / "nosize.tif", tissue(), photometric="minisblack")
    tifffile.imwrite(folder / "pressed.tif", tissue(), photometric="minisblack", compression="zlib")
    tifffile.imwrite(
        folder / "sized.ome.tif",
        tissue(),
        metadata={"axes": "ZYX"} | {f"PhysicalSize{a}": 0.008 for a in "ZYX"},
    )
    tifffile.imwrite(folder / "complex.tif", tissue().astype(np.complex64), photometric="minisblack")
    tifffile.imwrite(folder / "photo.tif", np.zeros((40, 44, 3), np.uint8), photometric="rgb")
    for name in ("nosize", "pressed"):
        data = (folder / f"{name}.tif").read_bytes()
        (folder / f"short {name}.tif").write_bytes(data[: len(data) // 2])
    (folder / "header only.tif").write_bytes(b"II*\0")
    with h5py.File(folder / "data.h5", "w") as file:
        file["em"] = tissue()
        file["flow/em"] = tissue()
        file["complex"] = tissue().astype(np.complex64)
        file["text"] = np.array(["a", "b"], dtype=object)
        file["five"] = np.zeros((2, 2, 2, 8, 8), np.uint8)
    data = (folder / "data.h5").read_bytes()
    (folder / "short.h5").write_bytes(data[: len(data) // 3])
    with mrcfile.new(folder / "em.mrc") as file:
        file.set_data(tissue().view(np.int8))
        file.voxel_size = 80
    data = (folder / "em.mrc").read_bytes()
    (folder / "short.mrc").write_bytes(data[: len(data) // 2])
    (folder / "slices").mkdir()
    for z in range(3):
        tifffile.imwrite(folder / "slices" / f"{z}.tif", tissue((1, 40, 44 - (z == 2)))[0])


def _models(folder):
    bundle(folder / "model2", 2)
    bundle(folder / "model3", 3)
    bundle(folder / "model rgb", 2, channels=3)
    for name in ("short", "edited", "newer", "nan"):
        shutil.copytree(folder / "model2", folder / f"model {name}")
    weights = folder / "model short" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    yaml = folder / "model edited" / "model.yaml"
    yaml.write_text(yaml.read_text().replace("width: 4", "width: 6"))
    yaml = folder / "model newer" / "model.yaml"
    yaml.write_text(yaml.read_text().replace("schema: 2", "schema: 99"))
    shutil.copytree(folder / "model2", folder / "model without weights")
    (folder / "model without weights" / "weights.safetensors").unlink()
    torch.save({"a": torch.zeros(3)}, folder / "other.pth")
    torch.save({"model.model.0.weight": torch.zeros(4, 1, 4, 4)}, folder / "half.pth")
    (folder / "trap.pth").write_bytes(pickle.dumps(Trap(folder / "sprung")))
    torch.save({"model.model.0.weight": Trap(folder / "sprung")}, folder / "trap zip.pth")
    shutil.rmtree(folder / "sprung", ignore_errors=True)


def _recipes(folder):
    for name, text in {
        "typo": "extends: small-2d\ntrain: {epoch: 3}\n",
        "deep": "extends: small-2d\ntask: {generator: {nam: unet}}\n",
        "value": "extends: small-2d\ntrain: {epochs: many}\n",
        "negative": "extends: small-2d\ntrain: {lr: -1}\n",
        "network": "extends: small-2d\ntask: {generator: {name: unett}}\n",
        "argument": "extends: small-2d\ntask: {generator: {arguments: {levles: 3}}}\n",
        "list": "- a\n- b\n",
        "broken": "train: {epochs: 3\n",
        "code": "!!python/object/apply:os.mkdir [sprung]\n",
        "circle": "extends: circle.yaml\n",
        "parent": "extends: smal-2d\n",
    }.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "binary.yaml").write_bytes(bytes(range(256)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with good and bad files of every kind."""
    folder = tmp_path_factory.mktemp("world")
    _zarrs(folder)
    _files(folder)
    _models(folder)
    _recipes(folder)
    assert main(train(folder, folder / "run")) == 0
    return folder


def train(folder, out, *more, source="em.zarr", target="target.zarr", recipe="small-2d"):
    words = ["train", *TINY, *more, "--recipe", recipe, "--source", folder / source, "--target", folder / target]
    return [str(word) for word in (*words, "--out", out)]


def state(folder):
    """Return every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refuse(world, capsys, monkeypatch):
    """Run a command that must be refused: exit code 2, one line with certain words, no file written or changed."""
    monkeypatch.chdir(world)

    def check(words, *expected, unchanged=True):
        before = state(world)
        capsys.readouterr()
        code = main([str(word) for word in words])
        err = capsys.readouterr().err
        assert code == 2, (code, err)
        assert err.startswith("vol2vol: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert len(err) < 700, err
        for word in expected:
            assert word in err, (word, err)
        if unchanged:
            after = state(world)
            assert after == before, set(after.items()) ^ set(before.items())
        return err

    return check
