"""Shapes in signatures are checked under pytest, and cost nothing elsewhere."""

import os
import subprocess
import sys
from typing import Annotated

import numpy as np
import pytest
import torch

from vol2vol import losses, nets, shapes
from vol2vol.errors import BadInput
from vol2vol.metrics.distances.set_distances import mmd

Rows = Annotated[np.ndarray, "rows 3"]


Same = Annotated[np.ndarray, "*lead n"]


@shapes.shaped
def stacked(a: Same, b: Same | None = None, *, c: Rows | None = None) -> Annotated[np.ndarray, "_ *lead n"]:
    return np.stack([a, b if b is not None and b.ndim == a.ndim else a])


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 3, 4)])
def test_what_fits_passes(shape):
    assert stacked(np.zeros(shape)).shape == (2, *shape)
    assert stacked(np.zeros(shape), np.zeros(shape), c=np.zeros((9, 3))).shape == (2, *shape)


@pytest.mark.parametrize(
    ("arguments", "named", "text"),
    [
        ([(2, 4), (4,)], {}, r"b is \(4,\), not \(\*lead n\) where \*lead is \(2,\)"),
        ([(4,)], {"c": (9, 2)}, r"c is \(9, 2\), not \(rows 3\)"),
        ([(4,)], {"c": (3,)}, r"c is \(3,\), not \(rows 3\)"),
        ([()], {}, r"a is \(\), not \(\*lead n\)"),
    ],
)
def test_what_does_not_is_named_with_its_function(arguments, named, text):
    with pytest.raises(TypeError, match=rf"stacked: {text}"):
        stacked(*map(np.zeros, arguments), **{name: np.zeros(shape) for name, shape in named.items()})


def test_a_result_of_another_shape_is_named():
    @shapes.shaped
    def halved(x: Annotated[np.ndarray, "n"]) -> Annotated[np.ndarray, "n"]:
        return x[::2]

    assert halved(np.zeros(1)).shape == (1,)
    with pytest.raises(TypeError, match=r"halved: return is \(2,\), not \(n\) where n is \(4,\)"):
        halved(np.zeros(4))


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.mse(torch.zeros(2, 1, 4), torch.zeros(1, 4)),
        lambda: losses.pearson(torch.rand(2, 1, 4, 4), torch.rand(1, 1, 4, 4)),
    ],
)
def test_public_functions_do_not_broadcast_in_silence(call):
    with pytest.raises(TypeError, match="losses"):
        call()


def test_what_a_function_refuses_itself_keeps_its_own_words():
    with pytest.raises(BadInput):
        mmd(np.zeros((4, 2)), np.zeros((4, 3, 1)))


@pytest.mark.parametrize("name", nets.CATALOGUE.own)
def test_every_network_is_checked_and_traced_all_the_same(name):
    network = nets.build(name, dims=2)
    assert hasattr(type(network).forward, "__wrapped__")
    assert nets.layers(network)


def test_without_the_variable_functions_are_what_they_were():
    environment = {name: value for name, value in os.environ.items() if name != "VOL2VOL_CHECK_SHAPES"}
    code = "from vol2vol import losses; assert not hasattr(losses.l1, '__wrapped__')"
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
