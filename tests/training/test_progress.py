"""A task whose losses change in the course of training hears how far that is, also after a stop within an epoch."""

import pytest
import torch
from tests.training.runs import Stops, same, state, timeless
from tests.training.tiny_run import TASK, train

from vol2vol.models.bundle import load_bundle
from vol2vol.protocol import March, OnePass
from vol2vol.tasks import CycleGAN, CycleGANSettings

STITCHING = {"overlap": (3, 11), "weight": 4}


class Recording(CycleGAN):
    """A cycleGAN that keeps the shares that it hears of."""

    def __init__(self):
        super().__init__(CycleGANSettings(**TASK, stitching=STITCHING), seed=7)
        self.progress = []

    def set_progress(self, share):
        self.progress.append(share)
        super().set_progress(share)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, train(run, task={"stitching": STITCHING}, epochs=3)


def test_progress_grows_by_equal_steps_from_zero(tmp_path):
    task = Recording()
    train(tmp_path / "run", task=task, epochs=2)
    assert task.progress == pytest.approx([n / 6 for n in range(6)])


def test_a_stopped_run_with_stitching_continues_the_same_curve(whole, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power cut"):
        train(run, task={"stitching": STITCHING}, epochs=3, data=Stops(1), save_minutes=1e-9)
    assert state(run)["part"]["steps"] == 1
    torch.manual_seed(99)
    task = Recording()
    result = train(run, task=task, epochs=3)
    assert task.progress == pytest.approx([n / 9 for n in range(4, 9)])
    assert timeless(result.log) == timeless(whole[1].log)
    assert same(state(run), state(whole[0]))


def test_the_weight_of_the_stitching_loss_follows(whole):
    for row in whole[1].log:
        rest = sum(row[name] for name in row if name.startswith("gan")) + 10 * row["cycle"]
        rest += 5 * (row["identity_forward"] + row["identity_backward"]) + 0.01 * (
            row["ssim_forward"] + row["ssim_backward"]
        )
        share = (row["generators"] - rest) / (4 * row["stitch_forward"])
        assert share == pytest.approx((row["epoch"] - 1 + 1 / 3) / 3, abs=0.1)


def test_models_say_how_their_networks_are_applied(whole):
    bundle = load_bundle(whole[1].last_bundle)
    assert bundle.translation("forward").applied == March(share=(3 / 22, 0.5), offset=2.0)
    assert bundle.translation("backward").applied == OnePass()
