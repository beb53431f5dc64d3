"""L2: an identity network returns the volume, whatever the plan, the size, the block and the axis."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vol2vol import plans
from vol2vol.geometry import Box, grid, reflect
from vol2vol.plans import Plan
from vol2vol.prediction.engine import Engine
from vol2vol.prediction.gather import gather, mean_of, resampled

torch.set_num_threads(1)


def reader(volume):
    def read(box):
        index = [
            [reflect(i, n) for i in range(a, b)] for a, b, n in zip(box.start, box.stop, volume.shape[1:], strict=True)
        ]
        return volume[:, *np.ix_(*index)]

    return read


class Same(nn.Module):
    """A network that changes nothing."""

    def __init__(self, dims):
        super().__init__()
        self.dims, self.in_channels = dims, 2

    def forward(self, x):
        return x


def identity(dims):
    return Engine.of(Same(dims))


@st.composite
def plans_for(draw, dims):
    def numbers(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kept, before, after = numbers(3, 12), numbers(0, 4), numbers(0, 4)
    return Plan(
        tile=tuple(k + b + a for k, b, a in zip(kept, before, after, strict=True)),
        margin=(before, after),
        step=tuple(draw(st.integers(2, k)) for k in kept),
        origin=numbers(-5, 5),
        window=draw(st.sampled_from(plans.WINDOWS)),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_identity_network_returns_the_volume(data):
    size = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 64), st.integers(1, 20)))
    volume = np.random.default_rng(0).standard_normal((2, *size)).astype(np.float32)
    planar = data.draw(st.sampled_from([None, 0, 1, 2]))
    plan = data.draw(plans_for(3)) if planar is None else plans.planar(data.draw(plans_for(2)), planar)
    block = data.draw(st.tuples(st.integers(1, 5), st.integers(5, 70), st.integers(5, 25)))
    batch = data.draw(st.integers(1, 5))
    run = identity(3 if planar is None else 2)
    for box in grid(Box.of(size), block):
        made = gather(reader(volume), plan, run, box, batch_size=batch, planar=planar)
        np.testing.assert_allclose(made, volume[:, *box.slices], rtol=2e-7, atol=1e-7)


@settings(max_examples=12, deadline=None)
@given(plan=plans_for(2), axis=st.integers(0, 2), block=st.integers(8, 30))
def test_l4_blocks_change_no_bit(plan, axis, block):
    volume = np.random.default_rng(1).standard_normal((1, 6, 31, 23)).astype(np.float32)
    lifted = plans.planar(plan, axis)
    whole = gather(reader(volume), lifted, identity(2), Box.of((6, 31, 23)), planar=axis)
    for box in grid(Box.of((6, 31, 23)), (3, block, block)):
        part = gather(reader(volume), lifted, identity(2), box, planar=axis)
        assert (part == whole[:, *box.slices]).all()


@given(source=st.integers(1, 12), factor=st.floats(1, 8))
def test_stretching_keeps_linear_ramps_and_comes_back(source, factor):
    target = max(1, round(source * factor))
    ramp = np.arange(source, dtype=np.float32).reshape(1, -1, 1, 1)
    stretched = resampled(reader(ramp), 0, (source, target))
    made = stretched(Box((0, 0, 0), (target, 1, 1)))[0, :, 0, 0]
    expected = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    back = resampled(stretched, 0, (target, source))(Box((0, 0, 0), (source, 1, 1)))[0, :, 0, 0]
    inner = slice(1, -1)
    np.testing.assert_allclose(back[inner], ramp[0, inner, 0, 0], atol=0.51)
    assert np.isfinite(back).all()


def test_mean_is_the_mean():
    parts = [np.full((1, 2, 2, 2), value, np.float32) for value in (1, 2, 6)]
    assert (mean_of(iter(parts)) == 3).all()
