"""L3: streamed = one pass, for every network of local layers, axis, portion and wanted window."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.nets.demand import operations, spans
from vol2vol.nets.norm import Frozen
from vol2vol.nets.stream import Stream
from vol2vol.nets.stream_memory import stream_memory
from vol2vol.nets.trace import layers

torch.set_num_threads(1)

NETWORKS = {
    "unet": {"levels": 3},
    "unet cropped": {"levels": 2, "decoder": "cropped"},
    "unet same": {"levels": 2, "padding": "same"},
    "unet resize": {"levels": 2, "up": "resize"},
    "unet resize cropped": {"levels": 2, "up": "resize", "decoder": "cropped"},
    "retouch": {"blocks": 2},
    "resnet": {"blocks": 1},
    "resnet valid": {"blocks": 2, "padding": "valid"},
    "resnet resize": {"blocks": 1, "up": "resize"},
    "unet blurred cropped": {"levels": 2, "down": "blurred", "up": "linear", "decoder": "cropped"},
    "resnet blurred": {"blocks": 1, "down": "blurred", "up": "linear", "activation": "leaky"},
    "resnet valid blurred": {"blocks": 1, "padding": "valid", "down": "blurred", "up": "linear"},
    "patchgan": {"n_layers": 2},
    "pixel": {},
}


def network(name, dims):
    torch.manual_seed(0)
    net = nets.build(name.split()[0], dims=dims, width=3, norm="frozen", **NETWORKS[name]).double().eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Frozen):
                module.mean.normal_()
                module.variance.uniform_(0.5, 2)
            if isinstance(getattr(module, "weight", None), torch.nn.Parameter):
                module.weight.normal_(0, 0.1 if "resnet" in name else 0.3)
                module.bias.normal_(0, 0.3)
    return net.requires_grad_(False)


def smallest(net):
    try:
        foot = nets.footprint(net)
        return foot.minimum[0] + foot.period[0]
    except BadInput:
        return 26


def streamed(stream, x, axis, portions):
    made, at = [], 0
    while at < x.shape[axis + 2]:
        step = next(portions)
        made.append(stream.push(x.narrow(axis + 2, at, min(step, x.shape[axis + 2] - at))))
        at += step
    made.append(stream.finish())
    return torch.cat([part for part in made if part is not None], axis + 2)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_streamed_is_one_pass(name, dims):
    net = network(name, dims)
    n = smallest(net)
    large = dims == 3 and "resnet" in name
    x = torch.randn(1 if large else 2, 1, *(n,) * dims, dtype=torch.float64)
    whole = net(x)
    for axis in [0] if large else range(dims):
        stream = Stream(net, axis)
        assert (stream.whole(x) - whole).abs().max() < 1e-12 * whole.abs().max()
        for portions in [[5, 8]] if large else ([n], [3, 5, 2]) if dims == 3 else ([1], [n], [3, 5, 2]):
            made = streamed(stream, x, axis, iter(portions * n))
            assert made.shape == whole.shape
            assert (made - whole).abs().max() < 1e-12 * whole.abs().max()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_window_is_the_same_part_of_the_whole(data):
    net = network(data.draw(st.sampled_from(sorted(NETWORKS))), 2)
    n = smallest(net)
    x = torch.randn(1, 1, n, n, dtype=torch.float64)
    whole = net(x)
    axis = data.draw(st.integers(0, 1))
    length = whole.shape[3 - axis]
    low = data.draw(st.integers(0, length - 1))
    high = data.draw(st.integers(low + 1, length))
    window = [None, None]
    window[1 - axis] = (low, high)
    made = streamed(Stream(net, axis, window=window), x, axis, iter([4] * n))
    expected = whole.narrow(3 - axis, low, high - low)
    assert made.shape == expected.shape
    assert (made - expected).abs().max() < 1e-12 * whole.abs().max()


@pytest.mark.parametrize("span", [(3, 4), (0, 1), (1, 3)])
@pytest.mark.parametrize("name", ["unet", "unet same"])
def test_windows_of_one_voxel(name, span):
    """Axes of one voxel have strides of their own."""
    net = network(name, 2)
    x = torch.randn(1, 1, *(smallest(net),) * 2, dtype=torch.float64)
    whole = net(x)
    for axis in (0, 1):
        window = [span, None] if axis else [None, span]
        made = streamed(Stream(net, axis, window=window), x, axis, iter([4] * x.shape[2]))
        assert (made - whole.narrow(3 - axis, span[0], span[1] - span[0])).abs().max() < 1e-12 * whole.abs().max()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stream_started_one_push_early_gives_the_same_bits(name):
    """Where a sweep begins changes no bit of what lies a reach and one period further on (float32)."""
    if name in ("patchgan", "pixel", "unet same", "resnet", "resnet resize", "resnet blurred"):
        pytest.skip("border-padded networks are not swept from the middle")
    net = network(name, 3).float()
    foot = nets.footprint(net)
    period, trim = foot.period[0], foot.trim[0][0]
    start = -(-(foot.reach[0][0]) // period) * period
    x = torch.randn(1, 1, start + 12 * period, *(smallest(net),) * 2)
    stream = Stream(net)
    long = torch.cat(
        [p for i in range(0, x.shape[2], period) if (p := stream.push(x[:, :, i : i + period])) is not None], 2
    )
    stream.reset()
    begin = 3 * period
    short = [stream.push(x[:, :, i : i + period]) for i in range(begin, x.shape[2], period)]
    short = torch.cat([part for part in short if part is not None], 2)
    at = start + period - trim
    assert torch.equal(short[:, :, at:], long[:, :, begin + at :][:, :, : short.shape[2] - at])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", [name for name in NETWORKS if "resnet" not in name or "valid" in name])
def test_what_lies_before_the_beginning_is_not_computed_and_changes_no_bit(name, dims):
    net = network(name, dims).float()
    if name == "patchgan":
        pytest.skip("has no footprint")
    foot = nets.footprint(net)
    n = foot.admissible(2 * sum(side[0] for side in foot.reach) + 12 * foot.period[0], 0, at_least=True)
    x = torch.randn(1, 1, n, *(smallest(net),) * (dims - 1))
    portions = [max(4, foot.period[0])] * n
    with FlopCounterMode(display=False) as all_of_it:
        whole = streamed(Stream(net), x, 0, iter(portions))
    for begin in (1, whole.shape[2] // 2, whole.shape[2] - 1):
        stream, poisoned = Stream(net, begin=begin), x.clone()
        poisoned[:, :, : stream.unread] = torch.nan
        with FlopCounterMode(display=False) as counter:
            made = streamed(stream, poisoned, 0, iter(portions))
        assert made.shape == whole.shape
        assert torch.equal(made[:, :, begin:], whole[:, :, begin:])
        assert begin == 1 or name in ("pixel", "unet same") or stream.unread > 0
        assert begin == 1 or name == "unet same" or counter.get_total_flops() < 0.8 * all_of_it.get_total_flops()


def test_memory_does_not_grow_with_the_length():
    net = network("unet cropped", 3).float()
    stream, held = Stream(net), []
    for _ in range(30):
        stream.push(torch.randn(1, 1, 4, 30, 30))
        held.append(stream.held)
    assert len(set(held[10:])) <= 2
    assert held[29] == held[15] or held[29] == held[14]


@pytest.mark.parametrize("name", [name for name in NETWORKS if "resnet" not in name or "valid" in name])
def test_the_backlog_is_counted_right(name):
    """Counted bytes are at least what waits and never more than twice what waits and passes."""
    net = network(name, 2).float()
    n = smallest(net) if name not in ("patchgan", "pixel") else 26
    if name in ("patchgan",):
        pytest.skip("has no footprint")
    stream, held = Stream(net), 0
    for _ in range(40):
        stream.push(torch.randn(2, 1, 4, n))
        held = max(held, stream.held)
    counted = stream_memory(net, (2, 4, n), 0, window=[None, None])
    assert held <= counted <= 2 * held + 2 * 4 * 2 * n * 4 * 12


def test_every_plane_is_computed_once():
    """Operations of a long sweep are those of one pass over the whole: redundancy 1.00 along the swept axis."""
    net = network("unet cropped", 3).float()
    size = nets.footprint(net).admissible(100, 0, at_least=True)
    x = torch.randn(1, 1, size, 30, 30)
    stream = Stream(net)
    with FlopCounterMode(display=False) as counter:
        for i in range(0, size, 4):
            stream.push(x[:, :, i : i + 4])
        stream.finish()
    once = operations(layers(net), (size, 30, 30))
    assert counter.get_total_flops() <= once * 1.02


def test_operations_are_what_torch_counts():
    for name in NETWORKS:
        net = network(name, 2)
        n = smallest(net)
        with FlopCounterMode(display=False) as counter:
            net(torch.randn(1, 1, n, n, dtype=torch.float64))
        assert operations(layers(net), (n, n)) <= counter.get_total_flops()
        if "resnet" not in name and "resize" not in name:
            assert operations(layers(net), (n, n)) > 0.6 * counter.get_total_flops()


def test_a_wanted_part_needs_no_more_than_its_reach():
    net = network("unet", 2)
    foot = nets.footprint(net)
    n = foot.admissible(200, 0, at_least=True)
    low, high = spans(layers(net), n, 0, (64, 72))["x"]
    assert low >= 64 - foot.reach[0][0] - foot.period[0]
    assert high <= 72 + foot.reach[1][0] + foot.period[0]


def test_half_precision_is_near_and_ends_in_float32():
    net = network("unet cropped", 3).float()
    x = torch.randn(1, 1, 40, 30, 30)
    exact, half = (streamed(Stream(net, dtype=d), x, 0, iter([4] * 10)) for d in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().mean() < 0.05


def test_tile_dependent_networks_are_refused_by_the_layers_name():
    with pytest.raises(BadInput, match=r"encoder.1.norm.*`strategy` average"):
        Stream(nets.build("unet", dims=2, levels=3, width=2, norm="instance"))
