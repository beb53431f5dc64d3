import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from vol2vol import nets
from vol2vol.errors import BadInput

torch.set_num_threads(1)

CASES = [
    ("unet", {"dims": 2, "width": 4}, (190, 222)),
    ("unet", {"dims": 2, "width": 4, "decoder": "cropped"}, (190, 222)),
    ("unet", {"dims": 2, "width": 4, "up": "resize", "padding": "same"}, (128, 160)),
    ("unet", {"dims": 3, "width": 2, "levels": 2}, (14, 18, 22)),
    ("resnet", {"dims": 2, "width": 2, "blocks": 2}, (64, 72)),
    ("resnet", {"dims": 3, "width": 1, "blocks": 1, "padding": "valid"}, (49, 49, 53)),
    ("resnet", {"dims": 2, "width": 2, "blocks": 1, "up": "linear", "down": "blurred"}, (64, 72)),
    ("unet", {"dims": 3, "width": 1, "levels": 2, "up": "linear", "down": "blurred"}, (24, 28, 32)),
    ("patchgan", {"dims": 3, "width": 1}, (32, 40, 48)),
]
cases = pytest.mark.parametrize(("name", "arguments", "size"), CASES)


@cases
def test_flops_are_those_torch_counts(name, arguments, size):
    with torch.device("meta"):
        net = nets.build(name, norm="frozen", **arguments)
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 1, *size))
    assert nets.flops(net, size) == counter.get_total_flops()


def test_flops_of_the_papers_tile():
    """515 GFLOP for one pass over 190^3: what was measured for the reference code."""
    with torch.device("meta"):
        assert round(nets.flops(nets.build("unet", dims=3), (190,) * 3) / 1e9) == 515


class Peak(TorchDispatchMode):
    """Watch the bytes of all tensors that operations made and somebody still holds."""

    def __init__(self, x):
        super().__init__()
        self.tensors = [weakref.ref(x)]
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.tensors += [weakref.ref(tensor) for tensor in tree_leaves(out)]
        held = [tensor.untyped_storage() for ref in self.tensors if (tensor := ref()) is not None]
        self.bytes = max(self.bytes, sum({s.data_ptr(): s.nbytes() for s in held}.values()))
        return out


@cases
def test_peak_of_tensors_is_what_torch_holds(name, arguments, size):
    net = nets.build(name, norm="frozen", **arguments).eval()
    x = torch.empty(1, 1, *size)
    with torch.no_grad(), Peak(x) as peak:
        net(x)
    assert peak.bytes == pytest.approx(nets.peak_memory(net, size, workspace=False), rel=0.02)
    assert nets.peak_memory(net, size) > nets.peak_memory(net, size, workspace=False)


def test_costs_of_a_size_that_does_not_pass_are_refused():
    net = nets.build("unet", dims=2, width=1)
    for cost in (nets.flops, nets.peak_memory):
        with pytest.raises(BadInput, match=r"\(190, 192\)"):
            cost(net, (190, 192))
