"""Tests that a training which a signal stops, at any step, continues to the same bits as an undisturbed training."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tests.training.runs import same, state, timeless
from tests.training.tiny_run import Noise, train

from vol2vol.errors import Mismatch, NotFound, Stopped
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.training import read_log
from vol2vol.training.stopping import StopSignals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
SCRIPT = Path(__file__).parent / "stopped_run.py"
LONG = {"epochs": 3, "checkpoint_every": 3, "ema": 0.9, "steps_per_epoch": 4}


def interrupt(*args):
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Return an undisturbed run of three epochs of four steps."""
    run = tmp_path_factory.mktemp("calm") / "run"
    return run, train(run, **LONG)


class At(Noise):
    """Data that call a function when certain items of an epoch are read."""

    def __init__(self, do, *at):
        super().__init__()
        self.epoch = -1  # one item is read before training starts
        self.do, self.at = do, set(at)

    def __getitem__(self, item):
        if (self.epoch, item) in self.at:
            self.do(item)
        return super().__getitem__(item)


def test_a_signal_in_another_process_saves_the_step_and_the_same_bits_follow(tmp_path):
    run = tmp_path / "run"
    words = ["SIGTERM", "1", "1", "epochs=3", "checkpoint_every=3", "steps_per_epoch=4"]
    done = subprocess.run(
        [sys.executable, SCRIPT, run, *words], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 143, done.stderr
    saved = "the state after step 2 of 4 in epoch 2 of 3 is saved"
    assert done.stdout == f"{run}: stopped; {saved}, and the same command continues there\n"
    assert (len(state(run)["rows"]), state(run)["part"]["steps"]) == (1, 2)
    plain = {key: value for key, value in LONG.items() if key != "ema"}
    resumed = train(run, **plain)
    assert timeless(resumed.log) == timeless(train(tmp_path / "calm", **plain).log)
    assert same(state(run), state(tmp_path / "calm"))
    assert load_bundle(resumed.last_bundle).hash == load_bundle(tmp_path / "calm" / "models" / "epoch-0003").hash


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_every_signal_that_asks_for_a_stop_is_granted_after_the_step(tmp_path, name):
    number = getattr(signal, name)
    with pytest.raises(Stopped, match="step 1 of 4 in epoch 1 of 3 is saved") as stopped:
        train(tmp_path / "run", data=At(lambda _: signal.raise_signal(number), (0, 0)), **LONG)
    assert stopped.value.signal == number


@pytest.mark.parametrize("at", [(0, 0), (0, 3), (1, 0), (1, 2), (2, 3)])
def test_wherever_it_is_stopped_the_same_bits_follow(tmp_path, calm, at):
    """The first and last step of an epoch, in the first and last epoch; image pool and moving average continue, too."""
    run = tmp_path / "run"
    with pytest.raises(Stopped) as stopped:
        train(run, data=At(interrupt, at), **LONG)
    assert stopped.value.signal == signal.SIGINT
    resumed = train(run, **LONG)
    assert timeless(resumed.log) == timeless(calm[1].log)
    assert timeless(read_log(run / "log.csv")) == timeless(calm[1].log)
    assert same(state(run), state(calm[0]))
    assert load_bundle(resumed.last_bundle).hash == load_bundle(calm[1].last_bundle).hash


def test_stopped_at_every_step_it_still_arrives(tmp_path, calm):
    run = tmp_path / "run"
    for epoch in range(3):
        for item in range(4):
            with pytest.raises(Stopped):
                train(run, data=At(interrupt, (epoch, item)), **LONG)
    assert same(state(run), state(calm[0]))
    assert timeless(train(run, **LONG).log) == timeless(calm[1].log)


def test_the_time_of_an_epoch_is_counted_across_its_stop(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        train(run, data=At(interrupt, (0, 1)), **LONG)
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["part"]["seconds"] > 0
    kept["part"]["seconds"] = 1000.0
    torch.save(kept, run / "checkpoints" / "last.ckpt")
    first, second, _ = train(run, **LONG).log
    assert first["seconds"] > 1000 > second["seconds"]


def test_minutes_within_an_epoch_save_the_state_and_change_nothing(tmp_path, calm):
    """With a time limit shorter than an epoch, a run that is killed after the third step continues from that step."""

    def power_cut(_):
        raise RuntimeError("power cut")

    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power cut"):
        train(run, data=At(power_cut, (0, 3)), save_minutes=1e-9, **LONG)
    assert (len(state(run)["rows"]), state(run)["part"]["steps"]) == (0, 3)
    seen = []
    resumed = train(run, data=At(seen.append, *((0, item) for item in range(4))), save_minutes=1e-9, **LONG)
    assert seen == [3]
    assert timeless(resumed.log) == timeless(calm[1].log)
    assert same(state(run), state(calm[0]))
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "rare", data=At(power_cut, (1, 3)), save_minutes=60, **LONG)
    assert (len(state(tmp_path / "rare")["rows"]), state(tmp_path / "rare")["part"]["steps"]) == (1, 0)


def test_a_second_interrupt_stops_at_once_with_what_was_saved_before(tmp_path, calm):
    def twice(_):
        interrupt()
        interrupt()
        raise AssertionError("not stopped at once")

    run = tmp_path / "run"
    with pytest.raises(Stopped, match="epoch 1 of 3 is saved, and the same command continues there"):
        train(run, data=At(twice, (1, 1)), **LONG)
    assert (len(state(run)["rows"]), state(run)["part"]["steps"]) == (1, 0)
    assert timeless(train(run, **LONG).log) == timeless(calm[1].log)
    with pytest.raises(Stopped, match="before anything was saved; the same command starts from the beginning"):
        train(tmp_path / "early", data=At(twice, (0, 0)), **LONG)


def test_a_stop_in_the_last_step_of_all_says_that_nothing_is_left(tmp_path):
    with pytest.raises(Stopped, match="after the last epoch; nothing is left to do"):
        train(tmp_path / "run", data=At(interrupt, (2, 3)), **LONG)
    assert find_bundle(tmp_path / "run").name == "epoch-0003"


def test_reading_processes_survive_a_signal_to_the_whole_group(tmp_path):
    """Terminals and SLURM also signal reader processes; the training process must still get its batch."""
    run = tmp_path / "run"
    words = ["SIGUSR1", "9", "0", "epochs=3", "checkpoint_every=3", "steps_per_epoch=4", "num_workers=1"]
    process = subprocess.Popen([sys.executable, SCRIPT, run, *words], start_new_session=True, stdout=subprocess.PIPE)
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=240)
    assert process.returncode in (143, 0)  # 0 where the signal came after the last step
    plain = {key: value for key, value in LONG.items() if key != "ema"}
    assert timeless(train(run, **plain).log) == timeless(train(tmp_path / "calm", **plain).log)


def test_handlers_are_put_back_and_other_threads_set_none(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    train(tmp_path / "run", epochs=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before

    def elsewhere():
        with StopSignals() as stop:
            stop.install()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_what_changes_no_number_may_change_on_the_way(tmp_path):
    """Models are saved from now on as often as the new settings say; the log is the same."""
    run = tmp_path / "run"
    plain = {"epochs": 4, "steps_per_epoch": 2}
    with pytest.raises(Stopped):
        train(run, data=At(interrupt, (1, 0)), checkpoint_every=4, **plain)
    with pytest.raises(NotFound, match="neither a model nor a run with saved models"):
        find_bundle(run)
    changes = {"checkpoint_every": 1, "save_minutes": 1, "gradient_checkpointing": True, "num_workers": 1}
    resumed = train(run, **plain, **changes)
    assert timeless(resumed.log) == timeless(train(tmp_path / "calm", checkpoint_every=4, **plain).log)
    assert sorted(p.name for p in (run / "models").glob("epoch*")) == ["epoch-0002", "epoch-0003", "epoch-0004"]
    with pytest.raises(Mismatch, match=r"begun with train\.steps_per_epoch 2, now it is 3"):
        train(run, epochs=4, steps_per_epoch=3)


def test_other_volumes_are_refused_by_name(tmp_path):
    from tests.training.tiny_run import TASK, calibration

    from vol2vol.intensity import Intensity
    from vol2vol.tasks import CycleGAN, CycleGANSettings
    from vol2vol.training import TrainSettings, fit

    def go(source, shape=(1, 3, 8, 8), epochs=1):
        facts = {"source": [{"name": name, "shape": list(shape)} for name in source], "target": [{"name": "b.tif"}]}
        settings = TrainSettings(accelerator="cpu", epochs=epochs, steps_per_epoch=1)
        return fit(
            CycleGAN(CycleGANSettings(**TASK), seed=7),
            Noise(),
            settings=settings,
            run=tmp_path / "run",
            intensity={domain: Intensity(low=(0.0,), high=(255.0,)) for domain in ("source", "target")},
            calibration=calibration(),
            provenance={"recipe": {"train": settings.model_dump(mode="json")}, "volumes": facts},
            progress=False,
        )

    go(["a.tif", "c.tif"])
    with pytest.raises(Mismatch, match=r"trained on the source volumes a\.tif, c\.tif, now they are a\.tif: name the"):
        go(["a.tif"], epochs=2)
    with pytest.raises(Mismatch, match=r"source volumes a\.tif \[1, 3, 8, 8\], .* now they are a\.tif \[1, 3, 8, 9\]"):
        go(["a.tif", "c.tif"], shape=(1, 3, 8, 9), epochs=2)
    assert len(read_log(tmp_path / "run" / "log.csv")) == 1
    assert len(go(["a.tif", "c.tif"], epochs=2).log) == 2
