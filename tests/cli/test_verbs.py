"""Tests of the command line: it starts quickly, its output can be parsed, and all verbs work on real files."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
import yaml

import vol2vol
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.geometry import Box

torch.set_num_threads(1)
KINDS = ("seams", "fidelity", "structure", "overlap", "circles", "distance")
PHANTOMS = ("circles", "nuclei", "tissue")
KINDS_OF_VERBS = (*(f"evaluate {kind}" for kind in KINDS), *(f"phantom {kind}" for kind in PHANTOMS))
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


def tiff(path, shape, *, seed=0):
    """Write a stack with structure and no voxel size."""
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.integers(0, 4, [-(-n // 4) for n in shape]), np.ones((4, 4, 4)))[tuple(map(slice, shape))]
    stack = (40 * smooth + rng.integers(0, 90, shape)).astype(np.uint8)
    tifffile.imwrite(path, stack, photometric="minisblack")
    return path


def run(capsys, *words):
    """Run a verb that must succeed; return what it printed."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


OVERRIDES = ("train.epochs=2", "data.patch=30")


@pytest.mark.parametrize(
    "words",
    [
        (*OVERRIDES, "--source", "a", "b", "--target", "c", "--out", "d"),
        ("--source", "a", "b", OVERRIDES[0], "--target", "c", OVERRIDES[1], "--out", "d"),
        ("--source", "a", "b", *OVERRIDES, "--target", "c", "--out", "d"),
        ("--source", "a", "b", "--out", "d", "--target", "c", *OVERRIDES),
        ("--overwrite", *OVERRIDES, "--source", "a", "b", "--out", "d", "--target", "c"),
    ],
)
def test_changes_to_a_recipe_are_taken_wherever_they_stand(words, monkeypatch):
    asked = {}

    def train(recipe, source, target, out, *, overrides, **_):
        asked.update(source=source, target=target, out=out, overrides=set(overrides))
        raise BadInput("enough")

    monkeypatch.setattr("vol2vol.cli.train_.train", train)
    assert main(["train", *words]) == 2
    assert asked == {"source": ("a", "b"), "target": ("c",), "out": "d", "overrides": set(OVERRIDES)}


def test_values_of_options_and_files_are_no_changes(tmp_path, monkeypatch):
    """The word right after an option is its value, and a file may have an equals sign in its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "day=1.tif").write_text("")
    asked = {}

    def train(recipe, source, target, out, *, overrides, **_):
        asked.update(source=source, out=out, overrides=overrides)
        raise BadInput("enough")

    monkeypatch.setattr("vol2vol.cli.train_.train", train)
    words = ["--source", "a", "day=1.tif", "seed=2", "--target", "b", "--out", "lr=0.1"]
    assert main(["train", *words]) == 2
    assert asked == {"source": ("a", "day=1.tif"), "out": "lr=0.1", "overrides": ("seed=2",)}

    def prepare(input, output, recipe, *, overrides, **_):
        asked.update(recipe=recipe, overrides=overrides, output=output)
        raise BadInput("enough")

    monkeypatch.setattr("vol2vol.cli.prepare_.prepare", prepare)
    assert main(["prepare", "in.zarr", "split.gap=4", "out.zarr", "--split", "train=0.8,test=0.2"]) == 2
    assert asked["recipe"]["split"]["parts"] == {"train": 0.8, "test": 0.2}
    assert (asked["overrides"], asked["output"]) == (("split.gap=4",), "out.zarr")


def test_version(capsys):
    assert run(capsys, "--version") == f"vol2vol {vol2vol.__version__}\n"


def test_help_and_import_are_instant():
    for code in ("import vol2vol.cli; vol2vol.cli.main(['--help'])", "import vol2vol; vol2vol.__all__"):
        check = (
            f"import sys, time\n{code}\n"
            "assert time.process_time() < 1, time.process_time()\n"
            "heavy = {'torch', 'lightning', 'tensorstore', 'matplotlib', 'h5py', 'tifffile', 'numpy'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL)


def test_info_on_a_volume_needs_no_torch(tmp_path):
    path = tiff(tmp_path / "a.tif", (3, 8, 8))
    check = (
        "import sys; from vol2vol.cli import main\n"
        f"assert main(['info', {str(path)!r}, '--voxel-size', '1,1,1']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL)


def test_recipes_print_what_loads_again(capsys, tmp_path):
    listed = json.loads(run(capsys, "recipes", "--json"))
    assert {"paper-2d", "paper-3d", "small-2d", "small-3d"} <= set(listed)
    text = run(capsys, "recipes", "small-2d", "train.epochs=3")
    (tmp_path / "mine.yaml").write_text(text)
    again = run(capsys, "recipes", tmp_path / "mine.yaml")
    assert again == text
    assert yaml.safe_load(text)["train"]["epochs"] == 3
    assert json.loads(run(capsys, "recipes", "small-2d", "--json"))["dims"] == 2


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Train on two TIFF stacks of different voxel size in a folder with a space and an umlaut; return the folder."""
    folder = tmp_path_factory.mktemp("a job für alle")
    tiff(folder / "rat.tif", (6, 50, 47))
    tiff(folder / "human 1.tif", (5, 44, 61), seed=1)
    tiff(folder / "human 2.tif", (4, 70, 33), seed=2)
    words = ["train", *TINY, "--recipe", "small-2d", "--source", folder / "rat.tif"]
    words += ["--target", folder / "human 1.tif", folder / "human 2.tif", "--out", folder / "run"]
    words += ["--voxel-size", "5,5,5", "--target-voxel-size", "50,4.6,4.6", "--unit", "nm", "--json"]
    assert main([str(word) for word in words]) == 0
    return folder


def test_train_predict_info_from_end_to_end(job, capsys):
    size = ("--voxel-size", "5,5,5", "--unit", "nm")
    summary = json.loads(run(capsys, "predict", job / "run", job / "rat.tif", job / "out.zarr", *size, "--json"))
    assert summary["voxels computed"] == 6 * 50 * 47
    description = json.loads(run(capsys, "info", job / "out.zarr", "--json"))
    assert description["kind"] == "volume"
    assert description["shape"] == [1, 6, 50, 47]
    assert description["voxel_size"] == [5.0, 5.0, 5.0]
    assert description["unit"] == "nanometer"
    again = json.loads(run(capsys, "predict", job / "run", job / "rat.tif", job / "out.zarr", *size, "--json"))
    assert again["voxels computed"] == 0
    run(capsys, "predict", job / "run", job / "out.zarr", job / "back.tif", "--direction", "backward")
    assert tifffile.imread(job / "back.tif").shape == (6, 50, 47)


def test_info_on_a_run_and_a_model(job, capsys):
    description = json.loads(run(capsys, "info", job / "run", "--json"))
    assert description["kind"] == "run"
    assert description["epochs"] == 1
    assert description["recipe"]["train"]["epochs"] == 1
    model = json.loads(run(capsys, "info", job / "run" / "models" / "epoch-0001", "--json"))
    assert model["kind"] == "model"
    names = [volume["name"] for volume in model["provenance"]["volumes"]["target"]]
    assert names == ["human 1.tif", "human 2.tif"]
    text = run(capsys, "info", job / "run")
    assert "kind: run" in text


def test_the_same_training_again_is_finished(job, capsys):
    words = ["train", *TINY, "--recipe", "small-2d", "--source", job / "rat.tif", "--target"]
    words += [job / "human 1.tif", job / "human 2.tif", "--out", job / "run", "--json"]
    words += ["--voxel-size", "5,5,5", "--target-voxel-size", "50,4.6,4.6", "--unit", "nm"]
    result = json.loads(run(capsys, *words))
    assert result["model"].endswith("epoch-0001")


def test_dry_run_prints_and_writes_nothing(job, capsys, monkeypatch):
    monkeypatch.setattr("vol2vol.prediction.estimate.TRIAL", 1e7)
    before = sorted(job.rglob("*"))
    size = ("--voxel-size", "5,5,5")
    result = json.loads(
        run(capsys, "predict", job / "run", job / "rat.tif", job / "no.zarr", *size, "--dry-run", "--json")
    )
    assert {
        "blocks",
        "redundancy",
        "operations",
        "bytes of memory",
        "bytes of memory allowed",
        "expected seconds",
    } <= set(result)
    assert sorted(job.rglob("*")) == before


def test_import_predict_info_from_end_to_end(tmp_path, capsys):
    torch.save(reference_weights(), tmp_path / "latest_net_G_A.pth")
    result = json.loads(
        run(capsys, "import", tmp_path / "latest_net_G_A.pth", tmp_path / "model", "--dims", "2", "--json")
    )
    assert result["dims"] == 2
    assert json.loads(run(capsys, "info", tmp_path / "model", "--json"))["domains"].keys() == {"source", "target"}
    image = np.random.default_rng(0).integers(0, 256, (90, 100), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", image)
    run(
        capsys,
        "predict",
        tmp_path / "model",
        tmp_path / "image.tif",
        tmp_path / "out.zarr",
        "--voxel-size",
        "1,1",
        "--raw",
    )
    volume = vol2vol.open_volume(tmp_path / "out.zarr")
    assert volume.dtype == np.float32
    assert np.abs(volume.read(Box.of(volume.spatial))).max() <= 1


def reference_weights(levels=5, width=2):
    """Return random weights with the names of the reference code."""
    torch.manual_seed(0)
    weights = {}
    channels = [width * min(2**level, 8) for level in range(levels)]

    def put(name, *shape):
        weights[f"{name}.weight"] = torch.randn(*shape, 4, 4) * 0.1
        weights[f"{name}.bias"] = torch.zeros(shape[1] if "up" in name else shape[0])

    for level in range(levels):
        block = "model.model." if level == 0 else "model.model.1.model." + "3.model." * (level - 1)
        innermost = level == levels - 1
        down, up = ("0", "3") if level == 0 else ("1", "3" if innermost else "5")
        inputs, outputs = (1, *channels)[level], channels[level]
        width_in = 1 if level == 0 else channels[level - 1]
        put(f"{block}{down}", outputs, inputs)
        weights[f"{block}{up}.weight"] = torch.randn(outputs * (1 if innermost else 2), width_in, 4, 4) * 0.1
        weights[f"{block}{up}.bias"] = torch.zeros(width_in)
        norms = {} if level == 0 else {"4" if innermost else "6": width_in}
        if 0 < level < levels - 1:
            norms["2"] = outputs
        for number, count in norms.items():
            weights[f"{block}{number}.running_mean"] = torch.zeros(count)
            weights[f"{block}{number}.running_var"] = torch.ones(count)
    return weights


@pytest.mark.parametrize(
    "name", ["sub/out.zarr", "über out.zarr", "sub/OUT.TIF", "out.zarr/", "./a b/../out.zarr", "../out.zarr"]
)
def test_names_of_outputs(name, job, tmp_path, capsys, monkeypatch):
    (tmp_path / "here" / "a b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    summary = json.loads(run(capsys, "predict", job / "run", job / "rat.tif", name, "--voxel-size", "5,5,5", "--json"))
    assert vol2vol.open_volume(summary["output"]).spatial == (6, 50, 47)


@pytest.mark.skipif(os.sep == "\\", reason="a backslash is a separator on Windows")
@pytest.mark.parametrize("name", ["sub\\out.zarr", "C:\\data\\out.zarr"])
def test_names_as_windows_writes_them_are_refused_elsewhere(name, job, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(job / "run"), str(job / "rat.tif"), name, "--voxel-size", "5,5,5"]) == 2
    assert "write / instead" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["C:\\data\\em.zarr", "D:/data/em.h5:/raw", "\\\\server\\share\\em.tif"])
def test_a_drive_is_neither_an_address_nor_a_data_set(path, capsys):
    assert main(["info", path]) == 2
    line = capsys.readouterr().err
    assert "does not exist" in line
    assert line.count("\n") == 1


def test_messages_are_one_line_in_an_ascii_locale():
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable, "-m", "vol2vol.cli", "info"]
    process = subprocess.run(words, env=plain, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == "vol2vol: PATH is missing: see vol2vol info --help\n"


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["predict"], "MODEL, INPUT, OUTPUT are"),
        (["predict", "model"], "INPUT, OUTPUT are"),
        (["train", "--source", "a.tif"], "--out is"),
        (["evaluate", "seams"], "PATH is"),
        (["prepare", "a.tif"], "OUTPUT is"),
    ],
)
def test_arguments_that_are_missing_are_named(words, missing, capsys):
    assert main(words) == 2
    verb = " ".join(words[: 1 + (words[0] == "evaluate")])
    assert capsys.readouterr().err == f"vol2vol: {missing} missing: see vol2vol {verb} --help\n"


def test_without_a_terminal_there_is_no_progress_bar(job, tmp_path):
    words = ["predict", job / "run", job / "rat.tif", tmp_path / "o.zarr", "--voxel-size", "5,5,5"]
    code = "import sys; from vol2vol.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.startswith("output: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--halo", "wide"], "--halo must be a whole number, not 'wide': see vol2vol predict --help"),
        (["--workers", "1.5"], "--workers must be a whole number, not '1.5': see vol2vol predict --help"),
        (["--workers", "0"], "--workers must be greater than or equal to 1: see vol2vol predict --help"),
        (["--batch-size", "0"], "--batch-size must be greater than or equal to 1: see vol2vol predict --help"),
        (["--time", "x y"], "--time must be a whole number, not 'x y': see vol2vol predict --help"),
    ],
)
def test_a_value_that_is_no_number_is_called_that(words, says, capsys):
    assert main(["predict", "model", "in.zarr", "out.zarr", *words]) == 2
    assert capsys.readouterr().err == f"vol2vol: {says}\n"


def test_a_value_that_is_no_fraction_is_called_that(capsys):
    assert main(["prepare", "in.zarr", "out.zarr", "--above", "much"]) == 2
    assert capsys.readouterr().err == "vol2vol: --above must be a number, not 'much': see vol2vol prepare --help\n"


def test_a_domain_that_is_lacking_is_named_by_the_flag_that_gives_it(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((200, 200), np.uint8))
    words = [
        "train",
        "--recipe",
        "small-regress-2d",
        "--source",
        str(tmp_path / "a.tif"),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 2
    assert "give its volumes with --target" in capsys.readouterr().err
