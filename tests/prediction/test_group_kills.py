"""Whole process groups are killed: predictions by several processes, job arrays, adaptations. No byte differs."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.prediction.test_faults import begin, killing, long, same, undisturbed  # noqa: F401

from vol2vol.cli import main
from vol2vol.models.bundle import load_bundle
from vol2vol.prediction import PredictSettings

KILLS = int(os.environ.get("VOL2VOL_KILLS", "200"))
"""Kills of predictions with several processes; fewer for a first look."""


@pytest.mark.slow
def test_groups_of_processes_are_killed(killing, models, long, undisturbed, tmp_path):  # noqa: F811
    number, seconds = 0, {}
    while killing.kills < KILLS:
        workers = 2 + number % 2
        job = {"model": models[3], "input": long, "settings": {"workers": workers}}
        if workers not in seconds:
            seconds[workers] = killing.whole(**job, output=tmp_path / f"timed{workers}" / "out.zarr")
        out = tmp_path / f"{number}" / "out.zarr"
        killing.groups(seconds[workers], min(8, KILLS - killing.kills), **job, output=out)
        same(out, undisturbed / "swept" / "out.zarr")
        number += 1
    print(f"{killing.kills} kills of groups, {number} outputs, none differs")  # noqa: T201


def killed(command, random, seconds):
    """Start a command in a group of its own and kill the group at a random moment; say whether it was alive."""
    program = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(random.uniform(0, seconds))
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGKILL)
    return program.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_tasks_of_an_array_are_killed(killing, models, long, undisturbed, tmp_path):  # noqa: F811
    out = begin(models[3], long, tmp_path / "out.zarr", blocks=0, settings=PredictSettings(workers=3))
    command = [sys.executable, "-m", "vol2vol.cli", "work", str(out)]
    began = time.monotonic()
    kills = sum(killed(command, killing.random, 7) for _ in range(8))
    assert kills
    tasks = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert {task.wait() for task in tasks} == {0}
    same(out, undisturbed / "swept" / "out.zarr")
    print(f"{kills} tasks killed in {time.monotonic() - began:.0f} s")  # noqa: T201


@pytest.mark.slow
def test_an_adaptation_is_killed(killing, models, long, tmp_path):  # noqa: F811
    words = ["adapt", str(models[3]), str(long), "--patches", "200", "--intensity"]
    command = [sys.executable, "-m", "vol2vol.cli", *words]
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "calm")], check=True, capture_output=True)
    seconds = time.monotonic() - began
    kills = 0
    for _ in range(20):
        kills += killed([*command, str(tmp_path / "model")], killing.random, seconds)
        if (tmp_path / "model").exists():
            assert load_bundle(tmp_path / "model").hash == load_bundle(tmp_path / "calm").hash
            shutil.rmtree(tmp_path / "model")
    assert kills
    print(f"{kills} of 20 adaptations were killed")  # noqa: T201
    assert main([*words, str(tmp_path / "model")]) == 0
    assert load_bundle(tmp_path / "model").hash == load_bundle(tmp_path / "calm").hash
    left = {path.name for path in tmp_path.iterdir()} & {".model.partial", ".model.old"}
    assert not left
