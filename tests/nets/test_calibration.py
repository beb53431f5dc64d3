import pytest
import torch

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.nets.norm import Norm

torch.set_num_threads(1)


def generator(norm="calibrated", **arguments):
    torch.manual_seed(0)
    net = nets.build("unet", dims=2, width=3, levels=3, norm=norm, **arguments)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def patches(count=3, size=38):
    """Patches that differ among themselves in brightness and contrast."""
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(2, 1, size, size, generator=draw) * (1 + i) + i for i in range(count)]


def inputs_of_norms(net, batches):
    """Return what every norm receives on its certain region, all batches together, channels first."""
    values_by_layer = {}
    size = batches[0].shape[-1]
    records = nets.layers(net)
    inside = nets.extents(records, (size, size))

    def listen(layer):
        start, stop = (inside[layer.inputs[0]][0].start, inside[layer.inputs[0]][0].stop)

        def hook(module, args):
            values = args[0][..., start:stop, start:stop].double()
            values_by_layer.setdefault(layer.name, []).append(values.transpose(0, 1).flatten(1))

        return layer.module.register_forward_pre_hook(hook)

    handles = [listen(layer) for layer in records if isinstance(layer.module, Norm)]
    with torch.no_grad():
        for batch in batches:
            net(batch)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts, 1) for name, parts in values_by_layer.items()}


@pytest.mark.parametrize("arguments", [{}, {"padding": "same"}, {"decoder": "cropped"}], ids=str)
def test_every_layer_gets_the_total_statistics_of_what_it_sees_in_prediction(arguments):
    net = generator(**arguments)
    batches = patches(size=40 if arguments.get("padding") == "same" else 38)
    nets.calibrate(net, batches)
    assert nets.tile_dependent(net) == []
    seen = inputs_of_norms(net.eval(), batches)
    assert len(seen) == 3
    for name, values in seen.items():
        norm = net.get_submodule(name)
        torch.testing.assert_close(norm.mean.double(), values.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.variance.double(), values.var(1, correction=0), rtol=1e-4, atol=1e-7)


def test_total_variance_holds_the_variance_between_patches():
    """The flaw of averaged instance statistics: patches of different brightness look alike to them."""
    norm_input = [torch.full((1, 1, 38, 38), float(level)) + 0.1 * torch.randn(1, 1, 38, 38) for level in (-3, 3)]
    net = generator()
    nets.calibrate(net, norm_input)
    within = generator("tracked")
    within.load_state_dict(net.state_dict(), strict=False)
    for _ in range(60):
        for x in norm_input:
            within.train()(x)
    assert (net.encoder[1].norm.variance > 2 * within.encoder[1].norm.variance).all()


def test_a_single_pass_measures_the_first_layer_exactly_and_all_layers():
    exact, single = generator(), generator()
    nets.calibrate(exact, patches())
    nets.calibrate(single, patches(), passes="single")
    assert torch.equal(exact.encoder[1].norm.mean, single.encoder[1].norm.mean)
    assert not torch.allclose(exact.decoder[1].norm.variance, single.decoder[1].norm.variance, rtol=1e-3)
    assert nets.tile_dependent(single) == []


def test_an_iterator_and_a_list_and_any_batching_give_the_same():
    nets_ = [generator() for _ in range(3)]
    nets.calibrate(nets_[0], patches())
    nets.calibrate(nets_[1], iter(patches()))
    nets.calibrate(nets_[2], [torch.cat(patches())])
    for other in nets_[1:]:
        for a, b in zip(nets_[0].state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b)


def test_calibration_keeps_mode_and_weights_and_leaves_no_hooks():
    net = generator().train()
    before = {name: p.clone() for name, p in net.named_parameters()}
    nets.calibrate(net, patches())
    assert net.training
    assert net.decoder[0].training
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert not any(m._forward_pre_hooks for m in net.modules())


def test_patches_too_small_for_certain_voxels_still_calibrate():
    net = generator(padding="same")
    nets.calibrate(net, patches(size=8))
    assert nets.tile_dependent(net) == []


def test_networks_without_calibrated_norms_are_left_alone():
    net = generator("tracked")
    nets.calibrate(net, [])
    assert not net.encoder[1].norm.mean.any()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no patches"),
        ([torch.full((1, 1, 38, 38), torch.nan)], "'encoder.1.norm' receives values that are not finite"),
        ([torch.zeros(1, 1, 37, 37)], r"an input of \(37, 37\) voxels does not pass"),
    ],
)
def test_bad_patches_are_refused(batches, message):
    net = generator().train()
    with pytest.raises(BadInput, match=message):
        nets.calibrate(net, batches)
    assert net.training
    with pytest.raises(BadInput, match=r"run nets\.calibrate"):
        nets.frozen(net)
