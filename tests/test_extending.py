"""The example package, as pip installs it, goes from a file of its own format to a judged prediction."""

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml

from vol2vol.cli import main
from vol2vol.describe import load_model
from vol2vol.nets import CATALOGUE

torch.set_num_threads(1)
EXAMPLE = Path(__file__).parents[1] / "examples" / "vol2vol-hello"
RECIPE = """
dims: 2
data: {patch: 34, calibration: 1}
task: {name: hello, network: {name: hello, arguments: {width: 2}}}
train: {epochs: 1, steps_per_epoch: 40, accelerator: cpu, lr: 0.02}
"""


def run(capsys, *words):
    """Run a verb and return its exit code with what it printed."""
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys, hello):
    """A folder with a pair of numpy arrays and a model of the example's task, trained on it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 200, (12, 10, 11)), np.ones((1, 6, 6))).astype(np.uint8)
    np.save("image.npy", image)
    np.save("truth.npy", 255 - image)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    volumes = ["--source", "image.npy", "--target", "truth.npy", "--voxel-size", "4,4,4", "--unit", "nm"]
    code, _, err = run(capsys, "train", "--recipe", "recipe.yaml", *volumes, "--out", "run")
    assert code == 0, err
    return tmp_path


def test_from_its_own_format_to_a_judged_prediction(trained, capsys):
    about = ["--voxel-size", "4,4,4", "--unit", "nm"]
    code, _, err = run(capsys, "predict", "run", "image.npy", "out.tif", *about)
    assert code == 0, err
    output, truth = tifffile.imread("out.tif").astype(float), np.load("truth.npy").astype(float)
    assert output.shape == truth.shape
    assert np.corrcoef(output.ravel(), truth.ravel())[0, 1] > 0.8
    code, out, err = run(capsys, "evaluate", "fidelity", "out.tif", "truth.npy", "--json", *about)
    assert code == 0, err
    psnr = 10 * np.log10(np.ptp(truth) ** 2 / np.mean((output - truth) ** 2))
    assert json.loads(out)["psnr"]["value"] == pytest.approx(psnr, rel=1e-6)
    code, out, err = run(capsys, "evaluate", "hello", "out.tif", "--source", "image.npy", "--json", *about)
    assert code == 0, err
    assert json.loads(out)["ratio"]["value"] == pytest.approx(output.mean() / np.load("image.npy").mean())


def test_its_model_names_the_package_where_it_is_lacking(trained, capsys, hello_site, monkeypatch):
    version = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["version"]
    packages = load_model("run").meta["provenance"]["packages"]
    assert packages.keys() == {"networks", "tasks", "losses"}
    assert all(kind == {"hello": {"package": "vol2vol-hello", "version": version}} for kind in packages.values())
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(hello_site)])
    vars(CATALOGUE).pop("_outside")
    tifffile.imwrite("image.tif", np.load("image.npy"), photometric="minisblack")
    for words in (["predict", "run", "image.tif", "out.tif"], ["info", "run/models/epoch-0001"]):
        code, _, err = run(capsys, *words)
        assert code == 2
        assert f"'hello' comes from the package vol2vol-hello {version}, which is not installed: install it" in err
        assert err.count("\n") == 1
    assert not (trained / "out.tif").exists()


@pytest.mark.usefixtures("hello")
def test_a_recipe_with_its_task_is_listed_in_full_and_checked(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    code, out, err = run(capsys, "recipes", tmp_path / "recipe.yaml")
    assert code == 0, err
    assert yaml.safe_load(out)["task"]["loss"] == {"hello": 1.0}
    code, _, err = run(capsys, "recipes", tmp_path / "recipe.yaml", "task.loss={hallo: 1}")
    assert code == 2
    assert "this is not a loss: use one of l1, l2, smooth-l1, ssim, pearson, hello" in err
