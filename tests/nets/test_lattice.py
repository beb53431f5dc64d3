"""How far a generator's output depends on the place of its input on the stride lattice: measured, not assumed."""

import pytest
import torch

from vol2vol import nets
from vol2vol.errors import BadInput

torch.set_num_threads(1)

GENERATORS = {
    "transposed": {"up": "transposed"},
    "resize": {"up": "resize"},
    "linear": {"up": "linear"},
    "blurred, resize": {"down": "blurred", "up": "resize"},
    "blurred, linear": {"down": "blurred", "up": "linear"},
}


def generator(seed, *, dims=2, name="resnet", **arguments):
    """Return a generator without norms, with random weights that keep a signal's size."""
    draw = torch.Generator().manual_seed(seed)
    size = {"blocks": 3, "width": 8} if name == "resnet" else {"levels": 2, "width": 4}
    net = nets.build(name, dims=dims, norm="none", final="none", **size, **arguments).double().eval()
    for parameter in net.parameters():
        scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * scale
    return net


def smooth(size, dims=2):
    """Return an image whose structures are some voxels wide: white noise through three means over 5 voxels."""
    noise = torch.randn(1, 1, *(size,) * dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.nn.functional.avg_pool2d if dims == 2 else torch.nn.functional.avg_pool3d
    for _ in range(3):
        noise = mean(noise, 5, 1, 2)
    return noise / noise.std()


def dependence(kind, image, **arguments):
    values = [nets.position_dependence(generator(seed, **GENERATORS[kind], **arguments), image) for seed in range(4)]
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("name", "dims", "size", "expected"),
    [
        ("resnet", 2, 140, (1.39, 0.75, 0.34, 0.64, 0.17)),
        ("unet", 2, 60, (1.10, 0.55, 0.17, 0.47, 0.07)),
        ("unet", 3, 36, (1.15, 0.46, 0.09, 0.39, 0.05)),
    ],
)
def test_what_remains_of_the_place_on_the_lattice(name, dims, size, expected):
    """Outputs of transposed convolutions are unrelated after a shift (1.41); none forgets its lattice wholly."""
    image = smooth(size, dims)
    measured = [dependence(kind, image, name=name, dims=dims) for kind in GENERATORS]
    assert measured == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("kind", GENERATORS)
def test_only_a_transposed_convolution_draws_its_lattice_on_equal_voxels(kind):
    measured = dependence(kind, torch.ones(1, 1, 120, 120, dtype=torch.float64))
    assert measured > 1 if kind == "transposed" else measured < 1e-12


def test_a_network_without_stride_depends_on_no_position():
    net = nets.build("retouch", dims=2, width=3, blocks=1, norm="none").double()
    assert nets.position_dependence(net, smooth(40)) == 0


def test_a_shift_by_the_period_is_not_counted():
    """The oracle of the oracle: by whole periods even the transposed convolution commutes."""
    net, image = generator(0, padding="valid"), smooth(120)
    y = net(image[..., :101])
    torch.testing.assert_close(net(image[..., 4:105])[..., :-4], y[..., 4:], rtol=0, atol=1e-10)


def test_too_few_voxels_are_refused():
    with pytest.raises(BadInput, match="too few to shift a tile"):
        nets.position_dependence(generator(0), smooth(40))
