"""Workers that share an output by claiming rows: nothing twice, nothing lost, dead ones replaced."""

import json
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.prediction.conftest import write_volume
from tests.prediction.test_faults import begin, same, shards

from vol2vol.cli import main
from vol2vol.errors import CannotWrite, Mismatch, WorkerLost
from vol2vol.machines.executors.slurm import Array
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction import array_task as task_module
from vol2vol.prediction import compute as compute_module
from vol2vol.prediction import leases as leases_module
from vol2vol.prediction.array_task import work
from vol2vol.prediction.leases import Leases
from vol2vol.prediction.verification import verify
from vol2vol.volumes.formats.store import read_key
from vol2vol.volumes.ledger import Ledger
from vol2vol.volumes.marks import Marks

SHARED = PredictSettings(workers=4)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    array = np.random.default_rng(7).integers(0, 256, (300, 36, 40), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("long") / "in.zarr", array, chunks=(32, 32, 32))


@pytest.fixture(scope="module")
def whole(models, long, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out.zarr"
    predict(models[3], long, out)
    return out


@pytest.fixture
def begun(models, long, tmp_path, monkeypatch):
    monkeypatch.setattr(task_module, "POLL", 0.05)
    monkeypatch.setattr(compute_module, "PAUSE", 0.01)
    return str(begin(models[3], long, tmp_path / "out.zarr", blocks=0, settings=SHARED))


def test_workers_share_the_rows(begun, whole):
    command = [sys.executable, "-m", "vol2vol.cli", "work", begun, "--json"]
    crew = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = [json.loads(worker.communicate()[0]) for worker in crew]
    assert sum(one["voxels computed"] for one in made) == 300 * 36 * 40
    assert any(one["complete"] for one in made)
    same_folder(begun, whole)
    assert work(begun) == (0, True)


def same_folder(output, whole):
    same(Path(output), whole)


def test_a_worker_that_is_told_to_stop_finishes_its_block_and_leaves_the_rest(begun, whole, monkeypatch):
    stop = threading.Event()
    mark = Marks.mark

    def marked(self, *block):
        mark(self, *block)
        stop.set()

    monkeypatch.setattr(Marks, "mark", marked)
    voxels, complete = work(begun, stop=stop)
    assert not complete
    assert 0 < voxels < 300 * 36 * 40
    assert work(begun, stop=stop) == (0, False)
    monkeypatch.undo()
    assert work(begun)[1]
    same_folder(begun, whole)


def test_rows_of_the_dead_are_taken_over(begun, whole, monkeypatch):
    monkeypatch.setattr(task_module, "POLL", 0.05)
    dead = Leases(Ledger.of(begun), "dead")
    for row in ("0.0.0", "64.0.0", "128.0.0"):
        dead.take(row)
    voxels, complete = work(begun, stale=0.3)
    assert (voxels, complete) == (300 * 36 * 40, True)
    same_folder(begun, whole)


def test_the_living_show_signs_of_life(begun):
    """However slow the machine: what others make of the signs is tested below, on a clock of its own."""
    ledger = Ledger.of(begun)
    alive, other = Leases(ledger, "alive", stale=0.2), Leases(ledger, "other", stale=0.0)
    assert alive.take("a")
    seen = set()
    with alive.renewing():
        while len(seen) < 4:
            seen.add(read_key(ledger.folder, "leases/a"))
    assert not other.take("a")
    time.sleep(0.05)
    assert other.take("a")
    assert not alive.take("a")


class Clock:
    """Time that passes when it is told to: the leases of one machine, whose clock may be hours off."""

    def __init__(self, now):
        self.now = now

    def monotonic(self):
        return self.now


def test_the_dead_are_taken_over_after_a_while_of_the_observers_own_clock(begun, monkeypatch):
    """With beats and limits as they are: a living claim is never taken, a dead one after `STALE` seconds."""
    clock = Clock(12345.0)
    monkeypatch.setattr(leases_module, "time", clock)
    ledger = Ledger.of(begun)
    alive, observer = Leases(ledger, "alive"), Leases(ledger, "observer")
    assert alive.take("a")
    for _ in range(200):  # ten beats and more between two looks, and looks that come late
        clock.now += leases_module.BEAT
        alive._renew("a", alive._mine["a"])
        assert not observer.take("a")
    died = clock.now
    while not observer.take("a"):
        clock.now += 2.0  # as often as a worker looks
        assert clock.now - died < leases_module.STALE + 5
    assert clock.now - died > leases_module.STALE
    assert not alive.take("a")
    assert not Leases(ledger, "late").take("a")  # who has just come has not seen it stand still


@pytest.mark.parametrize("written", [False, True])
def test_signs_of_life_go_on_after_one_that_failed(begun, monkeypatch, written):
    """Whether what was said to have failed was written or not, the next ones follow on it."""
    ledger = Ledger.of(begun)
    alive, exchange, seen = Leases(ledger, "alive"), leases_module.exchange_key, set()
    assert alive.take("a")

    def fails(*what, **expected):
        if written:
            exchange(*what, **expected)
        raise CannotWrite("the network is away")

    with monkeypatch.context() as patch:
        patch.setattr(leases_module, "exchange_key", fails)
        alive._renew("a", alive._mine["a"])
    for _ in range(4):
        alive._renew("a", alive._mine["a"])
        seen.add(read_key(ledger.folder, "leases/a"))
    assert len(seen) >= 3
    assert not Leases(ledger, "other").take("a")


def test_an_observer_that_slept_takes_nothing_that_lives(begun, monkeypatch):
    """A look after an hour is the first since: what has changed meanwhile is alive."""
    clock = Clock(0.0)
    monkeypatch.setattr(leases_module, "time", clock)
    ledger = Ledger.of(begun)
    alive, observer = Leases(ledger, "alive"), Leases(ledger, "observer")
    assert alive.take("a")
    assert not observer.take("a")
    clock.now += 3600
    alive._renew("a", alive._mine["a"])
    assert not observer.take("a")
    clock.now += leases_module.STALE - 1
    assert not observer.take("a")
    clock.now += 2
    assert observer.take("a")


def test_an_owner_that_starts_again_gets_its_lease_back(begun):
    ledger = Ledger.of(begun)
    assert Leases(ledger, "slurm.1_2").take("a")
    assert Leases(ledger, "slurm.1_2").take("a")
    assert not Leases(ledger, "slurm.1_3").take("a")


def test_a_worker_considered_dead_leaves_the_lease_of_another_alone(begun, monkeypatch):
    clock = Clock(5.0)
    monkeypatch.setattr(leases_module, "time", clock)
    ledger = Ledger.of(begun)
    for row, give_back in (("a", lambda c: c.release("a")), ("b", lambda c: c.fail("b", CannotWrite("too late")))):
        slept, heir = Leases(ledger, "slept"), Leases(ledger, "heir")
        assert slept.take(row)
        assert not heir.take(row)
        clock.now += leases_module.STALE + 1
        assert heir.take(row)
        give_back(slept)
        assert not Leases(ledger, "third").take(row), "the heir still computes it"
        heir.release(row)
        assert Leases(ledger, "third").take(row)


def test_a_row_on_which_workers_die_is_given_up_and_named(begun):
    ledger = Ledger.of(begun)
    for _ in range(leases_module.TRIES):
        assert Leases(ledger, "me").take("64.0.0")
    with pytest.raises(WorkerLost, match=r"block 64\.0\.0: 3 workers failed on it \(they died\)"):
        Leases(ledger, "me").take("64.0.0")
    leases = Leases(ledger, "me")
    leases.take("0.0.0")
    leases.fail("0.0.0", CannotWrite("the moon is full"))
    leases.take("0.0.0")
    assert Leases(ledger, "me").take("0.0.0", done=1)  # it got on: it is another block that they failed on
    for done in range(2, 3 * leases_module.TRIES):
        assert Leases(ledger, "me").take("0.0.0", done=done)


def test_failures_are_repeated_by_others_and_then_named(begun, whole, models, long, monkeypatch, tmp_path):
    def refuses(*_):
        raise CannotWrite("the moon is full")

    monkeypatch.setattr(compute_module, "checksum", refuses)
    for _ in range(2):
        with pytest.raises(WorkerLost, match="the moon is full"):
            work(begun)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    predict(models[3], long, begun, PredictSettings(executor="slurm"))
    assert work(begun)[1]
    same_folder(begun, whole)


@pytest.mark.parametrize("bytes_left", [100, None])
@pytest.mark.parametrize("which", [1, 2])
def test_damage_by_others_is_found_before_the_output_is_complete(begun, whole, models, long, caplog, which, bytes_left):
    """Also where coarser levels are made of it first: a shard that is gone reads as zeros, one cut off not at all."""
    begin(models[3], long, begun, blocks=3)
    file = shards(Path(begun))[which]
    if bytes_left is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:bytes_left])
    assert work(begun)[1]
    assert "is damaged" in caplog.text
    same_folder(begun, whole)


def test_whoever_comes_as_another_finishes_finds_it_complete(begun, whole, monkeypatch):
    """Complete by the time its plan is read, though it was not a moment before."""
    assert work(begun)[1]
    looks = iter([False])
    monkeypatch.setattr(task_module, "finished", lambda output: next(looks, True))
    assert work(begun) == (0, True)
    same_folder(begun, whole)


def test_an_output_that_was_not_begun_is_named(tmp_path):
    with pytest.raises(Mismatch, match="nothing to do: no prediction"):
        work(str(tmp_path / "none.zarr"))


def test_verify_an_unfinished_output(begun, models, long):
    begin(models[3], long, begun, blocks=2)
    found = verify(begun)
    assert found.blocks in (2, 3)  # the one that was being written when it was broken off may be there
    assert (found.of, found.differing) == (5, 0)


def test_script_of_an_array():
    script = Array(command=["/a b/python", "-m", "x"], tasks=3, options="--time=1:00:00 --gres=gpu:1").script()
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "#SBATCH --array=0-2" in lines
    assert "#SBATCH --time=1:00:00 --gres=gpu:1" in lines
    assert lines[-1] == "exec '/a b/python' -m x"


def test_command_line_of_work_and_verify(begun, whole, models, long, capsys, tmp_path):
    assert main(["work", begun]) == 0
    assert "complete: yes" in capsys.readouterr().out
    same_folder(begun, whole)
    assert main(["verify", begun]) == 2
    assert "give --model and --input (input in.zarr, model " in capsys.readouterr().err
    words = ["verify", begun, "--model", str(models[3]), "--input", str(long), "--sample", "3"]
    assert main(words) == 0
    file = shards(Path(begun))[0]
    file.write_bytes(shards(Path(begun))[1].read_bytes())
    assert main([*words, "--sample", "9"]) == 1
    assert "0.0.0: " in capsys.readouterr().out
    assert main(["verify", begun, "--model", str(models[2]), "--input", str(long)]) == 2
    assert "another model" in capsys.readouterr().err
    assert main(["verify", str(long), "--model", str(models[2]), "--input", str(long)]) == 2
    assert "does not say how it was made" in capsys.readouterr().err


def test_dry_run_of_an_array_shows_its_script(models, long, capsys):
    words = ["predict", str(models[3]), str(long), "a b.zarr", "--executor", "slurm", "--workers", "3", "--dry-run"]
    assert main([*words, "--sbatch=--partition=gpu --gres=gpu:1"]) == 0
    said = capsys.readouterr().out
    assert "#SBATCH --partition=gpu --gres=gpu:1" in said
    assert "a b.zarr' --requeue" in said
    assert main([*words, '--sbatch=--comment="open']) == 2


def test_without_sbatch_the_script_is_left_for_later(models, long, tmp_path, monkeypatch):
    folder = tmp_path / "my data"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(tmp_path))
    made = predict(models[3], long, folder / "out.zarr", PredictSettings(executor="slurm", workers=2))
    assert made.voxels == 0
    assert "no sbatch here" in made.submitted
    script = folder / "vol2vol-out.zarr.sbatch"
    assert shlex.split(made.submitted.split("`")[1]) == ["sbatch", str(script)]
    assert "vol2vol.cli work" in script.read_text()
