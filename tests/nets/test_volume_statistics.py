"""Statistics of a whole volume, measured in portions, are those of one pass of torch's instance norm over it."""

import json
import math

import numpy as np
import pytest
import torch

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import reflect
from vol2vol.nets import volume_statistics
from vol2vol.nets.volume_statistics import Progress, measure, padded_size

torch.set_num_threads(1)
NETWORKS = [
    ("unet", {"levels": 2, "padding": "valid"}),
    ("unet", {"levels": 3, "padding": "same", "up": "resize"}),
    ("resnet", {"blocks": 1, "padding": "same"}),
    ("resnet", {"blocks": 1, "padding": "valid", "up": "resize"}),
    ("segmenter", {"levels": 2, "padding": "valid"}),
    ("retouch", {"blocks": 2, "padding": "same"}),
]
SIZES = {2: (53, 61), 3: (33, 38, 45)}


def trained(name, dims, norm="calibrated", **arguments):
    torch.manual_seed(3)
    net = nets.build(name, dims=dims, width=2, norm=norm, **arguments).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.4)
    return net.eval()


def mirrored(array, spans):
    index = [[reflect(i, n) for i in range(*span)] for span, n in zip(spans, array.shape[2:], strict=True)]
    return torch.from_numpy(array[:, :, *np.ix_(*index)])


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    monkeypatch.setattr(volume_statistics, "SIDE", {2: 20, 3: 14})
    monkeypatch.setattr(volume_statistics, "VOXELS", 500)


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=lambda value: str(value))
def test_measured_in_portions_is_instance_norm_over_the_whole(name, arguments, dims):
    net, size = trained(name, dims, **arguments), SIZES[dims]
    array = np.random.default_rng(1).standard_normal((1, 1, *size)).cumsum(-1) / 3
    fixed = nets.unmeasured(net)
    measure(fixed, size, lambda batch, spans: mirrored(array, spans))
    whole = mirrored(array, [(0, n) for n in padded_size(fixed, size)])
    one_pass = trained(name, dims, "instance", **arguments)(whole)
    assert one_pass.std() > 1e-3
    assert (fixed(whole) - one_pass).abs().max() < 1e-10 * one_pass.abs().max()


@torch.no_grad()
def test_images_of_a_stack_share_statistics():
    """Those of torch's batch norm in training mode, over all images together."""
    net, stack = trained("unet", 2, levels=2, padding="same"), np.random.default_rng(2).standard_normal((7, 1, 24, 40))
    stack[5:] += 2
    fixed = nets.unmeasured(net)
    measure(fixed, (24, 40), lambda batch, spans: mirrored(stack[3 * batch : 3 * batch + 3], spans), batches=3)
    together = trained("unet", 2, "batch", levels=2, padding="same").train()(torch.from_numpy(stack))
    torch.testing.assert_close(fixed(torch.from_numpy(stack)), together, atol=1e-10, rtol=0)


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_after", [1, 4, 9])
def test_a_second_start_continues_to_the_same_bits_and_computes_nothing_twice(killed_after):
    net, size = trained("unet", 3, levels=2, padding="same").float(), (21, 30, 37)
    array = np.random.default_rng(1).standard_normal((1, 1, *size)).astype(np.float32)
    saved, counts = [], []

    def read(batch, spans):
        counts.append(spans)
        return mirrored(array, spans)

    def save(progress):
        saved.append(json.dumps(progress.to_dict()))
        if len(saved) == killed_after:
            raise Killed

    expected = nets.unmeasured(net)
    measure(expected, size, read)
    total = len(counts)
    counts.clear()
    with pytest.raises(Killed):
        measure(nets.unmeasured(net), size, read, save=save)
    again = nets.unmeasured(net)
    measure(again, size, read, progress=Progress.from_dict(json.loads(saved[-1])))
    assert len(counts) == total
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_values_that_are_not_finite_and_networks_without_norms_are_named():
    net = nets.unmeasured(trained("unet", 2, levels=2, padding="same"))
    array = np.full((1, 1, 24, 24), math.nan)
    with pytest.raises(BadInput, match=r"layer 'decoder.0.norm' receives values that are not finite"):
        measure(net, (24, 24), lambda batch, spans: mirrored(array, spans))
    with pytest.raises(BadInput, match="no normalisation of its own"):
        nets.unmeasured(trained("unet", 2, "none", levels=2))
