"""A march of several processes, of tasks of a job array and of Dask workers, also killed: the same bytes (L12)."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.prediction.conftest import write_volume
from tests.prediction.killing import Killing, help_is_waited_for
from tests.prediction.marching import model, network_of, raster
from tests.prediction.test_faults import same

from vol2vol.machines.executors import slurm
from vol2vol.prediction import PredictSettings, array_task, predict
from vol2vol.prediction.array_task import work
from vol2vol.volumes import open_volume

torch.set_num_threads(1)
HOW = {"strategy": "march", "tile": "16", "overlap": 4, "memory": "4GB"}
SHAPE = (3, 90, 139)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A 2D model, a volume of four blocks, and its march in raster order."""
    folder = tmp_path_factory.mktemp("shared march")
    array = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    path, source = model(folder / "m", 2), write_volume(folder / "in.zarr", array)
    wanted = raster(array, network_of(path), tile=(16, 16), overlap=(4, 4), keep=(2, 2), planar=True)
    return path, source, wanted


@pytest.fixture(scope="module")
def whole(setting, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole march") / "out.zarr"
    assert predict(*setting[:2], out, PredictSettings(**HOW)).blocks == 4
    assert_is(out, setting)
    return out


def assert_is(output, setting):
    with open_volume(output) as volume:
        np.testing.assert_array_equal(np.asarray(volume)[0], setting[2])
    assert not (output / ".vol2vol").exists()


@pytest.mark.parametrize("how", [{"workers": 2}, {"executor": "dask", "workers": 2}])
def test_several_processes_march_to_the_same_bytes(tmp_path, monkeypatch, setting, whole, how):
    help_is_waited_for(monkeypatch.setattr)
    predict(*setting[:2], tmp_path / "out.zarr", PredictSettings(**HOW, **how))
    same(tmp_path / "out.zarr", whole)
    assert not (tmp_path / "out.zarr" / ".vol2vol").exists()


def test_tasks_of_a_job_array_march_together(tmp_path, monkeypatch, setting, whole):
    monkeypatch.setattr(array_task, "POLL", 0.02)
    monkeypatch.setattr(slurm, "submit", lambda script: None)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out.zarr"
    predict(*setting[:2], out, PredictSettings(**HOW, executor="slurm", workers=3))
    assert "#SBATCH --array=0-2" in next(tmp_path.glob("*.sbatch")).read_text()
    command = [sys.executable, "-m", "vol2vol.cli", "work", str(out)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    work(str(out))
    other.communicate()
    assert other.returncode == 0
    same(out, whole)


@pytest.mark.slow
def test_a_march_killed_by_the_system_continues_to_the_same_bytes(tmp_path, setting, whole):
    job = {"model": setting[0], "input": setting[1], "settings": HOW}
    killing = Killing(tmp_path, seed=0)
    try:
        took = killing.whole(**job, output=tmp_path / "whole" / "out.zarr")
        killing.until_complete(took, 5, **job, output=tmp_path / "alone" / "out.zarr")
        shared = {**job, "settings": {**HOW, "workers": 2}}
        killing.groups(2 * took, 4, **shared, output=tmp_path / "shared" / "out.zarr")
    finally:
        killing.close()
    assert killing.kills >= 3
    for name in ("whole", "alone", "shared"):
        same(tmp_path / name / "out.zarr", whole)
