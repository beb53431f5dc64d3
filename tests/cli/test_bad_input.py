"""Everything a person can do wrong ends in one line with what, where and the cure, and harms nothing."""

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

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
from vol2vol.prediction.records import read_plan
from vol2vol.protocol import between
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.ledger import Ledger

torch.set_num_threads(1)
SHAPE = (6, 40, 44)
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
    made = create_volume(
        path, shape=array.shape, dtype=array.dtype, voxel_size=(8, 8, 8), unit="nanometer", chunks=chunks
    )
    made.write(Box.of(made.spatial), array)
    made.close()


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
    """Unpickles into a command that makes a file."""

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
    """Run words that must be refused: exit code 2, one line that holds some words, nothing written or changed."""
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


SIZE = ("--voxel-size", "8,8,8")
INPUTS = {
    "missing": ("em.zar", (), ["em.zar does not exist", "did you mean em.zarr"]),
    "missing far": ("nowhere/at/all.tif", (), ["does not exist", "check the path"]),
    "text file": ("notes.txt", (), ["notes.txt has a format that cannot be read", "convert it"]),
    "empty folder": ("empty", (), ["empty", "no"]),
    "folder without images": ("words", (), ["words"]),
    "slices of different sizes": ("slices", SIZE, ["2.tif"]),
    "two arrays": ("two.zarr", SIZE, ["arrays a, b", "name one"]),
    "broken json": ("broken json.zarr", (), ["zarr.json is not valid JSON"]),
    "complex tiff": ("complex.tif", SIZE, ["complex64", "convert it"]),
    "complex hdf5": ("data.h5:/complex", SIZE, ["data.h5:/complex", "complex64", "numbers"]),
    "text hdf5": ("data.h5:/text", SIZE, ["data.h5:/text", "numbers"]),
    "no data set named": ("data.h5", SIZE, ["data.h5", "em"]),
    "unknown data set": ("data.h5:/ema", SIZE, ["/em"]),
    "group instead of data set": ("data.h5:/flow", SIZE, ["/flow"]),
    "five axes": ("data.h5:/five", SIZE, ["--axes"]),
    "truncated tiff": ("short nosize.tif", SIZE, ["short nosize.tif", "restore"]),
    "truncated compressed tiff": ("short pressed.tif", SIZE, ["short pressed.tif", "restore"]),
    "tiff of four bytes": ("header only.tif", SIZE, ["header only.tif", "restore"]),
    "truncated hdf5": ("short.h5:/em", SIZE, ["short.h5", "restore"]),
    "truncated mrc": ("short.mrc", (), ["short.mrc", "restore"]),
    "rotten chunk": ("rotten.zarr", (), ["rotten.zarr", "cannot be read", "restore"]),
    "unit of nothing": ("nosize.tif", ("--unit", "nm"), ["nosize.tif has no voxel size", "--voxel-size"]),
    "another voxel size": ("em.zarr", ("--voxel-size", "9,8,8"), ["is 8,8,8, not 9,8,8", "--voxel-size"]),
    "voxel size of two": ("nosize.tif", ("--voxel-size", "8,8"), ["--voxel-size", "Z,Y,X"]),
    "voxel size of nothing": ("nosize.tif", ("--voxel-size", "0,8,8"), ["--voxel-size", "positive"]),
    "voxel size in words": ("nosize.tif", ("--voxel-size", "small"), ["--voxel-size", "such as 8,8,8"]),
    "unknown unit": ("nosize.tif", (*SIZE, "--unit", "furlong"), ["--unit furlong", "nanometer"]),
    "too few axes": ("nosize.tif", (*SIZE, "--axes", "yx"), ["--axes"]),
    "wrong axes": ("em.zarr", ("--axes", "xyz"), ["axes are zyx, not xyz", "--axes"]),
    "senseless axes": ("nosize.tif", (*SIZE, "--axes", "qqq"), ["--axes"]),
}


@pytest.mark.parametrize("case", INPUTS)
def test_predict_refuses_an_input(case, refuse, world):
    name, flags, expected = INPUTS[case]
    refuse(["predict", "model2", name, "out.zarr", *flags], *expected, unchanged=False)
    left = [path for path in (world / "out.zarr",) if path.exists()]
    for path in left:  # only what cannot be seen before the first voxel is read may leave a begun output
        assert case in ("rotten chunk", "truncated compressed tiff")
        shutil.rmtree(path)


@pytest.mark.parametrize("case", [case for case in INPUTS if case != "slices of different sizes"])  # images of a domain
def test_train_refuses_an_input(case, refuse):
    name, flags, expected = INPUTS[case]
    words = ["train", *TINY, "--source", name, "--target", "target.zarr", "--out", "new", *flags]
    said = [word for word in expected if "is 8,8,8" not in word]
    refuse(words, *said)


@pytest.mark.parametrize("case", [case for case in INPUTS if case not in ("rotten chunk", "truncated compressed tiff")])
def test_info_refuses_a_path(case, refuse):
    name, flags, expected = INPUTS[case]
    refuse(["info", name, *flags], *expected)


FLAGS = {
    "strategy": (["--strategy", "exat"], ["exat", "exact", "--help"]),
    "unknown flag": (["--tiles", "30"], ["--tiles", "--tile"]),
    "batch size of words": (["--batch-size", "x"], ["--batch-size", "x"]),
    "batch size of nothing": (["--batch-size", "0"], ["batch-size", "greater than or equal to 1"]),
    "halo": (["--strategy", "average", "--halo", "-3"], ["halo"]),
    "tile between sizes": (["--tile", "31"], ["tile 31", "try 30 or 34"]),
    "tile too small": (["--tile", "6"], ["tile", "smallest"]),
    "tile of words": (["--tile", "big"], ["tile 'big'", "auto"]),
    "tile of five": (["--tile", "3,3,3,3,3"], ["tile", "auto"]),
    "overlap larger than tile": (["--strategy", "blend", "--overlap", "900"], ["overlap"]),
    "memory of words": (["--memory", "much"], ["memory 'much'", "8GB"]),
    "memory too small": (["--memory", "1KB"], ["--memory", "MB"]),
    "negative memory": (["--memory=-1GB"], ["memory '-1GB' is not a size", "8GB"]),
    "endless memory": (["--memory", "infGB"], ["memory 'infGB' is not a size", "8GB"]),
    "memory that is no number": (["--memory", "nanGB"], ["memory 'nanGB' is not a size", "8GB"]),
    "scheduler of another executor": (["--scheduler", "list.yaml"], ["scheduler has no effect", "--executor dask"]),
    "sbatch of another executor": (["--sbatch=--time=5"], ["sbatch has no effect", "--executor slurm"]),
    "roi of two": (["--roi", "0:3,0:4"], ["roi", "3 axes", "0:6,0:40,0:44"]),
    "roi outside": (["--roi", "0:7,:,:"], ["roi", "outside 0:6"]),
    "roi backwards": (["--roi", "5:2,:,:"], ["roi", "empty"]),
    "roi of words": (["--roi", "all"], ["roi"]),
    "device": (["--device", "gpu9"], ["device 'gpu9'", "cpu"]),
    "absent device": (["--device", "cuda:7"], ["device", "--device cpu"]),
    "dtype": (["--dtype", "uint9"], ["uint9", "uint16"]),
    "direction": (["--direction", "back"], ["back", "backward"]),
    "assembly": (["--assembly", "volume"], ["assembly volume", "--assembly slices"]),
    "checkpoint of a run": (["--checkpoint", "epoch-9"], ["epoch-9", "last"]),
    "ome version": (["--ome-version", "0.3"], ["0.3", "0.5"]),
    "window": (["--window", "hann"], ["hann", "linear"]),
}


@pytest.mark.parametrize("case", FLAGS)
def test_predict_refuses_a_flag(case, refuse):
    flags, expected = FLAGS[case]
    if case == "absent device" and torch.cuda.device_count() > 7:
        pytest.skip("it is there")
    refuse(["predict", "run", "em.zarr", "out.zarr", *flags], *expected)


PREDICTIONS = {
    "no model": (["nowhere", "em.zarr", "out.zarr"], ["nowhere does not exist", "model.yaml"]),
    "a volume as model": (["em.zarr", "em.zarr", "out.zarr"], ["em.zarr", "neither a model nor a run"]),
    "truncated weights": (["model short", "em.zarr", "out.zarr"], ["weights.safetensors is damaged"]),
    "other weights": (["model edited", "em.zarr", "out.zarr"], ["different models"]),
    "newer model": (["model newer", "em.zarr", "out.zarr"], ["schema 99", "update vol2vol"]),
    "half a model": (["model without weights", "em.zarr", "out.zarr"], ["holds no weights.safetensors"]),
    "three channels into one": (
        ["model2", "rgb.zarr", "out.zarr"],
        ["rgb.zarr has 3 channels", "reads 1", "--channels 0"],
    ),
    "photo into one": (["model2", "photo.tif", "out.zarr", "--voxel-size", "1,1"], ["3 channels"]),
    "one channel into three": (
        ["model rgb", "em.zarr", "out.zarr"],
        ["has 1 channel,", "reads 3", "give a volume of 3 channels"],
    ),
    "3D model, image": (["model3", "flat.zarr", "out.zarr"], ["single image"]),
    "3D model, slices": (["model3", "em.zarr", "out.zarr", "--assembly", "ortho"], ["--assembly volume"]),
    "no output in the input's type": (
        ["model2", "widest.zarr", "out.zarr"],
        ["widest.zarr holds uint64", "--dtype uint16"],
    ),
    "no input": (["model2", "", "out.zarr"], ["path of a volume is empty"]),
    "checkpoint of a bundle": (
        ["model2", "em.zarr", "out.zarr", "--checkpoint", "best"],
        ["model2 is one model", "leave out --checkpoint best"],
    ),
    "output is input": (["model2", "em.zarr", "em.zarr"], ["em.zarr is the input", "choose another name"]),
    "output is input, loudly": (["model2", "em.zarr", "./em.zarr", "--overwrite"], ["is the input"]),
    "output in model": (["model2", "em.zarr", "model2", "--overwrite"], ["model2", ".zarr"]),
    "output without format": (["model2", "em.zarr", "out"], ["out cannot be written", ".zarr"]),
    "output h5": (["model2", "em.zarr", "out.h5"], ["out.h5 cannot be written", ".zarr"]),
    "output exists": (["model2", "em.zarr", "target.zarr"], ["target.zarr exists", "--overwrite"]),
    "tiff exists": (
        ["model2", "em.zarr", "nosize.tif"],
        ["nosize.tif does not say that vol2vol wrote it", "another name"],
    ),
    "foreign folder": (["model2", "em.zarr", "words.zarr"], ["words.zarr"]),
    "foreign folder, loudly": (["model2", "em.zarr", "words.zarr", "--overwrite"], ["words.zarr", "notes.txt"]),
    "file where a folder goes": (["model2", "em.zarr", "notes.txt/out.zarr"], ["out.zarr"]),
    "tiff below a file": (["model2", "em.zarr", "notes.txt/out.tif"], ["out.tif"]),
    "tiff of others, loudly": (
        ["model2", "em.zarr", "nosize.tif", "--overwrite"],
        ["nosize.tif does not say that vol2vol wrote it", "remove it yourself"],
    ),
    "output in the folder of slices": (
        ["model2", "slices", "slices/out.tif"],
        ["slices/out.tif lies in the input ", "slices: choose another place"],
    ),
    "text named tiff, loudly": (["model2", "em.zarr", "text.tif", "--overwrite"], ["text.tif is not a TIFF"]),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_predict_refuses(case, refuse, world):
    foreign, text = world / "words.zarr", world / "text.tif"
    foreign.mkdir(exist_ok=True)
    (foreign / "notes.txt").write_text("mine")
    text.write_text("a thesis, misnamed")
    words, expected = PREDICTIONS[case]
    refuse(["predict", *words], *expected)


@pytest.mark.parametrize(
    ("source", "output"),
    [("copy.zarr/0", "copy.zarr"), ("copy.zarr", "copy.zarr/new.zarr"), ("copy.zarr", "copy.zarr/0")],
)
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_the_output_neither_holds_the_input_nor_lies_in_it(source, output, flags, refuse, world):
    shutil.rmtree(world / "copy.zarr", ignore_errors=True)
    shutil.copytree(world / "em.zarr", world / "copy.zarr")
    try:
        refuse(["predict", "model2", source, output, *flags], "copy.zarr", "input")
    finally:
        shutil.rmtree(world / "copy.zarr")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="it is there")
def test_a_device_that_is_not_there(refuse):
    refuse(["predict", "model2", "em.zarr", "out.zarr", "--device", "mps"], "mps", "--device cpu")


@pytest.mark.parametrize("tile", ["1000000002", "30,1000000002"])
def test_a_tile_that_no_memory_holds(tile, refuse, monkeypatch):
    """A tile asked for by hand must fit the memory too; where it does not, nothing is allocated before that is said."""

    def stop(*_):
        raise AssertionError("began to predict")

    monkeypatch.setattr("vol2vol.volumes.Volume.read_padded", stop)
    refuse(["predict", "model2", "em.zarr", "out.zarr", "--tile", tile], "tile")


def test_an_address_that_cannot_be_written(refuse):
    refuse(["predict", "model2", "em.zarr", "http://localhost:9/out.zarr"], "http://localhost:9/out.zarr")


TRAININGS = {
    "unknown recipe": ({"recipe": "smal-2d"}, [], ["smal-2d", "did you mean small-2d"]),
    "no such recipe": ({"recipe": "zzz"}, [], ["zzz", "shipped are"]),
    "misspelt key": ({"recipe": "typo.yaml"}, [], ["train.epoch is not a key", "did you mean epochs"]),
    "misspelt key below": ({"recipe": "deep.yaml"}, [], ["task.generator.nam", "did you mean name"]),
    "value of another kind": ({"recipe": "value.yaml"}, [], ["value.yaml", "many"]),
    "negative rate": ({"recipe": "negative.yaml"}, [], ["train.lr", "greater than 0"]),
    "unknown network": ({"recipe": "network.yaml"}, [], ["unett", "unet"]),
    "unknown argument": ({"recipe": "argument.yaml"}, [], ["levles", "levels"]),
    "a list": ({"recipe": "list.yaml"}, [], ["list.yaml holds no keys"]),
    "broken yaml": ({"recipe": "broken.yaml"}, [], ["broken.yaml is not YAML"]),
    "code": ({"recipe": "code.yaml"}, [], ["code.yaml is not YAML"]),
    "binary": ({"recipe": "binary.yaml"}, [], ["binary.yaml is not UTF-8 text"]),
    "extends itself": ({"recipe": "circle.yaml"}, [], ["circle.yaml", "extends"]),
    "extends nothing": ({"recipe": "parent.yaml"}, [], ["smal-2d", "did you mean small-2d"]),
    "a folder": ({"recipe": "words"}, [], ["words"]),
    "override without value": ({}, ["train.epochs"], ["train.epochs", "key=value"]),
    "override misspelt": ({}, ["train.epoch=3"], ["train.epoch is not a key", "epochs"]),
    "override of a value": ({}, ["dims.x=3"], ["dims.x", "holds a value"]),
    "override of words": ({}, ["train.epochs=many"], ["train.epochs", "many"]),
    "override broken": ({}, ["train.epochs={"], ["train.epochs={"]),
    "override of a schedule": ({}, ["train.schedule={nam: linear}"], ["train.schedule.nam", "name"]),
    "patch does not fit": ({}, ["data.patch=31"], ["31", "30"]),
    "patch too large": (
        {},
        ["data.patch=62"],
        ["(40, 44)", "62", "the largest that works with all volumes is (38, 38)"],
    ),
    "patch too small": ({}, ["data.patch=4"], ["patch 4 x 4 does not fit", "the smallest that works is"]),
    "no patch would fit": (
        {},
        ["data.patch=158", "task.generator.arguments.levels=4", "task.loss_region=certain"],
        ["(40, 44)", "(158, 158)", "the smallest that work", "(142, 142)", "fewer levels", "loss_region=full"],
    ),
    "patch of three in 2D": ({}, ["data.patch=[4, 30, 30]"], ["data.patch", "2D"]),
    "patch of nothing": ({}, ["data.patch=0"], ["patch"]),
    "plane of letters": ({}, ["data.planes=[q]"], ["data.planes", "'q'"]),
    "fixed without range": ({}, ["data.intensity=fixed"], ["data.low", "data.high"]),
    "fixed backwards": ({}, ["data.intensity=fixed", "data.low=9", "data.high=3"], ["low 9", "high 3"]),
    "no such accelerator": ({}, ["train.accelerator=gpu"], ["accelerator gpu"]),
    "no such strategy": ({}, ["train.strategy=magic"], ["magic"]),
    "3D patch deeper than the volume": ({}, ["dims=3"], ["em.zarr", "30"]),
    "constant source": ({"source": "constant.zarr"}, [], ["constant.zarr", "constant"]),
    "constant target": ({"target": "constant.zarr"}, [], ["constant.zarr", "constant"]),
    "constant, range given": (
        {"source": "constant.zarr"},
        ["data.intensity=fixed", "data.low=0", "data.high=255"],
        ["constant.zarr", "constant"],
    ),
    "NaN": ({"source": "nan.zarr"}, [], ["nan.zarr", "nan", "replace"]),
    "NaN, range given": (
        {"source": "nan.zarr"},
        ["data.intensity=fixed", "data.low=0", "data.high=255", "train.steps_per_epoch=200"],
        ["nan.zarr", "NaN", "replace"],
    ),
    "channels differ": ({"source": "rgb.zarr"}, ["task.lambda_identity=0.5"], ["channels"]),
    "run exists as a file": ({"out": "notes.txt"}, [], ["notes.txt exists and is not a run"]),
    "run exists as something else": ({"out": "words"}, [], ["words exists and is not a run"]),
    "run exists as something else, loudly": ({"out": "words"}, ["--overwrite"], ["words exists and is not a run"]),
    "run of another recipe": ({"out": "run"}, ["train.lr=1"], ["run was begun with train.lr", "choose another"]),
    "fewer epochs": ({"out": "run", "recipe": "small-2d"}, ["train.seed=3"], ["train.seed"]),
    "run below a file": ({"out": "notes.txt/run"}, [], ["notes.txt/run"]),
    "no volumes": ({}, ["--source"], ["source"]),
}


@pytest.mark.parametrize("case", TRAININGS)
def test_train_refuses(case, refuse, world):
    where, more, expected = TRAININGS[case]
    where = {"source": "em.zarr", "target": "target.zarr", "out": "new", "recipe": "small-2d"} | where
    tiny = TINY[:3] if where["recipe"] in ("value.yaml", "argument.yaml") else TINY  # more would override the mistake
    words = ["train", *tiny, *(word for word in more if not word.startswith("--"))]
    words += ["--recipe", where["recipe"], "--source", where["source"], "--target", where["target"]]
    words += ["--out", where["out"], *(word for word in more if word.startswith("--"))]
    refuse(words, *expected)
    assert not (world / "sprung").exists()


IMPORTS = {
    "missing": (["nothing.pth", "new", "--dims", "2"], ["nothing.pth is not a file"]),
    "not of torch": (["notes.txt", "new", "--dims", "2"], ["notes.txt is not a PyTorch file"]),
    "other weights": (["other.pth", "new", "--dims", "2"], ["model.model.0.weight"]),
    "half the weights": (["half.pth", "new", "--dims", "2"], ["model.model.3.weight"]),
    "other dims": (["half.pth", "new", "--dims", "3"], ["2D", "dims 2"]),
    "four dims": (["half.pth", "new", "--dims", "4"], ["'4'", "2", "3"]),
    "no dims": (["half.pth", "new"], ["--dims"]),
    "code": (["trap.pth", "new", "--dims", "2"], ["trap.pth is not a PyTorch file"]),
    "code in a zip": (["trap zip.pth", "new", "--dims", "2"], ["trap zip.pth is not a PyTorch file"]),
    "no out": (["half.pth", "--dims", "2"], ["OUT"]),
}


@pytest.mark.parametrize("case", IMPORTS)
def test_import_refuses(case, refuse, world):
    words, expected = IMPORTS[case]
    refuse(["import", *words], *expected)
    assert not (world / "sprung").exists()


def test_a_type_that_cannot_be_written_leaves_nothing_in_the_way(world, monkeypatch):
    monkeypatch.chdir(world)
    assert main(["predict", "model2", "widest.zarr", "narrow.zarr"]) == 2
    assert not (world / "narrow.zarr").exists()
    assert main(["predict", "model2", "widest.zarr", "narrow.zarr", "--dtype", "uint16"]) == 0
    shutil.rmtree(world / "narrow.zarr")


def test_a_size_said_senselessly_may_be_given(world, monkeypatch):
    monkeypatch.chdir(world)
    assert main(["predict", "model2", "negative.zarr", "sized.zarr", *SIZE]) == 0
    assert open_volume(world / "sized.zarr").voxel_size == (8, 8, 8)
    shutil.rmtree(world / "sized.zarr")


@pytest.mark.parametrize("patch", [4, 62])
def test_the_patch_that_is_advised_trains(patch, world, capsys):
    small = ("task.loss_region=certain", "task.ssim_cycle=0", "task.ssim_forward=0")
    assert main(train(world, world / "advised", *small, f"data.patch={patch}")) == 2
    advised = int(re.findall(r"\d+", capsys.readouterr().err)[-1])
    assert main(train(world, world / "advised", *small, f"data.patch={advised}")) == 0
    shutil.rmtree(world / "advised")


def test_the_trap_would_have_sprung(world):
    """What `import` refuses is not harmless: loading it the unsafe way runs what is in it."""
    for name in ("trap.pth", "trap zip.pth"):
        torch.load(world / name, weights_only=False) if "zip" in name else pickle.loads((world / name).read_bytes())
        assert (world / "sprung").is_dir()
        (world / "sprung").rmdir()


VERBS = {
    "unknown verb": (["pridict"], ["no verb 'pridict'", "predict"]),
    "flag for a verb": (["--frobnicate"], ["--frobnicate"]),
    "missing words": (["predict", "model2"], ["INPUT", "OUTPUT"]),
    "word too many": (["info", "em.zarr", "and"], ["and"]),
    "unknown recipe": (["recipes", "smal-2d"], ["did you mean small-2d"]),
    "demo in a foreign folder": (["demo", "--out", "words"], ["words exists and is not a study"]),
    "demo in a file": (["demo", "--out", "notes.txt"], ["notes.txt exists and is not a study"]),
    "info on no name": (["info", ""], ["path is empty"]),
    "tolerance below nothing": (["verify", "done.zarr", "--tolerance", "-1"], ["tolerance -1", "--tolerance 0"]),
    "tolerance that is no number": (["verify", "done.zarr", "--tolerance", "nan"], ["tolerance nan"]),
    "adapt on no patches": (["adapt", "model2", "em.zarr", "new", "--patches", "0"], ["--patches 1"]),
    "adapt on NaN": (["adapt", "model2", "nan.zarr", "new"], ["nan.zarr holds NaN", "voxel (4, 30, 20)", "replace"]),
    "adapt to a constant": (
        ["adapt", "run", "constant.zarr", "new", "--intensity"],
        ["constant.zarr", "7 everywhere: leave the file out"],
    ),
    "info on nothing": (["info", "nowhere"], ["nowhere does not exist"]),
    "info on a damaged model": (["info", "model short"], ["weights.safetensors is damaged"]),
}


@pytest.mark.parametrize("case", VERBS)
def test_verbs_refuse(case, refuse):
    words, expected = VERBS[case]
    refuse(words, *expected)


DAMAGES = {
    "no channels": ("    channels: 1\n", "    channels: {}\n", "channels"),
    "absurd width": ("width: 4", "width: 1000000000000", "width is 1000000000000"),
    "other width": ("width: 4", "width: 6", "different models"),
    "no footprint": ("    footprint:", "    footprints:", "footprint: field required"),
    "blown up": (
        "schema: 2\n",
        "schema: 2\na: &a [x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join([f'*{o}'] * 9)}]\n" for o, n in zip("abcdefgh", "bcdefghi", strict=True)),
        "aliases",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_info_and_predict_refuse_the_same_damaged_models(case, refuse, world):
    was, now, words = DAMAGES[case]
    shutil.copytree(world / "model2", world / "model damaged")
    file = world / "model damaged" / "model.yaml"
    assert was in file.read_text()
    file.write_text(file.read_text().replace(was, now))
    try:
        refuse(["info", "model damaged"], "model damaged", words)
        refuse(["predict", "model damaged", "em.zarr", "out.zarr"], "model damaged", words)
    finally:
        shutil.rmtree(world / "model damaged")


def test_a_study_that_aliases_blow_up(refuse, world):
    (world / "bomb.yaml").write_text(DAMAGES["blown up"][1])
    refuse(["study", "bomb.yaml", "--out", "studied"], "bomb.yaml is not YAML", "aliases")


def test_a_long_wrong_value_is_cut(refuse, world):
    (world / "long.yaml").write_text(f"extends: small-2d\ntrain: {{epochs: {'x' * 5000}}}\n")
    refuse(
        ["train", "--recipe", "long.yaml", "--source", "em.zarr", "--target", "em.zarr", "--out", "new"],
        "got 'xxx",
        "x...)",
    )


def test_a_damaged_run(refuse, world):
    shutil.copytree(world / "run", world / "damaged")
    (world / "damaged" / "recipe.yaml").write_text("{")
    refuse(["info", "damaged"], "recipe.yaml is not YAML", "restore")
    refuse(train(world, world / "damaged"), "recipe.yaml is not YAML")
    shutil.rmtree(world / "damaged")
    shutil.copytree(world / "run", world / "damaged")
    state = world / "damaged" / "checkpoints" / "last.ckpt"
    state.write_bytes(state.read_bytes()[:-500])
    refuse(train(world, world / "damaged", "train.epochs=2"), "last.ckpt", unchanged=False)
    shutil.rmtree(world / "damaged")


def test_nan_in_the_middle_of_a_prediction(refuse, world):
    shutil.copytree(world / "nan.zarr", world / "hole.zarr")
    words = ["predict", "model2", "hole.zarr", "late.zarr"]
    refuse(
        words, "hole.zarr holds NaN or infinity, first at voxel (4, 30, 20)", "replace", "--overwrite", unchanged=False
    )
    assert (world / "late.zarr" / ".vol2vol" / "plan.json").is_file()
    shutil.rmtree(world / "hole.zarr")
    shutil.copytree(world / "float.zarr", world / "hole.zarr")
    refuse(words, "late.zarr was begun with another input (or it has changed)", "--overwrite")
    assert main([*words, "--overwrite"]) == 0
    assert main(["predict", "model2", "float.zarr", "whole.zarr"]) == 0
    made = [open_volume(world / name) for name in ("late.zarr", "whole.zarr")]
    np.testing.assert_array_equal(*(one.read(Box.of(one.spatial)) for one in made))
    for name in ("late.zarr", "whole.zarr", "hole.zarr"):
        shutil.rmtree(world / name)


def test_a_chunk_that_rots_keeps_the_blocks_before_it(refuse, world, monkeypatch):
    """Mended, the input is not the one the prediction was begun with: that is said, and what was written stays."""
    write(world / "long.zarr", tissue((40, 40, 44)), chunks=(8, 40, 44))
    chunk = world / "long.zarr" / "0" / "c" / "3" / "0" / "0"
    good = chunk.read_bytes()
    chunk.write_bytes(zlib.compress(b"rot"))
    monkeypatch.setattr("vol2vol.prediction.run.check_fit", lambda job: None)  # its sample finds it first
    words = ["predict", "model2", "long.zarr", "late.zarr"]
    refuse(words, "long.zarr", "cannot be read", "restore", unchanged=False)
    begun = read_plan(str(world / "late.zarr"))["begun"]
    assert len(Ledger.of(str(world / "late.zarr")).marks(begun).done) >= 1
    refuse(words, "long.zarr", "cannot be read", "restore", unchanged=False)
    chunk.write_bytes(good)
    refuse(words, "late.zarr was begun with another input (or it has changed)", "--overwrite")
    assert main([*words, "--overwrite"]) == 0
    for name in ("late.zarr", "long.zarr"):
        shutil.rmtree(world / name)


def test_a_complete_output_refuses_another_model(refuse, world):
    assert main(["predict", "model2", "em.zarr", "done.zarr"]) == 0
    refuse(["predict", "run", "em.zarr", "done.zarr"], "another model", "--overwrite")
    refuse(["predict", "model2", "target.zarr", "done.zarr"], "another input", "--overwrite")
    refuse(["predict", "model2", "em.zarr", "done.zarr", "--strategy", "disjoint"], "strategy", "--overwrite")
    assert main(["predict", "model2", "em.zarr", "done.zarr"]) == 0
    (world / "done.zarr" / "mine.txt").write_text("mine")
    refuse(["predict", "model3", "em.zarr", "done.zarr", "--overwrite"], "mine.txt")
    shutil.rmtree(world / "done.zarr")


def test_a_model_is_only_overwritten_when_told(refuse, world):
    refuse(["import", "half.pth", "model2", "--dims", "2"], unchanged=True)
    refuse(["import", "half.pth", "words", "--dims", "2", "--overwrite"], unchanged=True)


LIMIT = """
import resource, sys
from vol2vol.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
for words in sys.argv[2].split("\\n"):
    print(main(words.split("|")), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_files_that_may_not_grow(world, monkeypatch):
    """A limit on file size fails each write below Python, as a full disk does."""
    commands = [
        "predict|model2|em.zarr|full.zarr",
        "predict|model2|em.zarr|full.tif",
        "|".join(train(world, world / "full run")),
        f"import|{_importable(world)}|full model|--dims|2",
    ]
    words = [sys.executable, "-c", LIMIT, "3000", "\n".join(commands)]
    before = {name: digest for name, digest in state(world).items() if not name.startswith("full")}
    done = subprocess.run(words, capture_output=True, text=True, cwd=world, check=False)
    lines = [line for line in done.stderr.splitlines() if "cannot be" in line or "space" in line]
    assert done.stdout.split() == ["2"] * 4, done.stderr
    assert "Traceback" not in done.stderr
    assert [any(name in line for name in ("full.zarr", "full.tif", "full run", "full model")) for line in lines] == [
        True
    ] * 4, done.stderr
    after = state(world)
    assert {name: digest for name, digest in after.items() if not name.startswith("full")} == before
    assert "full model" not in after
    for path in world.glob("full*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _importable(folder):
    from tests.cli.test_verbs import reference_weights

    torch.save(reference_weights(), folder / "good.pth")
    return "good.pth"


def test_a_full_disk_below_python(refuse, world, monkeypatch):
    """ENOSPC at the lowest level there is in Python; what was there stays as it was."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    refuse(train(world, world / "new"), "recipe.yaml cannot be written", unchanged=False)
    shutil.rmtree(world / "new", ignore_errors=True)
    _importable(world)
    refuse(["import", "good.pth", "new", "--dims", "2"], "new cannot be written", "free space")
    monkeypatch.undo()
    monkeypatch.chdir(world)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    refuse(["predict", "model2", "em.zarr", "out.tif"], "out.tif", "No space left")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(refuse, world):
    locked = world / "locked"
    locked.mkdir(mode=0o555)
    try:
        refuse(["predict", "model2", "em.zarr", "locked/out.zarr"], "locked/out.zarr", "permission")
        refuse(["predict", "model2", "em.zarr", "locked/out.tif"], "locked/out.tif")
        refuse(train(world, locked / "run"), "locked/run")
        (world / "em.mrc").chmod(0)
        refuse(["predict", "model2", "em.mrc", "out.zarr"], "em.mrc", "permission")
    finally:
        (world / "em.mrc").chmod(0o644)
        locked.rmdir()


def test_permission_is_missing(refuse, world, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", forbidden)
        refuse(["predict", "model2", "em.zarr", "new/out.tif"], "new/out.tif cannot be written (Permission denied)")
        refuse(train(world, "new"), "new", "Permission denied", "choose another")
        refuse(["demo", "--out", "new"], "new", "Permission denied")
    with monkeypatch.context() as patch:
        patch.setattr(tifffile, "TiffFile", forbidden)
        refuse(["info", "nosize.tif", *SIZE], "nosize.tif: no permission to read")
    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", forbidden)
        refuse(["info", "data.h5:/em", *SIZE], "data.h5")


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs a file system that refuses even root")
def test_a_file_system_that_refuses(refuse, world):
    refuse(["predict", "model2", "em.zarr", "/sys/vol2vol/out.zarr"], "/sys/vol2vol/out.zarr")
    refuse(["predict", "model2", "em.zarr", "/sys/vol2vol/out.tif"], "/sys/vol2vol/out.tif")
    refuse(train(world, "/sys/vol2vol/run"), "/sys/vol2vol/run")


def test_debugging_shows_where(world, capsys, monkeypatch):
    monkeypatch.setenv("VOL2VOL_DEBUG", "1")
    assert main(["info", str(world / "nowhere")]) == 2
    assert "Traceback" in capsys.readouterr().err
