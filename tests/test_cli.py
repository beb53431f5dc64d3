"""The command line: answers at once, prints what can be read back, and does the whole job on real files."""

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
from vol2vol.cli import VERBS, main
from vol2vol.geometry import Box

torch.set_num_threads(1)
TINY = (
    "data.patch=30",
    "data.calibration=2",
    "cyclegan.loss_region=full",
    "cyclegan.generator.arguments={levels: 2, width: 4}",
    "cyclegan.critic.arguments={width: 4, n_layers: 1}",
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


def test_help_names_every_verb(capsys):
    for words in ([], ["--help"], ["-h"]):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert all(f"  {verb} " in said for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb, capsys):
    assert main([verb, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: vol2vol {verb}")
    assert not err


def test_help_describes_every_flag(capsys):
    main(["predict", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("--strategy {exact,printed,disjoint,average,blend}", "seamless", "--roi", "--dry-run", "--raw"):
        assert words in said, words
    assert "--no-overwrite" not in said


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
    made = json.loads(run(capsys, "predict", job / "run", job / "rat.tif", job / "out.zarr", *size, "--json"))
    assert made["voxels computed"] == 6 * 50 * 47
    said = json.loads(run(capsys, "info", job / "out.zarr", "--json"))
    assert said["kind"] == "volume"
    assert said["shape"] == [1, 6, 50, 47]
    assert said["voxel_size"] == [5.0, 5.0, 5.0]
    assert said["unit"] == "nanometer"
    again = json.loads(run(capsys, "predict", job / "run", job / "rat.tif", job / "out.zarr", *size, "--json"))
    assert again["voxels computed"] == 0
    run(capsys, "predict", job / "run", job / "out.zarr", job / "back.tif", "--direction", "backward")
    assert tifffile.imread(job / "back.tif").shape == (6, 50, 47)


def test_info_on_a_run_and_a_model(job, capsys):
    said = json.loads(run(capsys, "info", job / "run", "--json"))
    assert said["kind"] == "run"
    assert said["epochs"] == 1
    assert said["recipe"]["train"]["epochs"] == 1
    model = json.loads(run(capsys, "info", job / "run" / "models" / "epoch-0001", "--json"))
    assert model["kind"] == "model"
    names = [volume["name"] for volume in model["provenance"]["volumes"]["target"]]
    assert names == ["human 1.tif", "human 2.tif"]
    text = run(capsys, "info", job / "run")
    assert "kind: run" in text


def test_the_same_training_again_is_finished(job, capsys):
    words = ["train", *TINY, "--recipe", "small-2d", "--source", job / "rat.tif", "--target", job / "human 1.tif"]
    words += ["--out", job / "run", "--voxel-size", "5,5,5", "--json"]
    made = json.loads(run(capsys, *words))
    assert made["model"].endswith("epoch-0001")


def test_dry_run_prints_and_writes_nothing(job, capsys, monkeypatch):
    monkeypatch.setattr("vol2vol.prediction.estimate.TRIAL", 1e7)
    before = sorted(job.rglob("*"))
    size = ("--voxel-size", "5,5,5")
    said = json.loads(
        run(capsys, "predict", job / "run", job / "rat.tif", job / "no.zarr", *size, "--dry-run", "--json")
    )
    assert {
        "blocks",
        "redundancy",
        "operations",
        "bytes of memory",
        "bytes of memory allowed",
        "expected seconds",
    } <= set(said)
    assert sorted(job.rglob("*")) == before


def test_import_predict_info_from_end_to_end(tmp_path, capsys):
    torch.save(reference_weights(), tmp_path / "latest_net_G_A.pth")
    said = json.loads(
        run(capsys, "import", tmp_path / "latest_net_G_A.pth", tmp_path / "model", "--dims", "2", "--json")
    )
    assert said["dims"] == 2
    assert json.loads(run(capsys, "info", tmp_path / "model", "--json"))["channels"] == {"source": 1, "target": 1}
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
    made = vol2vol.open_volume(tmp_path / "out.zarr")
    assert made.dtype == np.float32
    assert np.abs(made.read(Box.of(made.spatial))).max() <= 1


def reference_weights(levels=5, width=2):
    """Make random weights under the reference code's names."""
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
        made = 1 if level == 0 else channels[level - 1]
        put(f"{block}{down}", outputs, inputs)
        weights[f"{block}{up}.weight"] = torch.randn(outputs * (1 if innermost else 2), made, 4, 4) * 0.1
        weights[f"{block}{up}.bias"] = torch.zeros(made)
        norms = {} if level == 0 else {"4" if innermost else "6": made}
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
    said = json.loads(run(capsys, "predict", job / "run", job / "rat.tif", name, "--voxel-size", "5,5,5", "--json"))
    assert vol2vol.open_volume(said["output"]).spatial == (6, 50, 47)


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
    made = subprocess.run(words, env=plain, capture_output=True, text=True, check=False)
    assert made.returncode == 2
    assert made.stderr == "vol2vol: Missing from vol2vol info: PATH any of them. (required): see vol2vol info --help\n"


def test_without_a_terminal_there_is_no_progress_bar(job, tmp_path):
    words = ["predict", job / "run", job / "rat.tif", tmp_path / "o.zarr", "--voxel-size", "5,5,5"]
    code = "import sys; from vol2vol.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.startswith("output: ")
