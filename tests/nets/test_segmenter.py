"""The segmenter's geometry is the paper's, and its variants compute one function."""

import pytest
import torch

from vol2vol import nets, plans
from vol2vol.nets.stream import Stream

torch.set_num_threads(1)


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_of_140_keep_96_or_more(dims):
    net = nets.build("segmenter", dims=dims, width=1)
    footprint = nets.footprint(net)
    assert footprint.admits((140,) * dims)
    assert plans.exact(footprint, (140,) * dims).kept == (100,) * dims
    padded = nets.footprint(nets.padded(net))
    assert [140 - a - b for a, b in zip(*padded.reach, strict=True)] == [96] * dims


@torch.no_grad()
def test_the_padded_form_agrees_where_it_is_certain_and_in_phase():
    """Valid convolutions move the grid of the coarsest level by two voxels."""
    net = nets.build("segmenter", dims=2, width=3, norm="none").double().eval()
    x = torch.randn(1, 1, 60, 64, dtype=torch.float64)
    inside = (..., slice(22, -22), slice(22, -22))
    torch.testing.assert_close(nets.padded(net)(x)[inside], net(x[..., 2:-2, 2:-2]))


@torch.no_grad()
def test_it_streams_and_says_probabilities_in_float32():
    net = nets.build("segmenter", dims=3, width=2)
    net.train()(torch.randn(2, 1, 44, 44, 44) * 2 + 1)
    net = nets.frozen(net.eval())
    x = torch.randn(1, 1, 52, 44, 48)
    whole = net(x)
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert whole.std() > 0
    stream = Stream(net, 0)
    outputs = [stream.push(x[:, :, z : z + 1]) for z in range(52)] + [stream.finish()]
    torch.testing.assert_close(torch.cat([m for m in outputs if m is not None], 2), whole, atol=1e-5, rtol=0)
    assert net.bfloat16()(x.bfloat16()).dtype == torch.float32


def test_recomputing_activations_changes_no_gradient():
    def gradient(checkpointing):
        torch.manual_seed(0)
        net = nets.build("segmenter", dims=2, width=2)
        net.gradient_checkpointing = checkpointing
        net(torch.randn(2, 1, 48, 48)).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    torch.testing.assert_close(gradient(True), gradient(False))
