import pytest
import torch
from torch import nn

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.nets.layer_types import Crop, Pad


class Residual(nn.Module):
    """A network of one convolution added to its cropped input."""

    dims, in_channels = 2, 1

    def __init__(self, crop, change):
        super().__init__()
        self.crop, self.change = crop, change

    def forward(self, x):
        return self.crop(x) + self.change(x)


def test_records_follow_the_forward_pass():
    net = nets.build("unet", dims=3, width=4, levels=2, decoder="cropped", norm="frozen")
    traced = nets.layers(net)
    assert [(layer.name, layer.kind, layer.channels) for layer in traced] == [
        ("x", "input", 1),
        ("encoder.0.conv", "conv", 4),
        ("encoder.0.activation", "activation", 4),
        ("encoder.1.conv", "conv", 8),
        ("encoder.1.activation", "activation", 8),
        ("decoder.0.conv", "transposed", 4),
        ("decoder.0.norm", "norm", 4),
        ("crops.0", "crop", 4),
        ("cat", "cat", 8),
        ("decoder.1.activation", "activation", 8),
        ("decoder.1.conv", "transposed", 1),
        ("decoder.1.final", "activation", 1),
        ("output", "output", 1),
    ]
    records = {layer.name: layer for layer in traced}
    assert records["cat"].inputs == ("crops.0", "decoder.0.norm")
    assert records["crops.0"].before == records["crops.0"].after == (2, 2, 2)
    last = records["decoder.1.conv"]
    assert (last.kernel, last.stride, last.padding) == ((4,) * 3, (2,) * 3, (2,) * 3)
    assert last.module is net.decoder[1].conv


@pytest.mark.parametrize("dims", [2, 3])
def test_images_and_volumes_have_one_definition(dims):
    names = [layer.name for layer in nets.layers(nets.build("resnet", dims=dims, width=1))]
    assert names == [layer.name for layer in nets.layers(nets.build("resnet", dims=2, width=1))]


def test_a_network_that_recomputes_activations_traces_alike():
    net = nets.build("unet", dims=2, width=1, levels=3)
    plain = [(layer.kind, layer.channels) for layer in nets.layers(net)]
    net.gradient_checkpointing = True
    assert [(layer.kind, layer.channels) for layer in nets.layers(net.train())] == plain


@pytest.mark.parametrize(
    ("strange", "name"),
    [
        (nn.Upsample(scale_factor=2, mode="bilinear"), "change"),
        (nn.AdaptiveAvgPool2d(1), "change"),
        (nn.Conv2d(1, 1, 3, padding="same"), "change"),
    ],
)
def test_layers_without_plain_geometry_are_refused_by_name(strange, name):
    with pytest.raises(BadInput, match=name):
        nets.layers(Residual(nn.Identity(), strange))


class Halved(nn.Module):
    dims, in_channels = 2, 1

    def forward(self, x):
        return torch.mul(x, 0.5)


def test_operations_without_plain_geometry_are_refused():
    with pytest.raises(BadInput, match="mul"):
        nets.layers(Halved())


def test_a_module_that_runs_twice_is_refused():
    conv = nn.Conv2d(1, 1, 1)
    with pytest.raises(BadInput, match="'crop' runs twice"):
        nets.layers(Residual(conv, conv))


def test_misaligned_branches_are_refused_by_name():
    with pytest.raises(BadInput, match=r"'add' joins 'crop' and 'change', which are 1 input voxels apart"):
        nets.footprint(Residual(Crop(2, 2, 0), nn.Conv2d(1, 1, 3)))


def test_branches_that_never_have_one_length_are_refused_by_name():
    with pytest.raises(BadInput, match="'add'"):
        nets.footprint(Residual(Crop(2, 1, 2), nn.Conv2d(1, 1, 3)))


def test_an_output_between_input_voxels_is_refused():
    with pytest.raises(BadInput, match="displaced by 1/2"):
        nets.footprint(Residual(nn.Conv2d(1, 1, 2), nn.Conv2d(1, 1, 2)))


@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_padding_is_never_certain(mode):
    padded = nn.Sequential(Pad(2, 1, 1, mode), nn.Conv2d(1, 1, 3))
    foot = nets.footprint(Residual(nn.Identity(), padded))
    assert foot.reach == ((1, 1), (1, 1))
    assert foot.trim == ((0, 0), (0, 0))
    assert foot.minimum == (3, 3)


def test_anisotropic_kernels_have_a_footprint_per_axis():
    foot = nets.footprint(Residual(nn.Conv2d(1, 1, (1, 3)), nn.Conv2d(1, 1, (1, 3))))
    assert foot.reach == foot.trim == ((0, 1), (0, 1))
    assert foot.minimum == (1, 3)


def test_dilation_counts():
    foot = nets.footprint(Residual(Crop(2, 4, 4), nn.Conv2d(1, 1, 3, dilation=4)))
    assert foot.reach == ((4, 4), (4, 4))
