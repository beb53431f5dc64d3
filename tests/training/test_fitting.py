"""Tests of what a training writes, logs and refuses, and that it trains any task."""

import logging
import subprocess
import sys

import pytest
import torch
from tests.training.runs import SCRIPT, Stops, poolless, same, state, timeless
from tests.training.tiny_run import PATCH, TASK, Noise, calibration, train

from vol2vol import nets
from vol2vol.errors import BadInput, UserError
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.protocol import between
from vol2vol.tasks import CycleGAN, CycleGANSettings, NetworkSettings, Turn
from vol2vol.training import TrainSettings, read_log


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    """The last gradient of an epoch may make weights infinite although every loss was finite."""

    class Ruined(CycleGAN):
        def turns(self, batch):
            yield from super().turns(batch)
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 6:
                with torch.no_grad():
                    next(self.critics.parameters()).fill_(torch.inf)

    task = Ruined(CycleGANSettings(**TASK), seed=7)
    with pytest.raises(UserError, match="weights are not finite after epoch 2; the checkpoint of epoch 1 is kept"):
        train(tmp_path / "run", task=task)
    assert [p.name for p in (tmp_path / "run" / "models").glob("epoch*")] == ["epoch-0001"]
    assert timeless(train(tmp_path / "run").log) == timeless(train(tmp_path / "calm").log)


def test_checkpoints_hold_the_average_and_calibrated_statistics_and_training_does_not_notice(tmp_path):
    plain = train(tmp_path / "plain", epochs=2)
    averaged = train(tmp_path / "averaged", epochs=2, ema=0.5)
    assert timeless(plain.log) == timeless(averaged.log)
    saved = {name: state(tmp_path / name) for name in ("plain", "averaged")}
    assert same(saved["plain"]["task"], saved["averaged"]["task"])
    weight = "generators.0.encoder.0.conv.weight"
    now, mean = (
        saved["averaged"]["task"][weight],
        saved["averaged"]["average"][weight.replace("generators", "averaged")],
    )
    assert not torch.equal(now, mean)
    net = load_bundle(averaged.last_bundle).network("forward")
    assert torch.equal(net.encoder[0].conv.weight, mean)
    assert torch.equal(load_bundle(plain.last_bundle).network("forward").encoder[0].conv.weight, now)
    assert not nets.tile_dependent(net)
    trained = {k: v for k, v in saved["averaged"]["task"].items() if k.endswith(".calibrated")}
    assert trained
    assert not any(map(bool, trained.values()))
    nets.calibrate(again := nets.build(**_flat(net)), calibration()["forward"]())
    again.load_state_dict({k: v for k, v in net.state_dict().items() if k.endswith(("weight", "bias"))}, strict=False)
    nets.calibrate(again, calibration()["forward"]())
    assert same(dict(again.state_dict()), dict(net.state_dict()))


def _flat(net):
    described = net.describe()
    return {"name": described["name"], **described["arguments"]}


def test_the_average_follows_its_equation():
    from vol2vol.training.ema import Average

    net = torch.nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1.0)
    average = Average({"forward": net}, decay=0.25)
    expected = 1.0
    for step in range(5):
        net.weight.data.fill_(step)
        average.update({"forward": net})
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.networks()["forward"].weight) == pytest.approx(expected)


def test_best_is_the_saved_epoch_with_the_lowest_criterion(tmp_path):
    result = train(tmp_path / "run", epochs=4, lr=0.02)
    cycles = [row["cycle"] for row in result.log]
    best = 1 + cycles.index(min(cycles))
    assert find_bundle(tmp_path / "run", "best").name == f"epoch-{best:04d}"
    assert find_bundle(tmp_path / "run", "last").name == "epoch-0004"


def test_calibrated_networks_need_patches(tmp_path):
    with pytest.raises(BadInput, match="norm calibrated needs patches for the forward network"):
        train(tmp_path / "run", calibrated={})
    assert not (tmp_path / "run").exists()
    plain = NetworkSettings(name="unet", arguments={"levels": 2, "width": 4, "norm": "tracked"})
    result = train(tmp_path / "run", epochs=1, calibrated={}, task={"generator": plain})
    meta = load_bundle(result.last_bundle).meta
    assert "running mean" in meta["translations"]["forward"]["statistics"]


def test_gradient_checkpointing_gives_the_same_log(whole, tmp_path):
    saving = train(tmp_path / "run", epochs=2, checkpoint_every=2, ema=0.9, gradient_checkpointing=True)
    assert timeless(saving.log) == timeless(whole[1].log[:2])


def test_the_learning_rate_is_logged_and_used(tmp_path):
    result = train(tmp_path / "run", epochs=4, lr=0.01, schedule={"name": "linear"})
    assert [row["lr"] for row in result.log] == pytest.approx([0.01, 0.01, 0.01, 0.005])
    assert all(o["param_groups"][0]["lr"] == pytest.approx(0.005) for o in state(tmp_path / "run")["optimizers"])


def test_steps_come_from_the_data_unless_told(tmp_path):
    result = train(tmp_path / "run", epochs=1, steps_per_epoch=None, batch_size=2)
    assert result.log[0]["step"] == 3
    with pytest.raises(BadInput, match=r"6 patches do not fill a step of 7: set train\.steps_per_epoch"):
        train(tmp_path / "other", epochs=1, steps_per_epoch=None, batch_size=7)


def test_a_patch_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BadInput, match=f"{PATCH + 1} on axis -2 does not fit"):
        train(tmp_path / "run", data=Noise(PATCH + 1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_mixed_precision_trains_and_resumes(tmp_path, precision):
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power cut"):
        train(run, epochs=2, precision=precision, data=Stops(1))
    resumed = train(run, epochs=2, precision=precision)
    assert timeless(resumed.log) == timeless(train(tmp_path / "calm", epochs=2, precision=precision).log)
    assert state(run)["task"]["generators.0.encoder.0.conv.weight"].dtype == torch.float32
    single = train(tmp_path / "single", epochs=2)
    assert resumed.log[-1]["cycle"] == pytest.approx(single.log[-1]["cycle"], rel=0.05)
    assert resumed.log[-1]["cycle"] != single.log[-1]["cycle"]


def test_it_says_little_and_prints_nothing(tmp_path, capfd, caplog):
    with caplog.at_level(logging.INFO):
        train(tmp_path / "run", epochs=2, progress=None)
    assert capfd.readouterr() == ("", "")
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert messages[1].startswith("epoch 2/2: generators ")
    assert "steps/s" in messages[1]
    train(tmp_path / "bar", epochs=1, progress=True)
    assert "epoch 1/1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strategy": "ddq"}, "ddq"),
        pytest.param(
            {"accelerator": "gpu"},
            "accelerator gpu, devices 1: ",
            marks=pytest.mark.skipif(torch.accelerator.is_available(), reason="there is one"),
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path, settings, says):
    with pytest.raises(BadInput, match=says) as caught:
        train(tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_precision_that_is_replaced_is_said(tmp_path, caplog):
    train(tmp_path / "run", epochs=1, precision="16-mixed")
    assert "precision 16-mixed is not supported here: training in bf16-mixed" in caplog.text


def test_it_learns_what_the_target_looks_like(tmp_path):
    """Dark stripes become bright ones: translated sources end up near the target's mean, not their own."""

    class Stripes(Noise):
        def __getitem__(self, item):
            patches = super().__getitem__(item)
            stripes = torch.linspace(0, 12, PATCH).sin() * 0.2
            return {d: (0.1 * p + stripes + (0.5 if d == "target" else -0.5)) for d, p in patches.items()}

    task = {"ssim_cycle": 0.1, "lambda_identity": 0.0, "lambda_cycle": 1.0}
    result = train(tmp_path / "run", task=task, data=Stripes(), epochs=3, steps_per_epoch=50, lr=2e-3)
    net = load_bundle(result.last_bundle).network("forward")
    x = torch.stack([Stripes()[i]["source"] for i in range(4)])
    assert float(x.mean()) < -0.4
    assert float(net(x)[..., 6:-6, 6:-6].mean()) > 0.25
    assert result.log[-1]["cycle"] < 0.8 * result.log[0]["cycle"]


class Regression(torch.nn.Module):
    """A task with one player, which shows that the loop uses the protocol alone."""

    criterion = "squares"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nets.build("unet", dims=2, levels=2, width=2, norm="none")
        self.players = {"network": self.net}

    def turns(self, batch):
        loss = (self.net(batch["source"]) - batch["target"]).square().mean()
        yield Turn("network", loss, {"squares": loss.detach()})

    def translations(self):
        return between({"forward": self.net})

    def channels(self):
        return {"source": 1, "target": 1}

    def check(self, patch):
        nets.footprint(self.net).check(patch)


def test_any_task_can_be_trained(tmp_path):
    class Paired(Noise):
        def __getitem__(self, item):
            patch = super().__getitem__(item)["source"]
            return {"source": patch, "target": torch.full_like(patch, 0.5)}

    task = Regression()
    settings = {"epochs": 3, "steps_per_epoch": 10, "batch_size": 2, "lr": 0.01}
    from vol2vol.intensity import Intensity
    from vol2vol.training import fit

    result = fit(
        task,
        Paired(),
        settings=TrainSettings(accelerator="cpu", checkpoint_every=3, **settings),
        run=tmp_path / "run",
        intensity={d: Intensity(low=(0.0,), high=(1.0,)) for d in ("source", "target")},
        progress=False,
    )
    assert result.log[-1]["squares"] < result.log[0]["squares"]
    assert list(load_bundle(result.last_bundle).translations) == ["forward"]


def test_settings_refuse_typos_and_nonsense():
    for wrong in (
        {"epoch": 3},
        {"epochs": 0},
        {"precision": "16"},
        {"accelerator": "abacus"},
        {"ema": 1.0},
        {"schedule": {"nmae": "step"}},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TrainSettings(**wrong)


def test_reading_processes_change_no_number(whole, tmp_path):
    result = train(tmp_path / "run", epochs=2, checkpoint_every=2, ema=0.9, num_workers=1)
    assert timeless(result.log) == timeless(whole[1].log[:2])


def test_two_processes_agree_with_one_of_twice_the_batch(tmp_path):
    """Each process takes every other item; gradients are averaged, so that the log is that of one process."""

    command = [sys.executable, str(SCRIPT), str(tmp_path / "two"), "--weights", str(tmp_path), "--epochs", "2"]
    subprocess.run([*command, "--devices", "2"], check=True, timeout=240, cwd=tmp_path, capture_output=True)
    shared_log = read_log(tmp_path / "two" / "log.csv")
    ranks = [torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1)]
    assert same(*ranks)
    single_log = train(tmp_path / "one", task=(model := poolless()), epochs=2, batch_size=2).log
    single = model.state_dict()
    for a, b in zip(timeless(shared_log), timeless(single_log), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    for name, weight in single.items():
        if name.endswith("weight"):  # a bias before a normalisation has no gradient but rounding
            assert torch.allclose(weight, ranks[0][name], rtol=1e-3, atol=1e-5), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "rank0.pt", "rank1.pt", "two"]
