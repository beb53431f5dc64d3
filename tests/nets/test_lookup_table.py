"""Look-ups and filters compute the documented functions, and their geometry is derived correctly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.nets.layer_types import Piecewise

torch.set_num_threads(1)


def table(at, height):
    layer = Piecewise(1, len(at))
    layer.at[0], layer.height[0] = torch.tensor(at), torch.tensor(height)
    return layer


@given(
    knots=st.lists(st.integers(-1000, 1000), min_size=2, max_size=9, unique=True).map(sorted),
    seed=st.integers(0, 99),
)
def test_between_its_knots_it_is_numpys_interpolation(knots, seed):
    random = np.random.default_rng(seed)
    heights = np.sort(random.normal(0, 10, len(knots)))
    x = random.uniform(knots[0], knots[-1], (1, 1, 7, 8)).astype(np.float32)
    mapped = table([float(k) for k in knots], heights.tolist())(torch.from_numpy(x))
    np.testing.assert_allclose(mapped.numpy(), np.interp(x, knots, heights), atol=1e-3)


def test_beyond_its_ends_it_goes_straight_on_and_knots_are_hit_exactly():
    layer = table([0.0, 1.0, 3.0], [5.0, 6.0, 6.5])
    x = torch.tensor([-2.0, 0.0, 1.0, 2.0, 3.0, 7.0]).reshape(1, 1, 2, 3)
    assert layer(x).flatten().tolist() == [3.0, 5.0, 6.0, 6.25, 6.5, 7.5]


def test_a_new_one_is_the_identity_in_every_precision_and_layout(monkeypatch):
    monkeypatch.setattr(Piecewise, "_PIECE_VOXELS", 5)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        net = nets.build("lookup", dims=3, channels=2, knots=4).to(torch.float64 if dtype == torch.float64 else None)
        x = torch.randn(2, 2, 3, 4, 5, dtype=dtype).to(memory_format=torch.channels_last_3d)
        assert net(x).dtype == dtype
        torch.testing.assert_close(net(x), x)


@pytest.mark.parametrize("dims", [2, 3])
def test_footprints_follow_from_the_layers(dims):
    look = nets.footprint(nets.build("lookup", dims=dims))
    assert (look.reach, look.period, look.minimum) == (((0,) * dims,) * 2, (1,) * dims, (1,) * dims)
    blur = nets.footprint(nets.build("spectral", dims=dims, radius=3))
    assert (blur.reach, blur.period, blur.trim) == (((3,) * dims,) * 2, (1,) * dims, ((3,) * dims,) * 2)
    assert blur.minimum == (7,) * dims


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_a_new_filter_is_the_identity_and_its_padded_form_agrees_inside(dims):
    net = nets.build("spectral", dims=dims, channels=2, radius=2)
    x = torch.randn(1, 2, *(9,) * dims)
    inside = (..., *(slice(2, -2),) * dims)
    torch.testing.assert_close(net(x), x[inside])
    torch.nn.init.normal_(net.filter.weight)
    padded = nets.padded(net)(x)
    assert padded.shape == x.shape
    torch.testing.assert_close(padded[inside], net(x))


def test_they_are_ready_to_predict():
    for name in ("lookup", "spectral"):
        net = nets.build(name, dims=2, knots=7)
        assert not nets.tile_dependent(net)
        assert nets.count_parameters(nets.frozen(net)) == nets.count_parameters(net)
        assert nets.padded(net)(torch.rand(1, 1, 30, 30)).shape == (1, 1, 30, 30)
        assert nets.flops(net, (40, 40)) == (0 if name == "lookup" else 2 * 16 * 16 * 25 * 25)


def test_arguments_that_do_not_fit():
    for arguments in ({"knots": 1}, {"channels": 0}, {"dims": 4}):
        with pytest.raises(BadInput):
            nets.build("lookup", **{"dims": 2, **arguments})
