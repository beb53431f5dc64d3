"""Tests of the moving average: weights and running statistics are averaged, other buffers are copied."""

import torch

from vol2vol import nets
from vol2vol.training.ema import Average


def test_weights_and_running_statistics_are_averaged_and_flags_copied():
    net = nets.build("segmenter", dims=2, width=1, levels=1, norm="batch")
    average = Average({"forward": net}, 0.9)
    average.steps = 10**6
    before = {name: value.clone() for name, value in average.networks()["forward"].state_dict().items()}
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(1)
    average.update({"forward": net})
    after = average.networks()["forward"].state_dict()
    assert any(name.endswith("variance") for name in after)
    for name, value in after.items():
        torch.testing.assert_close(value, before[name] + 0.1)
    net = nets.build("segmenter", dims=2, width=1, levels=1, norm="calibrated")
    average = Average({"forward": net}, 0.9)
    net.down[0][1].calibrated.fill_(True)
    average.update({"forward": net})
    assert average.networks()["forward"].down[0][1].calibrated
