import pytest
import torch

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.nets.norm import Frozen, Norm

torch.set_num_threads(1)


def trained(dims=2, **arguments):
    torch.manual_seed(1)
    net = nets.build("unet", dims=dims, width=2, levels=3, **{"norm": "tracked", **arguments})
    net(torch.randn(2, 1, *(40 if arguments.get("padding") == "same" else 38,) * dims) * 2 + 1)
    return net


@pytest.mark.parametrize("up", ["transposed", "resize"])
@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_cropped_computes_the_certain_voxels_of_the_full_decoder(dims, up):
    net = trained(dims, up=up).eval()
    x = torch.randn(1, 1, *(38,) * dims)
    full, cropped = net(x), nets.cropped(net)(x)
    certain = (..., *(slice(14, 24),) * dims)
    torch.testing.assert_close(cropped, full[certain], atol=1e-6, rtol=0)


@pytest.mark.parametrize("up", ["transposed", "resize", "linear"])
@torch.no_grad()
def test_cropped_computes_the_certain_voxels_behind_blurred_strides(up):
    net = nets.frozen(nets.build("unet", dims=2, width=2, levels=3, norm="none", up=up, down="blurred"))
    foot = nets.footprint(net)
    x = torch.randn(1, 1, *(n + 2 * p for n, p in zip(foot.minimum, foot.period, strict=True)))
    full, cropped = net(x), nets.cropped(net)(x)
    reach = foot.reach[0][0]
    assert full.shape == x.shape
    torch.testing.assert_close(cropped, full[..., reach:-reach, reach:-reach], atol=1e-6, rtol=0)


@torch.no_grad()
def test_padded_computes_the_same_function_inside():
    """Same padding moves a tile's first voxel by the padding: 1 + 2 + 4 voxels after three levels."""
    net = nets.frozen(trained())
    x = torch.randn(1, 1, 120, 120)
    shifted = x[..., 1:, 1:][..., :118, :118]
    padded = nets.padded(net)(x)
    certain = slice(24, 80)
    assert nets.footprint(nets.padded(net)).trim == ((0, 0), (0, 0))
    torch.testing.assert_close(
        padded[..., 1:, 1:][..., certain, certain], net(shifted)[..., certain, certain], atol=1e-6, rtol=0
    )


def test_variants_leave_the_network_and_the_seed_alone():
    net = trained().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.random.get_rng_state()
    for make in (nets.frozen, nets.cropped, nets.padded):
        variant = make(net)
        with torch.no_grad():
            for tensor in variant.state_dict().values():
                tensor.zero_()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training
    assert net.describe()["arguments"]["decoder"] == "full"


def test_frozen_needs_no_gradients_and_keeps_dtype():
    frozen = nets.frozen(trained().double())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert {t.dtype for t in frozen.state_dict().values()} == {torch.float64}
    assert not any(isinstance(m, Norm) for m in frozen.modules())
    assert sum(isinstance(m, Frozen) for m in frozen.modules()) == 3
    assert not any(p.requires_grad for p in nets.cropped(frozen).parameters())


def test_a_frozen_network_is_rebuilt_from_its_description():
    frozen = nets.frozen(trained())
    described = frozen.describe()
    again = nets.build(described["name"], **described["arguments"])
    again.load_state_dict(frozen.state_dict())
    x = torch.randn(1, 1, 38, 38)
    assert torch.equal(again.train()(x), frozen(x))
    assert nets.frozen(frozen).describe() == described


def test_norms_without_fixed_statistics_cannot_be_frozen():
    with pytest.raises(BadInput, match=r"encoder.1.norm.*run nets.calibrate"):
        nets.frozen(trained(norm="calibrated"))
    with pytest.raises(BadInput, match="norm 'instance'"):
        nets.frozen(trained(norm="instance"))
    assert nets.frozen(trained(norm="none")).describe()["arguments"]["norm"] == "none"


@torch.no_grad()
def test_networks_that_cannot_be_cropped_are_copied():
    for net in (nets.build("resnet", dims=2, width=1, blocks=1, norm="none"), trained(padding="same")):
        copy = nets.cropped(net.eval())
        x = torch.randn(1, 1, 40, 40)
        assert copy is not net
        assert torch.equal(copy(x), net(x))


def test_a_critic_cannot_be_padded():
    with pytest.raises(BadInput, match="'patchgan' network has no padding"):
        nets.padded(nets.build("patchgan", dims=2, width=1))
