"""The norm-free residual U-Net keeps a signal at any depth, begins as a plain U-Net of identities, and learns."""

import pytest
import torch

from vol2vol import nets
from vol2vol.errors import BadInput

torch.set_num_threads(1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("weights", ["plain", "standardised"])
def test_blocks_begin_as_the_identity(dims, weights):
    torch.manual_seed(0)
    net = nets.build("resunet", dims=dims, levels=2, width=4, weights=weights, padding="same")
    block = net.get_submodule("down.0")
    x = torch.randn(1, 4, *(8,) * dims)
    torch.testing.assert_close(block(x), x, atol=1e-6, rtol=0)


def test_the_signal_keeps_its_size_at_any_depth():
    spreads = []
    for levels in (2, 5):
        torch.manual_seed(1)
        net = nets.build("resunet", dims=2, levels=levels, width=8, padding="same", final="none")
        with torch.no_grad():
            spreads.append(float(net(torch.randn(1, 1, 128, 128)).std()))
    assert max(spreads) < 1.5 * min(spreads)


@pytest.mark.parametrize("weights", ["plain", "standardised", "spectral"])
def test_it_learns_a_sharpening_without_normalisation(weights):
    torch.manual_seed(2)
    net = nets.build("resunet", dims=2, levels=2, width=8, padding="same", weights=weights, final="none")
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        x = torch.randn(4, 1, 24, 24)
        wanted = 2 * x - torch.nn.functional.avg_pool2d(x, 3, 1, 1)
        loss = (net(x) - wanted).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.25 * sum(losses[:5])
    assert nets.tile_dependent(net) == []


def test_disparity_is_0_without_normalisation():
    from vol2vol.evaluation import certify

    found = certify(nets.build("resunet", dims=2, levels=2, width=4))
    assert found.stitchable, found.sentence
    assert found.mismatch.disparity == 0


def test_arguments_are_checked():
    with pytest.raises(BadInput, match="final 'softmax' is unknown"):
        nets.build("resunet", dims=2, final="softmax")
