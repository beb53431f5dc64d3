"""Tests of torch's optimisers and schedules by name: equal to torch, resumed bit for bit, checked before training."""

import pytest
import torch
from tests.training.runs import Stops, same, state, timeless
from tests.training.tiny_run import train

from vol2vol.errors import BadInput
from vol2vol.recipes import load_recipe
from vol2vol.training import TrainSettings
from vol2vol.training.optimizers import optimizer, optimizer_classes, schedule_classes
from vol2vol.training.schedules import hyperparameters
from vol2vol.training.state import load_state, save_state

ARGUMENTS = {
    "ConstantLR": {"factor": 0.1, "total_iters": 3},
    "CosineAnnealingLR": {"T_max": 9},
    "CosineAnnealingWarmRestarts": {"T_0": 4, "T_mult": 2},
    "CyclicLR": {"base_lr": 1e-4, "max_lr": 1e-2, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.8},
    "LinearLR": {"start_factor": 0.2, "total_iters": 4},
    "MultiStepLR": {"milestones": [2, 5]},
    "OneCycleLR": {"max_lr": 1e-2, "total_steps": 12},
    "PolynomialLR": {"total_iters": 7, "power": 2.0},
    "ReduceLROnPlateau": {"patience": 1, "factor": 0.3},
    "StepLR": {"step_size": 3},
}
HISTORY = [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.PReLU(), torch.nn.Conv2d(2, 1, 3))


def steps(net, stepped, count, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        stepped.zero_grad()
        net(torch.rand((2, 1, 8, 8), generator=random)).square().mean().backward()
        stepped.step()


def test_the_default_is_adam_as_it_was():
    ours, torchs = network(), network()
    steps(ours, optimizer(TrainSettings(lr=1e-2), ours.parameters()), 5)
    steps(torchs, torch.optim.Adam(torchs.parameters(), 1e-2, (0.5, 0.999)), 5)
    assert same(ours.state_dict(), torchs.state_dict())


@pytest.mark.parametrize("name", optimizer_classes())
def test_every_optimiser_goes_on_from_its_saved_state_bit_for_bit(name, tmp_path):
    settings = TrainSettings(lr=1e-3, optimizer={"name": name})
    whole, parts, resumed = network(), network(), network(1)
    begun = optimizer(settings, whole.parameters())
    steps(whole, begun, 3)
    steps(whole, begun, 3, seed=1)
    begun = optimizer(settings, parts.parameters())
    steps(parts, begun, 3)
    save_state(tmp_path / "state", {"net": parts.state_dict(), "optimizer": begun.state_dict()})
    saved = load_state(tmp_path / "state")
    resumed.load_state_dict(saved["net"])
    begun = optimizer(settings, resumed.parameters())
    begun.load_state_dict(saved["optimizer"])
    steps(resumed, begun, 3, seed=1)
    assert same(whole.state_dict(), resumed.state_dict())
    assert not same(whole.state_dict(), network().state_dict())


def test_the_schedules_that_are_tried_are_known_by_name():
    assert ARGUMENTS.keys() <= schedule_classes().keys()


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_schedules_set_what_torch_sets_without_being_stored(name, kind):
    """In every epoch, learning rate and momentum equal those of a torch schedule that is stepped through all epochs."""
    momentum = {"momentum": 0.9} if kind == "SGD" else {}
    schedule = {"name": name, "arguments": ARGUMENTS[name]}
    settings = TrainSettings(epochs=12, lr=0.05, schedule=schedule, optimizer={"name": kind, "arguments": momentum})
    kept = optimizer(settings, [torch.nn.Parameter(torch.zeros(2))])
    theirs = getattr(torch.optim.lr_scheduler, name)(kept, **ARGUMENTS[name])
    rates = set()
    for epoch in range(11):
        group = kept.param_groups[0]
        values = hyperparameters(settings, epoch, HISTORY[:epoch])
        assert values == {key: group[key] for key in values}
        assert "lr" in values
        assert ("momentum" if kind == "SGD" else "betas") in values
        rates.add(values["lr"])
        kept.step()
        theirs.step(*[HISTORY[epoch]] * (name == "ReduceLROnPlateau"))
    assert len(rates) > 1


def test_a_stopped_run_continues_with_another_optimiser_and_schedule(tmp_path):
    settings = {
        "optimizer": {"name": "SGD", "arguments": {"momentum": 0.9, "weight_decay": "1e-3"}},
        "schedule": {"name": "OneCycleLR", "arguments": {"max_lr": 0.01, "total_steps": 4}},
        "epochs": 4,
    }
    whole = train(tmp_path / "whole", **settings)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "run", data=Stops(2), **settings)
    parts = train(tmp_path / "run", **settings)
    assert timeless(whole.log) == timeless(parts.log)
    assert same(state(tmp_path / "whole"), state(tmp_path / "run"))
    (group,) = state(tmp_path / "run")["optimizers"][0]["param_groups"]
    assert group["weight_decay"] == 1e-3
    rates = [row["lr"] for row in whole.log]
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates[0] < rates[1] > rates[2] > rates[3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["optimizer.name=adamw"], "train.optimizer.name: adamw is not known: did you mean AdamW?"),
        (["optimizer.name=LBFGS"], "LBFGS is not known: use ASGD, Ada"),
        (
            ["optimizer.name=SGD", "optimizer.arguments.momentun=1"],
            "SGD does not take momentun: did you mean momentum?",
        ),
        (["optimizer.arguments.lr=1"], "lr is not an argument here: set train.lr"),
        (["optimizer.arguments.betas=[0, 0.9]"], "betas is not an argument here: set train.betas"),
        (["optimizer.arguments.weight_decay=-1"], "optimizer Adam: Invalid weight_decay value: -1"),
        (["optimizer.arguments.weight_decay=much"], "optimizer Adam: .*'str'"),
        (["optimizer.name=SGD", "optimizer.arguments.nesterov=true"], "optimizer SGD: Nesterov"),
        (["schedule.name=cosin"], "train.schedule.name: cosin is not known: did you mean cosine?"),
        (["schedule.name=LambdaLR"], "LambdaLR is not known"),
        (["schedule.name=CosineAnnealingLR"], "CosineAnnealingLR needs T_max"),
        (["schedule.name=StepLR", "schedule.arguments.step=2"], "StepLR does not take step: did you mean step_size?"),
        (["schedule.name=step", "schedule.arguments.period=2"], "step takes no arguments"),
        (["schedule.name=MultiStepLR", "schedule.arguments.milestones=3"], "schedule MultiStepLR: .*not iterable"),
        (
            ["epochs=9", "schedule.name=OneCycleLR", "schedule.arguments={max_lr: 1, total_steps: 7}"],
            "schedule OneCycleLR: .*total steps is 7",
        ),
    ],
)
def test_what_torch_would_refuse_is_refused_in_a_line_before_anything_begins(changes, words):
    with pytest.raises(BadInput, match=words) as caught:
        load_recipe("small-2d", tuple(f"train.{change}" for change in changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_numbers_of_the_command_line_are_numbers():
    recipe = load_recipe("small-2d", ("train.optimizer.name=AdamW", "train.optimizer.arguments.weight_decay=1e-2"))
    built = optimizer(recipe.train, network().parameters())
    assert type(built) is torch.optim.AdamW
    assert built.param_groups[0]["weight_decay"] == 0.01
    assert built.param_groups[0]["betas"] == (0.5, 0.999)
    without_betas = load_recipe("small-2d", ("train.optimizer.name=SGD",)).train
    assert type(optimizer(without_betas, network().parameters())) is torch.optim.SGD
