"""L5 and L7: what networks promise about space is measured by perturbation; frozen networks ignore mode and tile.

Dependence is measured without rounding: all weights positive, no biases, an input of zeros with ones at the voxels in
question. An output voxel is then positive exactly where a path leads to it.
"""

import pytest
import torch

from vol2vol import nets

torch.set_num_threads(1)

UNETS = [
    {"padding": padding, "decoder": decoder, "up": up}
    for padding, decoder in (("valid", "full"), ("valid", "cropped"), ("same", "full"))
    for up in ("transposed", "resize")
]
RESNETS = [{"padding": p, "up": up} for p in ("same", "valid") for up in ("transposed", "resize")]
SMOOTH = [{"up": "linear"}, {"down": "blurred"}, {"up": "linear", "down": "blurred"}]
SMOOTH_UNETS = [
    {"padding": padding, "decoder": decoder, **kind}
    for padding, decoder in (("valid", "full"), ("valid", "cropped"), ("same", "full"))
    for kind in SMOOTH
]
CATALOGUE = [
    *(("unet", {"dims": 2, "levels": levels, "width": 2, **kind}) for levels in (1, 3, 5) for kind in UNETS),
    *(("unet", {"dims": 3, "levels": 2, "width": 1, **kind}) for kind in UNETS),
    *(("resnet", {"dims": 2, "blocks": 6, "width": 3, **kind}) for kind in RESNETS),
    *(("resnet", {"dims": 2, "blocks": 9, "width": 3, **kind}) for kind in RESNETS),
    ("resnet", {"dims": 3, "blocks": 1, "width": 1, "padding": "same"}),
    ("resnet", {"dims": 3, "blocks": 1, "width": 1, "padding": "valid"}),
    ("pixel", {"dims": 2, "width": 2}),
    ("pixel", {"dims": 3, "width": 1}),
    ("segmenter", {"dims": 2, "width": 2}),
    ("segmenter", {"dims": 2, "width": 2, "levels": 4}),
    ("segmenter", {"dims": 2, "width": 2, "padding": "same"}),
    ("segmenter", {"dims": 3, "width": 1, "levels": 2}),
    ("resunet", {"dims": 2, "width": 2, "weights": "plain"}),
    ("resunet", {"dims": 2, "width": 2, "weights": "plain", "padding": "same"}),
    ("resunet", {"dims": 3, "width": 1, "weights": "plain", "levels": 2}),
    *(("unet", {"dims": 3, "levels": 3, "width": 1, "flat": 1, **kind}) for kind in UNETS[::3]),
    ("segmenter", {"dims": 3, "width": 1, "levels": 3, "flat": 1}),
    ("resunet", {"dims": 3, "width": 1, "weights": "plain", "levels": 3, "flat": 2}),
    ("retouch", {"dims": 2, "width": 3, "blocks": 2}),
    ("retouch", {"dims": 3, "width": 2, "blocks": 1, "padding": "same"}),
    ("spectral", {"dims": 2, "radius": 3}),
    ("spectral", {"dims": 3, "radius": 2, "padding": "same"}),
    *(("unet", {"dims": 2, "levels": levels, "width": 2, **kind}) for levels in (1, 3) for kind in SMOOTH_UNETS),
    *(("unet", {"dims": 3, "levels": 2, "width": 1, **kind}) for kind in SMOOTH_UNETS),
    *(("resnet", {"dims": 2, "blocks": 1, "width": 3, "padding": p, **k}) for p in ("same", "valid") for k in SMOOTH),
    ("resnet", {"dims": 3, "blocks": 1, "width": 1, "padding": "same", **SMOOTH[-1]}),
    ("resnet", {"dims": 3, "blocks": 1, "width": 1, "padding": "valid", "activation": "leaky", **SMOOTH[-1]}),
]

ELSEWHERE = {"patchgan": "a critic", "lookup": "reads one voxel"}
"""Networks that no law of space is asked of."""


def test_every_network_of_the_catalogue_is_here():
    assert {*nets.CATALOGUE.own} == {name for name, _ in CATALOGUE} | ELSEWHERE.keys()


def ids(case):
    name, arguments = case
    return "-".join([name, *(str(value) for value in arguments.values())])


every_network = pytest.mark.parametrize("case", CATALOGUE, ids=ids)


def built(case, norm="frozen"):
    name, arguments = case
    unbounded = {"final": "none"} if name in ("unet", "resnet", "segmenter", "resunet") else {}
    normed = {} if name == "spectral" else {"norm": norm}
    return nets.build(name, **normed, **unbounded, **arguments).double().eval()


def positive(net):
    """Make every path through a network carry a positive signal."""
    generator = torch.Generator().manual_seed(7)
    for module in net.modules():
        if isinstance(getattr(module, "weight", None), torch.nn.Parameter):
            fan = module.weight[0].numel()
            noise = torch.rand(module.weight.shape, generator=generator, dtype=torch.float64)
            module.weight.data = (noise + 0.5) / fan
            module.bias.data.zero_()
    return net


def lively(net):
    """Draw weights that keep a signal's size, unlike those training starts from, and non-zero biases."""
    generator = torch.Generator().manual_seed(8)
    for module in net.modules():
        if isinstance(getattr(module, "weight", None), torch.nn.Parameter):
            scale = (2 / module.weight[0].numel()) ** 0.5
            noise = torch.randn(module.weight.shape, generator=generator, dtype=torch.float64)
            module.weight.data = noise * scale
            module.bias.data = torch.randn(module.bias.shape, generator=generator, dtype=torch.float64) / 10
    return net


def surrounded(net):
    """Return a tile size, and where such a tile starts in an input that holds it and all it may depend on.

    In 3D only along the last axis: on the others the input is as large as the tile.
    """
    foot = nets.footprint(net)
    tile = tuple(n + p for n, p in zip(foot.minimum, foot.period, strict=True))
    before = tuple(p * (-(-max(r) // p) + 1) for r, p in zip(zip(*foot.reach, strict=True), foot.period, strict=True))
    if foot.dims == 3:
        before = (0, 0, before[-1])
    whole = tuple(t + 2 * b for t, b in zip(tile, before, strict=True))
    return foot, tile, before, whole


def inside(before, after, size):
    return (..., *(slice(a, n - b) for a, b, n in zip(before, after, size, strict=True)))


@every_network
@torch.no_grad()
def test_reach_is_what_perturbation_measures(case):
    """Outputs that do not change with anything outside a tile are those further than reach from its ends: no others."""
    net = positive(built(case))
    foot, tile, start, whole = surrounded(net)
    x = torch.zeros(1, 1, *whole, dtype=torch.float64)
    axis = foot.dims - 1
    along = torch.ones(whole[axis], dtype=torch.float64)
    along[start[axis] : start[axis] + tile[axis]] = 0
    y = net(x + along)[0, 0]
    unchanged = (y == 0).all(dim=tuple(range(axis))).nonzero().flatten() + foot.trim[0][axis] - start[axis]
    assert unchanged.tolist() == list(range(foot.reach[0][axis], tile[axis] - foot.reach[1][axis]))


@every_network
@torch.no_grad()
def test_one_voxel_changes_no_certain_output_of_the_tile_beside_it(case):
    net = positive(built(case))
    foot, tile, start, whole = surrounded(net)
    axis = foot.dims - 1
    for voxel, last in ((start[axis] - 1, False), (start[axis] + tile[axis], True)):
        x = torch.zeros(1, 1, *whole, dtype=torch.float64)
        x.select(-1, voxel)[...] = 1
        changed = net(x)[0, 0].any(dim=tuple(range(axis))).nonzero().flatten() + foot.trim[0][axis] - start[axis]
        if last:
            assert changed.min() >= tile[axis] - foot.reach[1][axis]
        else:
            assert changed.max() < foot.reach[0][axis]


@every_network
@torch.no_grad()
def test_certain_voxels_of_a_tile_are_those_of_one_pass(case):
    net = lively(built(case))
    foot, _, start, whole = surrounded(net)
    x = torch.randn(1, 1, *whole, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one_pass, tiled = net(x), net(x[inside(start, start, whole)])
    kept = inside(
        *(tuple(r - t for r, t in zip(r, t, strict=True)) for r, t in zip(foot.reach, foot.trim, strict=True)),
        tiled.shape[2:],
    )
    moved = tuple(slice(a + s.start, a + s.stop) for a, s in zip(start, kept[1:], strict=True))
    assert tiled[kept].numel() > 0
    assert tiled[kept].std() > 1e-3
    error = (tiled[kept] - one_pass[(..., *moved)]).abs().max()
    assert error <= 1e-12 * tiled[kept].std()


@every_network
@torch.no_grad()
def test_period_is_the_smallest_shift_the_network_commutes_with(case):
    net = positive(built(case))
    foot, tile, start, whole = surrounded(net)
    period = foot.period[-1]
    assert len(set(foot.period)) == 1 or case[1].get("flat")

    def answer(voxel):
        x = torch.zeros(1, 1, *whole, dtype=torch.float64)
        x[(0, 0, *(n // 2 for n in whole[:-1]), voxel)] = 1
        y = net(x)
        position = (y[0, 0].flatten(0, -2).sum(0) > 0).nonzero().flatten()
        return position[0].item(), y[..., position[0] : position[-1] + 1]

    here = start[-1] + tile[-1] // 2
    where, shape = answer(here)
    for shift in range(1, period + 1):
        moved, other = answer(here + shift)
        same = moved - where == shift and shape.shape == other.shape and torch.allclose(shape, other, atol=0)
        assert same == (shift == period), shift


@pytest.mark.parametrize("case", CATALOGUE[:1] + CATALOGUE[6:8] + CATALOGUE[18:20] + CATALOGUE[24:26], ids=ids)
def test_sizes_of_the_residue_pass_and_their_output_is_shorter_by_the_trim(case):
    net = built(case).to("meta")
    foot = nets.footprint(net)
    for periods in range(3):
        size = tuple(n + periods * p for n, p in zip(foot.minimum, foot.period, strict=True))
        y = net(torch.empty(1, 1, *size, dtype=torch.float64, device="meta"))
        assert y.shape[2:] == tuple(n - a - b for n, a, b in zip(size, *foot.trim, strict=True))


def test_the_papers_network_has_the_papers_numbers():
    with torch.device("meta"):
        full, cropped = (nets.footprint(nets.build("unet", dims=3, decoder=d)) for d in ("full", "cropped"))
        same = nets.footprint(nets.build("unet", dims=3, padding="same"))
    assert full.reach == cropped.reach == ((62,) * 3, (62,) * 3)
    assert (full.period, full.residue, full.trim) == ((32,) * 3, (30,) * 3, ((0,) * 3, (0,) * 3))
    assert cropped.trim == ((62,) * 3, (62,) * 3)
    assert (same.reach, same.period, same.residue) == (((63,) * 3, (63,) * 3), (32,) * 3, (0,) * 3)


@pytest.mark.parametrize("levels", range(1, 7))
def test_unet_footprint_follows_the_formula(levels):
    foot = nets.footprint(nets.build("unet", dims=2, width=1, levels=levels))
    reach = 2 ** (levels + 1) - 2
    assert foot.reach == ((reach,) * 2, (reach,) * 2)
    assert foot.period == (2**levels,) * 2
    assert foot.residue == ((2**levels - 2) % 2**levels,) * 2


@pytest.mark.parametrize("norm", ["tracked", "calibrated", "batch"])
@torch.no_grad()
def test_frozen_networks_ignore_mode_and_tile(norm):
    net = lively(built(("unet", {"dims": 2, "levels": 3, "width": 2}), norm))
    foot, _, start, whole = surrounded(net)
    x = torch.randn(1, 1, *whole, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    if norm == "calibrated":
        nets.calibrate(net, [x])
    else:
        net.train()(x)
    frozen = nets.frozen(net)
    assert nets.tile_dependent(frozen) == []
    expected, state = frozen.eval()(x), {k: v.clone() for k, v in frozen.state_dict().items()}
    assert torch.equal(frozen.train()(x), expected)
    assert all(torch.equal(v, state[k]) for k, v in frozen.state_dict().items())
    assert torch.allclose(net.eval()(x), expected, atol=1e-12)
    brighter = x.clone()
    brighter[inside(start, start, whole)] = x[inside(start, start, whole)]
    brighter[..., : start[-1]] += 100
    certain = slice(start[-1] + foot.reach[0][-1], None)
    assert torch.equal(frozen(brighter)[..., certain], expected[..., certain])


@torch.no_grad()
def test_instance_statistics_depend_on_the_tile():
    """The control of the law above: where statistics come from the tile, far away voxels matter."""
    net = lively(built(("unet", {"dims": 2, "levels": 3, "width": 2}), "instance"))
    foot, _, start, whole = surrounded(net)
    x = torch.randn(1, 1, *whole, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    brighter = x.clone()
    brighter[..., : start[-1]] += 100
    certain = slice(start[-1] + foot.reach[0][-1], None)
    assert nets.tile_dependent(net) != []
    assert (net(brighter) - net(x))[..., certain].abs().max() > 0.1


def test_networks_with_a_coarser_output_have_no_footprint():
    with pytest.raises(ValueError, match="one voxel per 8"):
        nets.footprint(nets.build("patchgan", dims=2, width=1))
