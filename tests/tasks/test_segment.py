"""The segmentation task: what it minimises, what it judges by, what it refuses."""

import pytest
import torch

from vol2vol import losses, nets
from vol2vol.errors import BadInput
from vol2vol.protocol import networks
from vol2vol.tasks import Judge, NetworkSettings, Segment, SegmentSettings

torch.set_num_threads(1)
SMALL = NetworkSettings(name="segmenter", arguments={"width": 2, "levels": 2})


class Given(torch.nn.Module):
    """A network that answers with its input: what the patch says is the probability."""

    dims, in_channels = 2, 1

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 1)
        torch.nn.init.dirac_(self.conv.weight)
        torch.nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.conv(x)


def batch(dims=2, size=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 1, *(size,) * dims, generator=generator) * 2 - 1
    return {"source": image, "target": (image > 0.5).float()}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("loss", ["dice", "bce", "mse", "bce+dice"])
def test_its_turn_is_the_loss_where_the_context_is_whole(dims, loss):
    task = Segment(SegmentSettings(network=SMALL, loss=loss), dims=dims)
    data = batch(dims)
    (turn,) = task.turns(data)
    inside = (..., *(slice(8, -8),) * dims)
    task.segmenter.train()
    expected = losses.OVERLAP[loss](task.segmenter(data["source"]), data["target"][inside])
    torch.testing.assert_close(turn.loss, expected)
    turn.loss.backward()
    assert all(p.grad is not None for p in task.segmenter.parameters())


def test_a_padded_network_is_asked_for_its_certain_centre():
    network = NetworkSettings(name="segmenter", arguments={"width": 2, "levels": 2, "padding": "same"})
    task = Segment(SegmentSettings(network=network, loss="mse"))
    (before,) = task.turns(data := batch(3, 24))
    data["target"][..., 0] = 1 - data["target"][..., 0]
    (after,) = task.turns(data)
    torch.testing.assert_close(after.loss, before.loss)


def test_it_judges_by_hand_counted_numbers():
    task = Segment(SegmentSettings(), dims=2)
    task._footprint = nets.footprint(network := Given())
    p = torch.tensor([0.9, 0.6, 0.2, 0.1]).reshape(1, 1, 2, 2)
    t = torch.tensor([1.0, 0.0, 1.0, 0.0]).reshape(1, 1, 2, 2)
    said = task.judge({"forward": network}, [{"source": p, "target": t}, {"source": p * 0, "target": t * 0}])
    with pytest.raises(BadInput, match=r"holds no foreground: raise data\.labels\.held_out"):
        task.judge({"forward": network}, [{"source": p, "target": t * 0}])
    assert said["iou_distance"] == pytest.approx(1 - 1 / 3)
    assert said["dice_distance"] == pytest.approx(1 - 2 * 1.1 / (0.81 + 0.36 + 0.04 + 0.01 + 2))
    assert said["mse"] == pytest.approx((0.01 + 0.36 + 0.64 + 0.01) / 8)
    perfect = task.judge({"forward": network}, [{"source": t, "target": t}])
    assert all(value == pytest.approx(0) for value in perfect.values())


def test_judging_leaves_mode_and_statistics_alone():
    task = Segment(SegmentSettings(network=SMALL, choice="mse"), dims=2)
    assert isinstance(task, Judge)
    assert task.criterion == "mse"
    task.train()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    task.judge(networks(task.translations()), [batch()])
    assert task.segmenter.training
    torch.testing.assert_close(dict(task.state_dict()), before, rtol=0, atol=0)


def test_what_does_not_fit_is_refused():
    task = Segment(SegmentSettings(), dims=3)
    task.check((140, 140, 140))
    with pytest.raises(BadInput, match="try 140 or 144"):
        task.check((142, 140, 140))
    with pytest.raises(BadInput, match="follow from the data"):
        Segment(SegmentSettings(network=NetworkSettings(name="segmenter", arguments={"dims": 2})))
