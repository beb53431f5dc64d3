"""Properties that all networks of the catalogue share, and those of single networks."""

from collections import Counter
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.nets.layer_types import Blur, enlarged

torch.set_num_threads(1)

SMALL = {
    "unet": {"width": 2, "levels": 2, "up": "resize", "norm": "tracked"},
    "resnet": {"width": 2, "blocks": 1, "padding": "valid"},
    "patchgan": {"width": 2, "n_layers": 2, "norm": "batch"},
    "retouch": {"width": 2, "blocks": 2},
    "pixel": {"width": 2, "in_channels": 3},
    "segmenter": {"width": 2, "levels": 2, "out_channels": 2},
    "resunet": {"width": 2, "levels": 2, "norm": "channel", "affine": True},
    "lookup": {"channels": 2, "knots": 5},
    "spectral": {"channels": 2, "radius": 3, "padding": "same"},
}
FITTED = ("lookup", "spectral")
"""Networks whose parameters are not trained."""
both_dims = pytest.mark.parametrize("dims", [2, 3])
every_name = pytest.mark.parametrize("name", nets.CATALOGUE.own)


@both_dims
@every_name
def test_describe_rebuilds(name, dims):
    net = nets.build(name, dims=dims, **SMALL.get(name, {}))
    described = net.describe()
    again = nets.build(described["name"], **described["arguments"])
    assert again.describe() == described
    assert net.dims == dims
    again.load_state_dict(net.state_dict())
    x = torch.randn(2, net.in_channels, *(46,) * dims)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), again.eval()(x))


@both_dims
@pytest.mark.parametrize("name", [name for name in nets.CATALOGUE.own if name not in FITTED])
def test_every_parameter_gets_a_gradient(name, dims):
    net = nets.build(name, dims=dims, **SMALL.get(name, {}))
    net(torch.randn(1, net.in_channels, *(46,) * dims)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "dims", "millions"),
    [("unet", 2, 16.65), ("unet", 3, 66.60), ("patchgan", 2, 2.76), ("patchgan", 3, 11.05)],
)
def test_parameters_are_as_many_as_in_the_paper(name, dims, millions):
    with torch.device("meta"):
        net = nets.build(name, dims=dims)
    assert round(nets.count_parameters(net) / 1e6, 2) == millions


def test_resnet_has_as_many_parameters_as_the_public_one():
    with torch.device("meta"):
        net = nets.build("resnet", dims=2, in_channels=3, out_channels=3)
    assert nets.count_parameters(net) == 11_378_179


def test_the_generator_of_stitching_aware_training_has_its_layers_and_parameters():
    """Böhland et al. 2023: 25.6 million at width 96; nine blocks, leaky activations, instance norms without scale."""
    published = {"width": 96, "blocks": 9, "activation": "leaky", "norm": "instance"}
    with torch.device("meta"):
        flat, deep = (nets.build("resnet", dims=d, in_channels=3, out_channels=3, **published) for d in (2, 3))
    assert round(nets.count_parameters(flat) / 1e6, 1) == 25.6
    for net in (flat, deep):
        found = Counter(type(m).__name__.rstrip("23d") for m in net.modules())
        assert (found["LeakyReLU"], found["ReLU"], found["ConvTranspose"], found["_Block"]) == (14, 0, 2, 9)
        assert {m.kind for m in net.modules() if hasattr(m, "kind")} == {"instance"}
        layers = nets.layers(net)
        assert [layer.kind for layer in layers[:3]] == ["input", "pad", "conv"]
        assert layers[2].kernel == (7,) * net.dims
        assert isinstance(layers[-2].module, nn.Tanh)


@both_dims
@pytest.mark.parametrize("name", ["unet", "resnet"])
@torch.no_grad()
def test_blurs_are_binomial_and_not_learnt(name, dims):
    net = nets.build(name, dims=dims, width=2, down="blurred", up="linear")
    plain = nets.build(name, dims=dims, width=2, up="resize")
    assert nets.count_parameters(net) == nets.count_parameters(plain)
    blurs = [m for m in net.modules() if isinstance(m, Blur)]
    assert {m.stride for m in blurs} == {(1,) * dims, (2,) * dims}
    x = torch.randn(1, blurs[0].groups, *(9,) * dims)
    middle = [
        x[(0, 0, *(1 + k for k in offset))] * 2.0 ** -(dims + sum(k != 0 for k in offset))
        for offset in product((-1, 0, 1), repeat=dims)
    ]
    torch.testing.assert_close(blurs[0](x)[(0, 0, *(0,) * dims)], sum(middle))


@both_dims
@torch.no_grad()
def test_repeating_and_blurring_is_linear_interpolation(dims):
    x = torch.randn(2, 3, *(6,) * dims)
    mode = "bilinear" if dims == 2 else "trilinear"
    expected = functional.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
    inside = (..., *(slice(1, -1),) * dims)
    torch.testing.assert_close(nn.Sequential(*enlarged(dims, 3, "linear", mirrored=False))(x), expected[inside])


def test_weights_are_drawn_by_the_global_generator():
    torch.manual_seed(3)
    first = nets.build("unet", dims=2, width=16)
    torch.manual_seed(3)
    second = nets.build("unet", dims=2, width=16)
    weights = [m.weight for m in first.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert 0.0195 < torch.cat([w.flatten() for w in weights]).std() < 0.0205
    assert all(not m.bias.any() for m in first.modules() if hasattr(m, "bias"))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("unte", {"dims": 2}, "did you mean 'unet'"),
        ("swin", {"dims": 2}, "use one of unet, resnet"),
        ("unet", {"dims": 2, "widht": 3}, "did you mean 'width'"),
        ("unet", {}, "needs dims"),
        ("unet", {"dims": 4}, "use 2 for images"),
        ("unet", {"dims": 2, "levels": 0}, "levels is 0"),
        ("unet", {"dims": 2, "width": "64"}, "width is '64'"),
        ("unet", {"dims": 2, "norm": "insance"}, "did you mean 'instance'"),
        ("unet", {"dims": 2, "padding": "same", "decoder": "cropped"}, "needs padding 'valid'"),
        ("resnet", {"dims": 2, "up": "bilinear"}, "did you mean 'linear'"),
        ("resnet", {"dims": 2, "activation": "swish"}, "use one of relu, leaky"),
        ("unet", {"dims": 3, "down": "blur"}, "did you mean 'blurred'"),
        ("patchgan", {"dims": 2, "n_layers": True}, "n_layers is True"),
    ],
)
def test_wrong_arguments_are_refused_with_the_nearest_right_ones(name, arguments, message):
    with pytest.raises(BadInput, match=message):
        nets.build(name, **arguments)


@both_dims
def test_a_patch_critic_sees_seventy_voxels(dims):
    with torch.device("meta"):
        critic = nets.build("patchgan", dims=dims, width=1)
        assert critic(torch.empty(1, 1, *(70,) * dims)).shape[2:] == (6,) * dims
    seen, step = 1, 1
    for layer in nets.layers(critic):
        if layer.kind == "conv":
            seen, step = seen + (layer.kernel[0] - 1) * step, step * layer.stride[0]
    assert (seen, step) == (70, 8)


@torch.no_grad()
def test_a_pixel_critic_sees_one_voxel():
    critic = nets.build("pixel", dims=2, norm="none")
    x = torch.randn(1, 1, 8, 8)
    changed = x.clone()
    changed[..., 3, 5] += 1
    assert (critic(x) != critic(changed)).nonzero().tolist() == [[0, 0, 3, 5]]


@both_dims
@pytest.mark.parametrize("padding", ["valid", "same"])
@torch.no_grad()
def test_the_final_tanh_bounds_the_output(dims, padding):
    net = nets.build("unet", dims=dims, width=2, levels=2, norm="none", padding=padding)
    for parameter in net.parameters():
        parameter.mul_(100)
    y = net(torch.randn(1, 1, *((12,) * dims if padding == "same" else (14,) * dims)))
    assert 0.9 < y.abs().max() <= 1


@pytest.mark.parametrize("norm", ["tracked", "calibrated", "instance", "batch", "none"])
def test_networks_train_under_mixed_precision(norm):
    torch.manual_seed(0)
    net = nets.build("unet", dims=2, width=4, levels=3, norm=norm)
    x = torch.randn(2, 1, 46, 46)
    full = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x)
    half.float().square().mean().backward()
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() < 0.05 * full.abs().max()
    assert all(b.dtype in (torch.float32, torch.bool) for b in net.buffers())


@pytest.mark.parametrize("name", ["unet", "resnet"])
@pytest.mark.parametrize("norm", ["tracked", "calibrated", "batch"])
def test_recomputing_activations_ends_in_the_same_state(name, norm):
    """Gradients, running statistics and later predictions equal those of a plain step."""
    torch.manual_seed(0)
    net = nets.build(name, dims=2, norm=norm, **({"levels": 3} if name == "unet" else {"blocks": 2}), width=4)
    twin = nets.build(**_flat(net))
    twin.load_state_dict(net.state_dict())
    twin.gradient_checkpointing = True
    x = torch.randn(2, 1, 48 if name == "resnet" else 46, 48 if name == "resnet" else 46)
    for trained in (net, twin):
        trained.train()
        for _ in range(2):
            (trained(x) - trained(2 * x)).square().mean().backward()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-9)
    for (key, a), b in zip(net.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_recomputing_activations_saves_memory():
    def saved(checkpointing):
        torch.manual_seed(0)
        net = nets.build("unet", dims=2, levels=3, width=8)
        net.gradient_checkpointing = checkpointing
        kept = {}

        def pack(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = net(torch.randn(1, 1, 94, 94))
        assert y.requires_grad
        return sum(kept.values())

    assert saved(True) < 0.6 * saved(False)


def _flat(net):
    described = net.describe()
    return {"name": described["name"], **described["arguments"]}


def test_a_retouching_network_begins_as_the_identity():
    net = nets.build("retouch", dims=3, width=3, blocks=2)
    x = torch.randn(1, 1, 9, 10, 11)
    torch.testing.assert_close(net(x), x[..., 3:-3, 3:-3, 3:-3], rtol=0, atol=0)
    with pytest.raises(BadInput, match="2 channels cannot be retouched into 1"):
        nets.build("retouch", dims=2, in_channels=2)


@pytest.mark.parametrize("levels", [1, 2, 4, 6])
@pytest.mark.parametrize("changes", [{}, {"up": "linear"}, {"down": "blurred"}, {"padding": "same"}, {"final": "none"}])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_unet_without_normalisation_keeps_the_variance_of_its_input_at_any_depth(dims, changes, levels):
    if dims == 3 and levels > 2:
        pytest.skip("takes long, and differs from 2D only in the number of inputs")
    torch.manual_seed(0)
    net = nets.build("unet", dims=dims, width=8, levels=levels, norm="none", **changes)
    size = nets.footprint(net).admissible(64 if dims == 2 else 20, 0, at_least=True)
    with torch.no_grad():
        spread = float(net(torch.randn(1, 1, *(size,) * dims)).std())
    smoothed = changes.get("up") == "linear" or changes.get("down") == "blurred"  # which takes from white noise
    assert (1 / 10 if smoothed else 1 / 3) < spread < 3
