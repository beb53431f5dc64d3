"""Tests of training: the run folder, and that stopping, killing and repeating a training does not change its result."""

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tests.training.runs import SCRIPT, Stops, poolless, same, state, timeless
from tests.training.tiny_run import Noise, train

from vol2vol.errors import AlreadyExists, CannotWrite, Mismatch, Unreadable, UserError
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.training import read_log


def test_a_run_leaves_what_is_written_down_and_nothing_else(whole):
    run, result = whole
    assert sorted(p.name for p in run.iterdir()) == ["checkpoints", "log.csv", "models", "recipe.yaml", "tensorboard"]
    assert sorted(p.name for p in (run / "models").iterdir()) == ["best.txt", "epoch-0002", "epoch-0004"]
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert result.run == run
    assert result.last_bundle == run / "models" / "epoch-0004"
    assert not list(Path.cwd().glob("lightning_logs"))


def test_the_log_has_a_row_per_epoch_with_every_term(whole):
    run, result = whole
    assert result.log == read_log(run / "log.csv")
    assert [row["epoch"] for row in result.log] == [1, 2, 3, 4]
    assert [row["step"] for row in result.log] == [3, 6, 9, 12]
    assert list(result.log[0])[:5] == ["epoch", "step", "lr", "generators", "gan_forward"]
    row = result.log[0]
    weighed = 10 * row["cycle"] + 5 * (row["identity_forward"] + row["identity_backward"])
    weighed += row["gan_forward"] + row["gan_backward"] + 0.01 * (row["ssim_forward"] + row["ssim_backward"])
    assert row["generators"] == pytest.approx(weighed, rel=1e-5)


def test_repeated_it_gives_the_same_log_and_weights_bit_by_bit(whole, tmp_path):
    torch.manual_seed(123)  # the global random state has no influence
    again = train(tmp_path / "again", epochs=4, checkpoint_every=2, ema=0.9)
    assert timeless(again.log) == timeless(whole[1].log)
    assert same(state(tmp_path / "again"), state(whole[0]))
    assert load_bundle(again.last_bundle).hash == load_bundle(whole[1].last_bundle).hash
    other = train(tmp_path / "other", epochs=1, seed=8)
    assert other.log[0]["generators"] != again.log[0]["generators"]


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_a_stopped_run_continues_the_same_curve(whole, tmp_path, epoch):
    """A run that stops within an epoch has rows in the log that the last checkpoint does not have."""
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power cut"):
        train(run, epochs=4, checkpoint_every=2, ema=0.9, data=Stops(epoch))
    torch.manual_seed(99)
    result = train(run, epochs=4, checkpoint_every=2, ema=0.9)
    assert timeless(result.log) == timeless(whole[1].log)
    assert timeless(read_log(run / "log.csv")) == timeless(whole[1].log)
    assert same(state(run), state(whole[0]))
    for name in ("epoch-0002", "epoch-0004"):
        assert load_bundle(run / "models" / name).hash == load_bundle(whole[0] / "models" / name).hash


def test_a_killed_process_continues_the_same_curve(tmp_path):
    """SIGKILL in the fourth epoch, when the log has a row that the last checkpoint does not have."""
    run = tmp_path / "run"
    command = [sys.executable, str(SCRIPT), str(run), "--epochs", "6", "--checkpoint-every", "2", "--hang", "3"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (run / "log.csv").exists() or len(read_log(run / "log.csv")) < 3:
        assert time.monotonic() < deadline, "the run did not get going"
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert len(state(run)["rows"]) in (2, 3)  # the log is written first
    resumed = train(run, task=poolless(), epochs=6, checkpoint_every=2)
    undisturbed = train(tmp_path / "calm", task=poolless(), epochs=6, checkpoint_every=2)
    assert timeless(resumed.log) == timeless(undisturbed.log)
    assert timeless(read_log(run / "log.csv")) == timeless(undisturbed.log)
    assert same(state(run), state(tmp_path / "calm"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_stays_an_interrupt(tmp_path):
    class Interrupted(Noise):
        def __getitem__(self, item):
            if (self.epoch, item) == (1, 1):
                raise KeyboardInterrupt
            return super().__getitem__(item)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", data=Interrupted())
    assert signal.getsignal(signal.SIGINT) is handler
    assert timeless(train(tmp_path / "run").log) == timeless(train(tmp_path / "calm").log)


def test_more_epochs_go_on_and_a_finished_run_is_left_alone(tmp_path, caplog):
    run = tmp_path / "run"
    train(run, epochs=1)
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    with caplog.at_level(logging.INFO, "vol2vol"):
        train(run, epochs=1)
    assert "raise train.epochs to continue" in caplog.text
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before
    longer = train(run, epochs=3)
    assert timeless(longer.log) == timeless(train(tmp_path / "calm", epochs=3).log)
    assert yaml.safe_load((run / "recipe.yaml").read_text())["train"]["epochs"] == 3
    with pytest.raises(Mismatch, match=r"begun with train\.epochs 3, now it is 2"):
        train(run, epochs=2)


def test_a_changed_recipe_is_refused_by_the_name_of_the_key(tmp_path):
    run = tmp_path / "run"
    train(run, epochs=1)
    log = (run / "log.csv").read_bytes()
    with pytest.raises(Mismatch, match=r"begun with train\.lr 0\.0002, now it is 0\.01: set it back"):
        train(run, epochs=2, lr=0.01)
    with pytest.raises(Mismatch, match=r"train\.schedule\.name 'constant', now it is 'cosine'"):
        train(run, epochs=2, schedule={"name": "cosine"})
    assert (run / "log.csv").read_bytes() == log


def test_overwriting_starts_anew_and_deletes_only_what_a_run_wrote(tmp_path):
    run = tmp_path / "run"
    train(run, epochs=2)
    (run / "notes.txt").write_text("mine")
    result = train(run, epochs=1, lr=0.001, overwrite=True)
    assert len(result.log) == 1
    assert (run / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in (run / "models").iterdir()) == ["best.txt", "epoch-0001"]


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(AlreadyExists, match="is not a run"):
            train(tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.rglob("*")] == ["models", "thesis.tex"]
    with pytest.raises(AlreadyExists, match="is not a run"):
        train(tmp_path / "models" / "thesis.tex")


def test_a_damaged_state_is_named(tmp_path):
    run = tmp_path / "run"
    train(run, epochs=1)
    whole = (run / "checkpoints" / "last.ckpt").read_bytes()
    for keep in (0, 100, len(whole) // 2):
        (run / "checkpoints" / "last.ckpt").write_bytes(whole[:keep])
        with pytest.raises(Unreadable, match=r"last\.ckpt is not a PyTorch file of plain tensors"):
            train(run, epochs=2)


def test_a_full_disk_is_one_line_and_the_last_state_stays(tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(run, epochs=1)
    before = (run / "checkpoints" / "last.ckpt").read_bytes()

    def full(_, path):
        path.write_bytes(b"half a state")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CannotWrite, match=r"last\.ckpt cannot be written .*free space"):
        train(run, epochs=2)
    monkeypatch.undo()
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before
    assert timeless(train(run, epochs=2).log) == timeless(train(tmp_path / "calm", epochs=2).log)


def test_a_place_where_no_folder_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="the run cannot be created"):
        train(tmp_path / "file" / "run")


def test_a_loss_that_is_not_finite_stops_with_one_line_and_keeps_the_last_checkpoint(tmp_path):
    class Broken(Noise):
        def __getitem__(self, item):
            patches = super().__getitem__(item)
            if self.epoch == 1 and item == 2:
                patches["target"][0, 3, 3] = torch.nan
            return patches

    run = tmp_path / "run"
    with pytest.raises(
        UserError,
        match=r"generators is nan in epoch 2, step 3; the checkpoint of epoch 1 is kept: use a lower train.lr",
    ) as caught:
        train(run, data=Broken())
    assert "\n" not in str(caught.value)
    assert len(state(run)["rows"]) == 1
    assert load_bundle(find_bundle(run)).meta["provenance"]["epoch"] == 1
    healed = train(run)
    assert timeless(healed.log) == timeless(train(tmp_path / "calm").log)
