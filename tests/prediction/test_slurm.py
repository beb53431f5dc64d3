"""A job array on a real SLURM of one node, started for the test: told to stop, requeued, finished."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from tests.prediction.conftest import done_blocks, write_volume
from tests.prediction.test_faults import same

from vol2vol.prediction import PredictSettings, predict
from vol2vol.volumes.ledger import Ledger
from vol2vol.volumes.outputs import read_record

START = Path(__file__).parents[1] / "slurm" / "start.sh"


def free(port):
    """Say whether nobody listens at a port; those asked for are below the range that connections are given."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def slurm():
    """A cluster whose commands find it by SLURM_CONF; skipped where none can be started."""
    port = next(port for port in random.sample(range(17000, 27000, 2), 100) if free(port) and free(port + 1))
    folder = tempfile.mkdtemp(prefix="slurm-")  # short: the length of a socket's path is limited
    env = {**os.environ, "SLURM_TEST_PORT": str(port)}
    started = subprocess.run([START, folder], env=env, capture_output=True, text=True, timeout=120, check=False)
    try:
        if started.returncode:
            reason = " | ".join((started.stdout + started.stderr).split("\n"))
            pytest.skip(f"no SLURM can be started here: {reason[-900:]}")
        os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
        yield Path(folder)
    finally:
        os.environ.pop("SLURM_CONF", None)
        subprocess.run([START, folder, "stop"], capture_output=True, timeout=60, check=False)
        time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)


def said(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, (said("squeue"), [p.read_text() for p in Path.cwd().glob("slurm-*.out")])
        time.sleep(0.2)


def states(number):
    """Return the state of each task of an array that has not ended, by its number."""
    lines = said("squeue", "--noheader", "--array", "--format=%F %K %T").split("\n")
    return {task: state for array, task, state in (line.split() for line in lines if line) if array == number}


def at_work(ledger, owner):
    """Say whether a task has claimed a row: from then on, or earlier, it listens to signals."""
    return any(owner in path.read_text() for path in Path(ledger.folder, "leases").glob("*"))


def hurry(number):
    """Let tasks that were requeued begin again: SLURM has them wait for two minutes.

    Not in the second in which they were requeued: what was granted until then is revoked, and they would end at once.
    """
    wait_for(lambda: set(states(number).values()) <= {"PENDING"})
    time.sleep(2)
    for task in states(number):
        subprocess.run(["scontrol", "update", f"JobId={number}_{task}", "StartTime=now"], check=True)


@pytest.fixture
def long(tmp_path):
    """A volume that takes a task far longer than another one needs to start on a busy machine."""
    array = np.random.default_rng(7).integers(0, 256, (8000, 40, 40), dtype=np.uint8)
    return write_volume(tmp_path / "in.zarr", array, chunks=(32, 32, 32))


def test_a_job_array_is_told_to_stop_requeued_and_finishes(slurm, models, long, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out.zarr"
    command = [sys.executable, "-m", "vol2vol.cli", "predict", str(models[3]), str(long), str(out)]
    command += ["--executor", "slurm", "--workers", "2", "--sbatch=--time=5 --cpus-per-task=1"]
    printed = said(*command)
    number = printed.partition("job ")[2].partition(":")[0]
    assert number.isdigit(), printed
    ledger = Ledger.of(str(out))
    wait_for(lambda: done_blocks(out) and all(at_work(ledger, f"slurm.{number}_{task}") for task in (0, 1)))
    subprocess.run(["scancel", "--signal=USR1", "--batch", f"{number}_1"], check=True)
    wait_for(lambda: states(number)["1"] == "PENDING")
    assert states(number).get("0") != "PENDING"  # task 1 has the number of the array, but is not the array
    subprocess.run(["scancel", "--signal=USR1", "--batch", f"{number}_0"], check=False)  # it may be done by now
    hurry(number)
    wait_for(lambda: read_record(str(out)).get("complete"))
    wait_for(lambda: not states(number))
    logs = "".join(path.read_text() for path in tmp_path.glob(f"slurm-{number}_*.out"))
    assert "SIGUSR1: finishing the current block" in logs
    assert "requeued: yes" in logs
    assert "Traceback" not in logs
    predict(models[3], long, tmp_path / "whole" / "out.zarr", PredictSettings())
    same(out, tmp_path / "whole" / "out.zarr")
    assert "nothing to do" in subprocess.run(command, capture_output=True, text=True, check=True).stderr


CLUSTER = """
queue: all
cores: 1
memory: 1GB
walltime: "00:10:00"
interface: lo
log_directory: {folder}
local_directory: {folder}
scheduler_options:
  dashboard_address: ":0"
"""


def test_dask_gets_its_workers_from_slurm(slurm, models, long, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(CLUSTER.format(folder=tmp_path))
    out = tmp_path / "out.zarr"
    command = [
        sys.executable,
        "-m",
        "vol2vol.cli",
        "predict",
        str(models[3]),
        str(long),
        str(out),
        "--executor",
        "dask",
    ]
    command += ["--scheduler", str(tmp_path / "cluster.yaml"), "--workers", "2"]
    jobs = set()
    with (tmp_path / "log").open("w") as log:
        program = subprocess.Popen(command, stdout=log, stderr=log)
        while program.poll() is None:
            jobs |= {job for job in said("squeue", "--noheader", "--format=%i %j").split("\n") if "dask-worker" in job}
            time.sleep(0.2)
    assert program.returncode == 0, (tmp_path / "log").read_text()
    assert len(jobs) == 2, jobs
    wait_for(lambda: not said("squeue", "--noheader"))
    predict(models[3], long, tmp_path / "whole" / "out.zarr", PredictSettings())
    same(out, tmp_path / "whole" / "out.zarr")
