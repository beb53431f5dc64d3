import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tests.training.tiny_run import PATCH, TASK, Noise, calibration, train

from vol2vol import nets
from vol2vol.errors import AlreadyExists, BadInput, CannotWrite, Mismatch, Unreadable, UserError
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.protocol import between
from vol2vol.tasks import CycleGAN, CycleGANSettings, NetworkSettings, Turn
from vol2vol.training import TrainSettings, read_log

SCRIPT = Path(__file__).parent / "tiny_run.py"
MEASURED = ("seconds", "memory")
"""Columns of a log that differ from run to run."""


def timeless(rows):
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


def state(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def same(a, b):
    """Compare nested data and tensors bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k not in MEASURED)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a run of four epochs that nobody disturbed, with a moving average and a pool."""
    run = tmp_path_factory.mktemp("whole") / "run with a space"
    return run, train(run, epochs=4, checkpoint_every=2, ema=0.9)


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
    torch.manual_seed(123)  # the global random state has no say
    again = train(tmp_path / "again", epochs=4, checkpoint_every=2, ema=0.9)
    assert timeless(again.log) == timeless(whole[1].log)
    assert same(state(tmp_path / "again"), state(whole[0]))
    assert load_bundle(again.last_bundle).hash == load_bundle(whole[1].last_bundle).hash
    other = train(tmp_path / "other", epochs=1, seed=8)
    assert other.log[0]["generators"] != again.log[0]["generators"]


class Stops(Noise):
    """Data that fail at one item of one epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.fatal = epoch

    def __getitem__(self, item):
        if self.epoch == self.fatal and item == 1:
            raise RuntimeError("power cut")
        return super().__getitem__(item)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_a_stopped_run_continues_the_same_curve(whole, tmp_path, epoch):
    """Stopped within an epoch, with rows in the log that the last checkpoint does not know."""
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


def poolless():
    return CycleGAN(CycleGANSettings(**{**TASK, "pool": 0}), seed=7)


def test_a_killed_process_continues_the_same_curve(tmp_path):
    """SIGKILL in the fourth epoch, when the log has a row that the last checkpoint does not know."""
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
    with pytest.raises(CannotWrite, match=r"last\.ckpt cannot be written .*free space and start again"):
        train(run, epochs=2)
    monkeypatch.undo()
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before
    assert timeless(train(run, epochs=2).log) == timeless(train(tmp_path / "calm", epochs=2).log)


def test_a_place_where_no_folder_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="the run cannot be made"):
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


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    """The last gradient of an epoch may ruin weights without any loss having shown it."""

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
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert said[1].startswith("epoch 2/2: generators ")
    assert "steps/s" in said[1]
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
    assert "precision 16-mixed does not work here: training in bf16-mixed" in caplog.text


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
    """A task with one player, to show that the loop knows no other than the protocol."""

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
    """Each takes every other item; their gradients are averaged: the numbers are those of one process, to rounding."""

    command = [sys.executable, str(SCRIPT), str(tmp_path / "two"), "--weights", str(tmp_path), "--epochs", "2"]
    subprocess.run([*command, "--devices", "2"], check=True, timeout=240, cwd=tmp_path, capture_output=True)
    two = read_log(tmp_path / "two" / "log.csv")
    ranks = [torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1)]
    assert same(*ranks)
    one = train(tmp_path / "one", task=(model := poolless()), epochs=2, batch_size=2).log
    single = model.state_dict()
    for a, b in zip(timeless(two), timeless(one), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    for name, weight in single.items():
        if name.endswith("weight"):  # a bias before a normalisation has no gradient but rounding
            assert torch.allclose(weight, ranks[0][name], rtol=1e-3, atol=1e-5), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "rank0.pt", "rank1.pt", "two"]
