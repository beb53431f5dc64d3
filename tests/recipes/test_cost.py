"""Tests of costs: operations against counted steps, logs of runs, and the records of models and outputs."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput, NotFound
from vol2vol.geometry import Box
from vol2vol.prediction import PredictSettings, predict
from vol2vol.recipes import fit_baseline, load_recipe, train
from vol2vol.recipes.cost import cost, prediction_cost, recipe_cost, step_operations
from vol2vol.tasks import CycleGAN, Segment
from vol2vol.training import read_log
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
TINY = (
    "data.patch=94",
    "data.calibration=1",
    "task.generator.arguments.width=2",
    "task.generator.arguments.levels=3",
    "task.critic.arguments.width=2",
    "task.critic.arguments.n_layers=1",
    "task.pool=2",
    "train.epochs=2",
    "train.steps_per_epoch=2",
    "train.checkpoint_every=1",
    "train.accelerator=cpu",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    values = np.random.default_rng(0).integers(0, 255, (1, 4, 120, 130)).astype(np.uint8)
    for name in ("a", "b"):
        volume = create_volume(
            folder / f"{name}.zarr", shape=values.shape, dtype=np.uint8, voxel_size=(1, 1, 1), unit=""
        )
        volume.write(Box.of(values.shape[1:]), values)
        volume.flush()
    train("small-2d", folder / "a.zarr", folder / "b.zarr", folder / "run", overrides=TINY, progress=False)
    predict(folder / "run", folder / "a.zarr", folder / "out.zarr", PredictSettings(tile="110", pyramid=False))
    return folder


@pytest.mark.parametrize("name", ["small-2d", "small-segment-2d"])
def test_a_step_is_counted_without_being_taken(name):
    overrides = TINY if name == "small-2d" else ("data.patch=76", "task.network.arguments.width=2")
    recipe = load_recipe(name, overrides)
    kind, chosen = (CycleGAN, recipe.task) if recipe.task.name == "cyclegan" else (Segment, recipe.task)
    task = kind(chosen, dims=recipe.dims)
    before = {key: value.clone() for key, value in task.state_dict().items() if torch.is_tensor(value)}
    counted = step_operations(task, recipe.patch, 2)
    assert all(torch.equal(task.state_dict()[key], value) for key, value in before.items())
    batch = {name: torch.rand(2, 1, *recipe.patch) for name in ("source", "target")}
    with FlopCounterMode(display=False) as taken:
        for turn in task.turns(batch):
            turn.loss.backward()
    assert (
        counted
        == taken.get_total_flops()
        == recipe_cost(load_recipe(recipe, ("train.batch_size=2",)))["operations per step"]
    )
    assert 1.5 < counted / step_operations(task, recipe.patch, 1) < 2.5


def test_a_recipe_says_its_weights_and_operations():
    costs = recipe_cost("paper-2d")
    net = nets.build("unet", dims=2, **load_recipe("paper-2d").task.generator.arguments)
    assert costs["weights per direction"]["forward"] == sum(w.numel() for w in net.parameters())
    assert costs["weights"]["generators"] == 2 * costs["weights per direction"]["forward"]
    foot = nets.footprint(net)
    large = foot.admissible(4000, 0, at_least=True)
    per_voxel = nets.flops(net, (large,) * 2) / large**2
    assert costs["operations per voxel"]["forward"] == pytest.approx(per_voxel, rel=0.1)


def test_a_run_says_what_was_measured(run, capsys):
    rows = read_log(run / "run" / "log.csv")
    assert all(50e6 < row["memory"] < 1e11 for row in rows)
    costs = cost(run / "run")
    assert (costs["epochs"], costs["steps"]) == (2, 4)
    seconds = [row["seconds"] for row in rows]
    assert costs["seconds per step"] == pytest.approx(sum(seconds) / 4, rel=1e-3)
    assert costs["bytes of peak memory"] == max(row["memory"] for row in rows)
    assert costs["hours to"]["epoch-0001"] == pytest.approx(seconds[0] / 3600, rel=1e-3)
    assert costs["hours to"]["epoch-0002"] == costs["hours"] == pytest.approx(sum(seconds) / 3600, rel=1e-3)
    assert costs["operations per second"] == pytest.approx(costs["operations per step"] * 4 / sum(seconds), rel=1e-3)
    capsys.readouterr()
    assert main(["info", str(run / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] == json.loads(json.dumps(costs))


def test_logs_of_before_memory_was_kept(run, tmp_path):
    (tmp_path / "recipe.yaml").write_text((run / "run" / "recipe.yaml").read_text())
    (tmp_path / "log.csv").write_text("epoch,step,lr,seconds\n1,10,0.1,5.0\n")
    costs = cost(tmp_path)
    assert (costs["bytes of peak memory"], costs["seconds per step"], costs["hours to"]) == (None, 0.5, {})
    assert costs["operations per step"] > 1e6
    (tmp_path / "recipe.yaml").write_text("nothing: known\n")
    (tmp_path / "log.csv").write_text("epoch,step,lr,seconds,memory\n1,10,0.1,5.0,nan\n2,20,0.1,5.0,7e8\n")
    assert cost(tmp_path)["bytes of peak memory"] == 7e8
    assert "operations per step" not in cost(tmp_path)
    (tmp_path / "log.csv").unlink()
    assert cost(tmp_path)["seconds per step"] is None


def test_an_output_says_how_much_was_computed_twice(run):
    prediction = predict(run / "run", run / "a.zarr", run / "again.zarr", PredictSettings(tile="110", pyramid=False))
    costs = prediction_cost(open_volume(run / "out.zarr"))
    assert costs["voxels"] == prediction.voxels == 4 * 120 * 130
    assert costs["redundancy"] > 1
    assert costs["operations over those of an infinite tile"] > 1
    assert math.isclose(costs["operations"] / costs["voxels"], costs["operations per voxel"], rel_tol=1e-3)
    with pytest.raises(BadInput, match="holds no record of a prediction"):
        prediction_cost(open_volume(run / "a.zarr"))


def test_an_output_of_a_baseline_says_it_too_and_info_shows_it(run, tmp_path, capsys):
    fit_baseline("histogram", run / "a.zarr", run / "b.zarr", tmp_path / "model")
    predict(tmp_path / "model", run / "a.zarr", tmp_path / "out.zarr", PredictSettings(pyramid=False))
    costs = prediction_cost(open_volume(tmp_path / "out.zarr"))
    assert (costs["voxels"], costs["redundancy"]) == (4 * 120 * 130, 1)
    assert main(["info", str(tmp_path / "out.zarr"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] == json.loads(json.dumps(costs))


def test_outputs_whose_record_makes_no_sense(run, tmp_path):
    def renamed(name, **changes):
        record = {**open_volume(run / "out.zarr").attrs["vol2vol"], **changes}
        create_volume(
            tmp_path / name, shape=(1, 4, 120, 130), dtype=np.uint8, voxel_size=(1, 1, 1), unit="",
            attrs={"vol2vol": record},
        ).close()  # fmt: skip
        return open_volume(tmp_path / name)

    with pytest.raises(BadInput, match=r"was made cannot be read \(its record\.network"):
        prediction_cost(renamed("none.zarr", network=None))
    with pytest.raises(BadInput, match="states a network or tiles that are not valid"):
        prediction_cost(renamed("other.zarr", network={"name": "unet", "arguments": {"arms": 2}}))
    with pytest.raises(BadInput, match="was made cannot be read"):
        prediction_cost(renamed("odd.zarr", layout={"passes": 3}))


def test_predicting_says_its_memory(run, tmp_path, capsys):
    words = ["predict", run / "run", run / "a.zarr", tmp_path / "out.zarr", "--tile", "110", "--json"]
    assert main(list(map(str, words))) == 0
    summary = json.loads(capsys.readouterr().out)
    assert 50e6 < summary["bytes of peak memory"] < 1e11
    assert summary["voxels per second"] > 0


BEYOND = """
import time
import numpy as np
from vol2vol.machines.memory import peak_memory
before = np.ones(60_000_000, np.uint8)
with peak_memory(beyond=True) as beyond, peak_memory() as whole:
    during = np.ones(40_000_000, np.uint8)
    time.sleep(0.2)
    assert before.size + during.size < whole()
    assert 0.8 * during.size < beyond() < 0.9 * before.size + during.size
    assert before.size < whole() - beyond()
"""


def test_memory_beyond_what_a_process_held_before():
    """It runs in a separate process, because the peak memory of this one includes that of earlier tests."""
    subprocess.run([sys.executable, "-c", BEYOND], check=True)


def test_what_is_none_of_them(tmp_path):
    with pytest.raises(NotFound, match="use one of cyclegan-real-2d"):
        cost("no-such-recipe")
    with pytest.raises(NotFound, match="neither a model nor a run"):
        cost(tmp_path)
