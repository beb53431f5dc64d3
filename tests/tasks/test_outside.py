"""A task of another installed package goes from `train` to `predict`; one that cannot be loaded is named."""

import os
import subprocess
import sys

import numpy as np
import tifffile

TOY = '''
from typing import Literal

import torch
from torch import nn

from vol2vol import nets
from vol2vol.protocol import Need, Translation
from vol2vol.tasks import NetworkSettings, TaskSettings, Turn


class BrightenSettings(TaskSettings):
    """Make images brighter."""

    name: Literal["brighten"] = "brighten"
    network: NetworkSettings = NetworkSettings(name="unet", arguments={"levels": 2, "width": 2, "norm": "none"})
    by: float = 0.5

    @property
    def predicts(self):
        return self.network

    def needs(self):
        return (Need(name="dark"),)


class Brighten(nn.Module):
    Settings = BrightenSettings
    criterion = "error"

    def __init__(self, settings, *, dims, channels=None, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.settings = settings
        self.net = nets.build(settings.network.name, dims=dims, **settings.network.arguments)
        self.players = {"net": self.net}

    def turns(self, batch):
        loss = (self.net(batch["dark"]) - batch["dark"] - self.settings.by).square().mean()
        yield Turn("net", loss, {"error": loss.detach()})

    def translations(self):
        return {"up": Translation(network=self.net, reads=("dark",), makes=("dark",))}

    def channels(self):
        return {"dark": 1}

    def context(self):
        return nets.footprint(self.net).reach

    def check(self, patch):
        nets.footprint(self.net).check(patch)
'''
RECIPE = """
dims: 2
data: {patch: 34, calibration: 1}
task: {name: brighten, by: 0.25}
train: {epochs: 1, steps_per_epoch: 2, accelerator: cpu}
"""


def installed(folder, entries):
    """Write a package and what an installation would say of it; return an environment in which it is installed."""
    about = folder / "toy-0.1.dist-info"
    about.mkdir(parents=True)
    (folder / "toy.py").write_text(TOY)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text(f"[vol2vol.tasks]\n{entries}\n")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(environment, folder, *words):
    command = [sys.executable, "-m", "vol2vol.cli", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_a_task_of_another_package(tmp_path):
    environment = installed(tmp_path / "site", "brighten = toy:Brighten")
    image = np.random.default_rng(0).integers(0, 255, (4, 50, 60), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    words = ["train", "--recipe", "recipe.yaml", "--data", "dark=a.tif", "--out", "run"]
    assert run(environment, tmp_path, *words).returncode == 0
    said = run(environment, tmp_path, "predict", "run", "a.tif", "b.tif")
    assert said.returncode == 2
    assert "it has up" in said.stderr
    done = run(environment, tmp_path, "predict", "run", "a.tif", "b.tif", "--direction", "up")
    assert done.returncode == 0, done.stderr
    assert tifffile.imread(tmp_path / "b.tif").shape == (4, 50, 60)


def test_a_task_that_cannot_be_loaded_is_named_with_its_package_where_it_is_asked_for(tmp_path):
    environment = installed(tmp_path / "site", "brighten = toy:Darken")
    listed = run(environment, tmp_path, "recipes")
    assert (listed.returncode, listed.stderr) == (0, "")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    refused = run(environment, tmp_path, "train", "--recipe", "recipe.yaml", "--data", "dark=a.tif", "--out", "run")
    assert refused.returncode == 2
    assert "the task 'brighten' of the package toy 0.1 cannot be loaded" in refused.stderr
    assert "update or uninstall toy" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_wrong_setting_of_a_task_of_another_package_is_named(tmp_path):
    environment = installed(tmp_path / "site", "brighten = toy:Brighten")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("by: 0.25", "bye: 0.25"))
    refused = run(environment, tmp_path, "recipes", "recipe.yaml")
    assert refused.returncode == 2
    assert "task.bye is not a key" in refused.stderr
