"""The objectives stay what they are: losses of ten steps against stored numbers, to 1e-6."""

import json

import pytest
import torch
from tests.tasks.golden_losses import ADAM, NAMES, STEPS, STORED, losses

from vol2vol.tasks import catalogue
from vol2vol.training import TrainSettings

torch.set_num_threads(1)
VALUES = json.loads(STORED.read_text())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_give_the_stored_losses(name, dims):
    stored, now = VALUES[f"{name} {dims}D"], losses(name, dims)
    assert now.keys() == stored.keys()
    for term, values in stored.items():
        assert len(values) == STEPS
        assert now[term] == pytest.approx(values, rel=1e-6, abs=0), term


def test_numbers_are_stored_for_every_task_and_for_steps_that_matter():
    assert {task.Settings.model_fields["name"].default for task in catalogue.OWN} == set(NAMES)
    assert VALUES.keys() == {f"{name} {dims}D" for name in NAMES for dims in (2, 3)}
    for terms in VALUES.values():
        assert all(len(set(values)) == STEPS for values in terms.values())
    about = TrainSettings()
    assert (about.lr, about.betas) == ADAM
