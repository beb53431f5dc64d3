"""Tests of two processes that train together on a CPU: a signal to one of them stops both, and both can continue."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.cli.test_verbs import TINY, tiff
from tests.training.runs import same, state, timeless

from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.training import read_log

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals")]
LONGER = ("train.epochs=2", "train.steps_per_epoch=40", "train.devices=2", "train.accelerator=cpu")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Return the command of a training by two processes, without its folder."""
    folder = tmp_path_factory.mktemp("stacks")
    source, target = tiff(folder / "rat.tif", (12, 50, 47)), tiff(folder / "human.tif", (12, 44, 61), seed=1)
    words = ["train", "--source", str(source), "--target", str(target), *TINY, *LONGER, "--voxel-size", "5,5,5"]
    return [sys.executable, "-m", "vol2vol.cli", *words, "--out"]


@pytest.fixture(scope="module")
def calm(command, tmp_path_factory):
    """Return an undisturbed run."""
    run = tmp_path_factory.mktemp("calm") / "run"
    done = subprocess.run([*command, run], check=True, capture_output=True, text=True, timeout=280)
    assert done.stdout == f"run: {run}\nmodel: {run}/models/epoch-0002\n"
    return run


@pytest.mark.parametrize(
    ("name", "group"), [("SIGTERM", True), ("SIGTERM", False), ("SIGINT", True), ("SIGUSR1", False)]
)
def test_a_signal_to_one_or_both_saves_once_and_the_same_bits_follow(name, group, command, calm, tmp_path):
    run = tmp_path / "run"
    program = subprocess.Popen([*command, run], start_new_session=True, stderr=subprocess.PIPE, text=True)
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert program.poll() is None, program.stderr.read()
        time.sleep(0.01)
    (os.killpg if group else os.kill)(program.pid, getattr(signal, name))
    lines = program.communicate(timeout=120)[1].splitlines()
    assert program.returncode == 128 + getattr(signal, name)
    assert [line for line in lines if "stopped; " in line] == lines[-1:]
    assert lines[-1].startswith(f"vol2vol: {run}: stopped; the state after ")
    assert lines[-1].endswith(" is saved, and the same command continues there")
    steps = state(run)["part"]["steps"]
    assert f"step {steps} of 40 in epoch 2 of 2" in lines[-1] or (steps == 0 and "after epoch 1 of 2" in lines[-1])
    subprocess.run([*command, run], check=True, capture_output=True, timeout=280)
    assert same(state(run), state(calm))
    assert timeless(read_log(run / "log.csv")) == timeless(read_log(calm / "log.csv"))
    assert load_bundle(find_bundle(run, "last")).hash == load_bundle(find_bundle(calm, "last")).hash
