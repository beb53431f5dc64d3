"""Tests of verbs that a signal stops: the exit code, a line on what comes next, and the result of the same command."""

import signal
import sys

import numpy as np
import pytest
import tifffile
import torch
from tests.cli.test_verbs import TINY, tiff

from vol2vol.cli import VERBS, main
from vol2vol.cli.signals import CONTINUES, stop_message
from vol2vol.errors import Stopped
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.sampling import PatchSets

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
torch.set_num_threads(1)
LONGER = ("train.epochs=2", "train.steps_per_epoch=3")
SEGMENTER = (
    *("--recipe", "small-segment-2d", "data.patch=30", "data.labels.held_out_patches=2", "data.labels.foreground=0"),
    *("data.calibration=2", "task.network.arguments={levels: 2, width: 2}", "train.batch_size=1", "train.ema=0"),
)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Return a folder with two stacks and a mask."""
    folder = tmp_path_factory.mktemp("stacks")
    tiff(folder / "rat.tif", (12, 50, 47))
    tiff(folder / "human.tif", (12, 44, 61), seed=1)
    mask = (tifffile.imread(folder / "rat.tif") > 120).astype(np.uint8)
    tifffile.imwrite(folder / "mask.tif", mask, photometric="minisblack")
    return folder


def stop_at(monkeypatch, data, number, at):
    """Send this process a signal when an item of an epoch is read for the first time."""
    read, sent = data.__getitem__, []

    def item(self, index):
        if (self.epoch, index) == at and not sent and LIVE:
            sent.append(signal.raise_signal(number))
        return read(self, index)

    LIVE.append(True)
    monkeypatch.setattr(data, "__getitem__", item)


LIVE = []


@pytest.mark.parametrize(
    ("words", "data", "name", "step"),
    [
        ((*TINY, *LONGER, "--target", "human.tif"), PatchSets, "SIGINT", 1),
        ((*SEGMENTER, *LONGER, "--target", "mask.tif"), PatchSets, "SIGTERM", 2),
    ],
    ids=["translation", "segmenter"],
)
def test_a_training_that_is_stopped_continues_to_the_same_model(
    words, data, name, step, stacks, tmp_path, monkeypatch, capsys, caplog
):
    monkeypatch.chdir(stacks)
    command = ["train", "--source", "rat.tif", *words, "--voxel-size", "5,5,5", "--out"]
    assert main([*command, str(tmp_path / "calm")]) == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        stop_at(patch, data, getattr(signal, name), (1, 1))
        assert main(
            [*command, str(tmp_path / "run")],
        ) == 128 + getattr(signal, name)
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert not out
    assert last.startswith(
        f"vol2vol: {tmp_path / 'run'}: stopped; the state after step {step} of 3 in epoch 2 of 2 is saved"
    )
    assert last.endswith("is saved, and the same command continues there")
    assert main([*command, str(tmp_path / "run"), "train.checkpoint_every=1"]) == 0
    assert f"training continues after epoch 1, step {step} of the next" in caplog.text
    assert load_bundle(find_bundle(tmp_path / "run")).hash == load_bundle(find_bundle(tmp_path / "calm")).hash


def test_a_command_on_other_volumes_is_refused_and_changes_nothing(stacks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(stacks)
    command = ["train", *TINY, "--voxel-size", "5,5,5", "--out", str(tmp_path / "run"), "--source", "rat.tif"]
    assert main([*command, "--target", "human.tif"]) == 0
    before = (tmp_path / "run" / "recipe.yaml").read_bytes()
    assert main([*command, "--target", "rat.tif", "train.epochs=2"]) == 2
    assert "was trained on the target volumes human.tif, now they are rat.tif" in capsys.readouterr().err
    assert (tmp_path / "run" / "recipe.yaml").read_bytes() == before


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_the_same_command_does(verb):
    message, code = stop_message(verb, KeyboardInterrupt())
    assert message.startswith("stopped; the same command")
    assert code == 130
    assert stop_message(verb, Stopped("", signal.SIGTERM)) == (message, 143)
    assert stop_message(verb, Stopped("saved", signal.SIGUSR1)) == ("saved", 128 + signal.SIGUSR1)
    assert (CONTINUES in message) == (verb in ("demo", "predict", "prepare", "study"))


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_verb_that_keeps_nothing_says_so(name, code, monkeypatch, capsys, stacks):
    monkeypatch.setattr("vol2vol.cli.info_.info", lambda *_, **__: signal.raise_signal(getattr(signal, name)))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["info", str(stacks / "rat.tif")]) == code
    assert capsys.readouterr().err == "vol2vol: stopped; the same command starts from the beginning\n"
    assert signal.getsignal(signal.SIGTERM) is before
