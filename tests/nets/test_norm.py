import pytest
import torch
from torch import nn

from vol2vol import nets
from vol2vol.nets.norm import Frozen, Norm, recomputing

torch.set_num_threads(1)
SPACE = {2: (9, 7), 3: (5, 4, 3)}


def sample(dims, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, *SPACE[dims], generator=generator) * 3 + 5


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("kind", "oracle"), [("tracked", "InstanceNorm"), ("batch", "BatchNorm")])
def test_tracked_and_batch_agree_with_torch(kind, oracle, dims):
    own = Norm(4, kind)
    torchs = getattr(nn, f"{oracle}{dims}d")(4, affine=False, track_running_stats=True)
    for step in range(3):
        x = sample(dims, step)
        torch.testing.assert_close(own(x), torchs(x))
    torch.testing.assert_close(own.mean, torchs.running_mean)
    torch.testing.assert_close(own.variance, torchs.running_var)
    torch.testing.assert_close(own.eval()(x), torchs.eval()(x))


@pytest.mark.parametrize("kind", ["tracked", "calibrated", "instance"])
def test_training_uses_the_statistics_of_every_instance(kind):
    y = Norm(4, kind)(sample(3))
    torch.testing.assert_close(y.mean((2, 3, 4)), torch.zeros(3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((2, 3, 4), correction=0), torch.ones(3, 4), atol=1e-4, rtol=0)


def test_calibrated_stores_nothing_in_training():
    norm = Norm(4, "calibrated")
    norm(sample(2))
    assert not norm.mean.any()
    assert not norm.stored


def test_none_is_the_identity():
    x = sample(2)
    assert Norm(4, "none")(x) is x


def test_a_recomputing_pass_counts_no_statistics():
    for kind in ("tracked", "batch"):
        norm = Norm(4, kind)
        expected = norm(sample(2))
        mean = norm.mean.clone()
        with recomputing():
            assert torch.equal(norm(sample(2)), expected)
        assert torch.equal(norm.mean, mean)


def test_frozen_is_an_affine_function():
    norm = Frozen(4)
    norm.mean.copy_(torch.arange(4.0))
    norm.variance.copy_(torch.arange(4.0) + 1)
    scale, shift = (t.view(-1, 1, 1) for t in norm.affine)
    x = sample(2)
    torch.testing.assert_close(norm(x), scale * x + shift)


@pytest.mark.parametrize(
    ("norm", "dependent"),
    [("tracked", False), ("calibrated", True), ("instance", True), ("batch", False), ("none", False)],
)
def test_layers_that_depend_on_the_tile_are_named(norm, dependent):
    net = nets.build("unet", dims=2, width=1, levels=3, norm=norm)
    assert nets.tile_dependent(net) == (["encoder.1.norm", "decoder.0.norm", "decoder.1.norm"] if dependent else [])


def test_torchs_own_norms_are_judged_too():
    net = nn.ModuleList(
        [
            nn.BatchNorm2d(2),
            nn.BatchNorm2d(2, track_running_stats=False),
            nn.InstanceNorm3d(2),
            nn.InstanceNorm3d(2, track_running_stats=True),
            nn.GroupNorm(1, 2),
        ]
    )
    assert nets.tile_dependent(net) == ["1", "2", "4"]
