"""Tests of user errors: each ends in one line with what, where and the cure, and changes no file."""

import shutil

import pytest
import torch
from tests.cli.world import SIZE, TINY

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
    words_expected = [word for word in expected if "is 8,8,8" not in word]
    refuse(words, *words_expected)


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
    """A requested tile must fit into memory; if it does not, the error comes before anything is allocated."""

    def stop(*_):
        raise AssertionError("began to predict")

    monkeypatch.setattr("vol2vol.volumes.Volume.read_padded", stop)
    refuse(["predict", "model2", "em.zarr", "out.zarr", "--tile", tile], "tile")


def test_an_address_that_cannot_be_written(refuse):
    refuse(["predict", "model2", "em.zarr", "http://localhost:9/out.zarr"], "http://localhost:9/out.zarr")


TRAININGS = {
    "unknown recipe": ({"recipe": "smal-2d"}, [], ["smal-2d", "did you mean small-2d"]),
    "no such recipe": ({"recipe": "zzz"}, [], ["zzz", "use one of"]),
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
