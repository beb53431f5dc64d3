"""Renormalisation, group and channel norm, learnt affine, normalised weights: known answers, folds, tiles."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.nets import norm as norms
from vol2vol.nets.layer_types import conv, transposed
from vol2vol.nets.norm import Norm, normalisation, showing
from vol2vol.nets.weighting import Reweighted, effective_weight

torch.set_num_threads(1)
SPACE = {2: (9, 7), 3: (5, 4, 3)}


def sample(dims, seed=0, channels=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, channels, *SPACE[dims], generator=generator, dtype=torch.float64) * 3 + 5


def randomised(net, seed=5):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        if name.endswith("scale"):
            parameter.data = 1 + noise / 3
        elif parameter.ndim == 1 and not name.endswith("gain"):
            parameter.data = noise / 10
        elif parameter.ndim > 1:
            parameter.data = noise * (2 / parameter[0].numel()) ** 0.5
    return net


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("affine", [False, True])
def test_renorm_without_corrections_is_batch_norm(dims, affine):
    own = randomised(Norm(4, "renorm", affine).double())
    torchs = getattr(nn, f"BatchNorm{dims}d")(4, affine=affine, momentum=None).double()
    if affine:
        torchs.weight, torchs.bias = own.scale, own.shift
    for step in range(3):
        x = sample(dims, step)
        torch.testing.assert_close(own(x), torchs(x))
    torch.testing.assert_close(own.mean, torchs.running_mean)
    torch.testing.assert_close(own.variance, torchs.running_var)
    torch.testing.assert_close(own.eval()(x), torchs.eval()(x))


def test_renorm_with_free_corrections_trains_on_what_it_predicts_with():
    """Within the limits of r and d, the output in training is that of the running statistics: no disparity."""
    own = Norm(4, "renorm").double()
    own.steps.fill_(10_000)
    own.mean.copy_(torch.tensor([4.0, 5, 6, 5])), own.variance.copy_(torch.tensor([9.0, 8, 10, 9]))
    x = sample(2).requires_grad_()
    before = own.eval()(x).detach()
    trained = own.train()(x)
    torch.testing.assert_close(trained.detach(), before, atol=1e-5, rtol=0)
    own.mean.fill_(1000)
    assert own(x).mean().abs() <= norms.D_LARGEST + 1, "d is limited"


def test_corrections_have_no_gradient():
    own, batch = Norm(4, "renorm").double(), nn.BatchNorm2d(4, affine=False).double()
    own.steps.fill_(10_000)
    x = sample(2)
    expected = torch.autograd.functional.jacobian(lambda v: batch(v).pow(2).mean(), x)
    own.mean.copy_(x.mean((0, 2, 3)))
    own.variance.copy_(x.var((0, 2, 3), correction=0))
    torch.testing.assert_close(torch.autograd.functional.jacobian(lambda v: own(v).pow(2).mean(), x), expected)


def test_the_largest_corrections_grow_with_the_steps():
    start, stop = norms.R_STEPS
    at = (0, start, (start + stop) / 2, stop)
    grown = [1 + 2 * float(norms._ramp(torch.tensor(float(n)), norms.R_STEPS)) for n in at]
    assert grown == [1, 1, 2, 3]


def test_passes_of_a_network_of_two_domains_are_kept_apart():
    own = Norm(4, "renorm").double()
    for _ in range(50):
        own(sample(2, 1))
        with showing("cycle"):
            own(sample(2, 2) + 20)
        with showing("identity"):
            own(sample(2, 3) - 40)
    torch.testing.assert_close(own.mean, sample(2, 1).mean((0, 2, 3)))
    torch.testing.assert_close(own.aside_mean[1], sample(2, 3).mean((0, 2, 3)) - 40)
    assert own.steps.tolist() == [50, 50, 50]


@pytest.mark.parametrize("dims", [2, 3])
def test_group_and_channel_norm_are_torchs(dims):
    x = sample(dims, channels=12)
    group, channel = (randomised(Norm(12, kind, affine=True).double()) for kind in ("group", "channel"))
    torch.testing.assert_close(group(x), nn.functional.group_norm(x, 4, group.scale, group.shift, 1e-5))
    last = x.movedim(1, -1)
    oracle = nn.functional.layer_norm(last, (12,), channel.scale, channel.shift, 1e-5).movedim(-1, 1)
    torch.testing.assert_close(channel(x), oracle)


@pytest.mark.parametrize("kind", ["tracked", "batch", "instance", "frozen"])
def test_a_learnt_affine_is_torchs(kind):
    layer = randomised(normalisation(4, kind, affine=True).double())
    plain = normalisation(4, kind).double()
    x = sample(3)
    shape = (1, 4, 1, 1, 1)
    torch.testing.assert_close(layer(x), plain(x) * layer.scale.view(shape) + layer.shift.view(shape))


@pytest.mark.parametrize("dims", [2, 3])
def test_standardised_weights_have_mean_0_and_keep_the_variance(dims):
    torch.manual_seed(0)
    for make, kernel, sharing in ((conv, 3, 1), (transposed, 4, 2**dims)):
        layer = make(dims, 6, 5, kernel, weights="standardised")
        matrix = effective_weight(layer)
        matrix = (matrix.transpose(0, 1) if make is transposed else matrix).flatten(1)
        assert matrix.mean(1).abs().max() < 1e-6
        variance = matrix.var(1, correction=0) * matrix.shape[1] / sharing
        torch.testing.assert_close(variance, layer.gain.detach() ** 2, rtol=0.02, atol=0)
        x = torch.relu(torch.randn(1, 6, *(24,) * dims))
        inner = layer(x).detach()[(..., *(slice(4, -4),) * dims)]
        assert 0.6 < float(inner.var()) < 1.5, "the gain makes up for the rectifier"


@pytest.mark.parametrize("make", [conv, transposed])
def test_spectral_weights_are_torchs(make):
    torch.manual_seed(1)
    own = make(2, 6, 5, 4, weights="spectral").double()
    torchs = make(2, 6, 5, 4).double()
    torchs.load_state_dict({"weight": own.weight, "bias": own.bias})
    spectral_norm(torchs, n_power_iterations=200, eps=1e-12)
    x = sample(2, channels=6)
    for _ in range(300):
        own(x)
    torch.testing.assert_close(own.eval()(x), torchs(x), atol=1e-6, rtol=1e-6)
    matrix = effective_weight(own)
    matrix = (matrix.transpose(0, 1) if make is transposed else matrix).flatten(1)
    assert abs(float(torch.linalg.matrix_norm(matrix, 2)) - 1) < 1e-6


NETWORKS = [
    ("unet", {"levels": 2, "width": 4, "final": "none"}),
    ("unet", {"levels": 2, "width": 4, "padding": "same", "up": "resize", "final": "none"}),
    ("resnet", {"blocks": 1, "width": 4, "final": "none"}),
    ("segmenter", {"levels": 2, "width": 4, "final": "none"}),
    ("resunet", {"levels": 2, "width": 4, "final": "none"}),
]
WAYS = [
    {"norm": "renorm"},
    {"norm": "renorm", "affine": True},
    {"norm": "batch", "affine": True},
    {"norm": "tracked", "affine": True},
    {"norm": "channel"},
    {"norm": "channel", "affine": True, "weights": "spectral"},
    {"norm": "none", "weights": "standardised"},
    {"norm": "none", "weights": "spectral"},
    {"norm": "batch", "weights": "standardised"},
]


def trained(name, dims, arguments):
    torch.manual_seed(2)
    net = randomised(nets.build(name, dims=dims, **arguments).double())
    size = nets.footprint(net).admissible(30 if dims == 2 else 22, 0, at_least=True)
    with torch.no_grad():
        for _ in range(3):
            net.train()(torch.randn(2, 1, *(size,) * dims, dtype=torch.float64) + 1)
    return net.eval(), torch.randn(1, 1, *(size,) * dims, dtype=torch.float64)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=str)
@torch.no_grad()
def test_folded_is_unfolded_and_streams_as_one_pass(name, arguments, way, dims):
    from vol2vol.nets.stream import Stream

    net, x = trained(name, dims, {**arguments, **way})
    expected = net(x)
    frozen = nets.frozen(net)
    assert expected.std() > 1e-3
    assert not any(isinstance(module, Reweighted) for module in frozen.modules())
    torch.testing.assert_close(frozen(x), expected, atol=1e-10, rtol=0)
    assert torch.equal(frozen.train()(x), frozen.eval()(x))
    assert nets.tile_dependent(frozen) == nets.tile_dependent(net) == []
    stream = Stream(frozen)
    parts = [stream.push(x[:, :, k : k + 5]) for k in range(0, x.shape[2], 5)]
    streamed = torch.cat([part for part in [*parts, stream.finish()] if part is not None], 2)
    torch.testing.assert_close(streamed, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "way", [{"norm": "channel"}, {"norm": "renorm"}, {"norm": "none", "weights": "standardised"}], ids=str
)
@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=str)
@torch.no_grad()
def test_a_distant_voxel_changes_nothing(name, arguments, way):
    net, _ = trained(name, 2, {**arguments, **way})
    foot = nets.footprint(net)
    n = foot.admissible(2 * max(foot.reach[0]) + 40, 0, at_least=True)
    x = torch.randn(1, 1, n, n, dtype=torch.float64)
    brighter = x.clone()
    brighter[..., : foot.period[-1]] += 100
    certain = slice(foot.period[-1] + foot.reach[0][-1] - foot.trim[0][-1], None)
    assert torch.equal(net(brighter)[..., certain], net(x)[..., certain])


def test_group_norm_depends_on_the_tile_and_cannot_be_frozen():
    net, x = trained("unet", 2, {"levels": 3, "width": 4, "norm": "group"})
    assert nets.tile_dependent(net) == ["encoder.1.norm", "decoder.0.norm", "decoder.1.norm"]
    brighter = x.clone()
    brighter[..., :4] += 100
    assert (net(brighter) - net(x))[..., -4:].abs().max() > 1e-6
    with pytest.raises(BadInput, match=r"encoder.1.norm.*norm 'group'"):
        nets.frozen(net)


@pytest.mark.parametrize("way", [{"norm": "renorm", "affine": True}, {"norm": "none", "weights": "spectral"}], ids=str)
@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=str)
def test_recomputing_gives_the_same_gradients_and_state(name, arguments, way):
    """Also where the network runs several times before the gradient, as in a cycle."""
    results = []
    for recompute in (False, True):
        net, x = trained(name, 2, {**arguments, **way})
        net.train().gradient_checkpointing = recompute
        for module in net.modules():
            if isinstance(module, Norm) and module.kind == "renorm":
                module.steps += 2000
        x.requires_grad_()
        with showing("cycle"):
            aside = net(2 * x - 1)
        (net(x).pow(2).mean() + aside.mean() + net(x + 3).abs().mean()).backward()
        results.append([*(p.grad for p in net.parameters()), *net.state_dict().values()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)


def test_bad_input_names_the_layer_and_a_cure():
    layer = nets.build("unet", dims=2, levels=3, width=2, norm="batch").get_submodule("decoder.0.norm")
    with pytest.raises(BadInput, match=r"layer 'decoder.0.norm' .* single value .*batch_size.* norm 'none'"):
        layer(torch.zeros(1, 4, 1, 1))
    with pytest.raises(BadInput, match=r"encoder.1.norm.* no statistics yet .*train"):
        nets.frozen(nets.build("unet", dims=2, levels=3, width=2, norm="renorm"))
    with pytest.raises(BadInput, match="width of at least 2"):
        nets.build("unet", dims=2, levels=3, width=1, norm="channel")
    with pytest.raises(BadInput, match="weights 'spektral' is unknown: did you mean 'spectral'"):
        nets.build("resnet", dims=2, weights="spektral")


def test_renorm_is_measured_again_or_by_tile_like_any_statistics():
    net, x = trained("unet", 2, {"levels": 3, "width": 2, "norm": "renorm", "affine": True})
    again = nets.remeasurable(net)
    nets.calibrate(again, [x])
    assert nets.tile_dependent(again) == []
    assert nets.tile_dependent(nets.tilewise(net)) != []
    assert nets.tile_dependent(nets.unmeasured(net)) == []
