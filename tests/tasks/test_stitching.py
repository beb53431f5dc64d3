"""Stitching-aware training: what tiles show, what is compared, and what is refused."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.plans.marching import cases
from vol2vol.protocol import March, OnePass
from vol2vol.tasks.regions import Image, Region
from vol2vol.tasks.stitching import Stitching, StitchingSettings

torch.set_num_threads(1)
NETWORKS = {
    "valid": {"padding": "valid"},
    "padded": {"padding": "same"},
    "cropped": {"padding": "valid", "decoder": "cropped"},
}


def stitching(dims=2, kind="padded", certain=False, backward=False, **settings):
    """Return what is under test, with a small network."""
    torch.manual_seed(0)
    net = nets.build("unet", dims=dims, levels=2, width=2, norm="none", **NETWORKS[kind])
    about = {"certain": certain, "backward": backward}
    return Stitching(StitchingSettings(**settings), net, nets.footprint(net), **about)


def outputs(game, size, batch=1):
    """Return a patch and what the network makes of it."""
    shape = (batch, 1, *(size,) * game._footprint.dims)
    patch = Image.of(torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    return patch, patch.through(game._network, game._footprint)


@pytest.mark.parametrize(("dims", "case"), [(dims, case) for dims in (2, 3) for case in cases(dims)])
@pytest.mark.parametrize(("kind", "certain"), [(kind, certain) for kind in NETWORKS for certain in (False, True)])
def test_what_is_pasted_is_what_is_compared(dims, case, kind, certain, monkeypatch):
    """Pasted voxels are seen by their values, compared ones by the gradient of the loss; in all cases they agree."""
    monkeypatch.setattr(Stitching, "_drawn_case", lambda self, dims: case)
    game = stitching(dims, kind, certain, overlap=14)
    size = game._footprint.admissible(52 if certain else 40, 0, at_least=True)
    patch, output = outputs(game, size)
    tile = game.tile(patch, output)
    box = tile.image.region.box
    pasted = tile.image.voxels != patch.within(box)
    torch.testing.assert_close(tile.image.voxels[pasted], (output.within(box) + 2)[pasted])
    again = tile.image.through(game._network, game._footprint)
    again = Image(torch.rand_like(again.voxels, requires_grad=True), again.region)
    (gradient,) = torch.autograd.grad(game.loss(tile, output, again), again.voxels)
    compared = Image(gradient != 0, again.region)
    seen = again.region.part(certain)
    assert torch.equal(compared.within(seen), Image(pasted, Region(box, box)).within(seen))
    assert compared.voxels.sum() == compared.within(seen).sum() > 0
    if kind != "cropped" and not certain:
        assert seen == box == Box.of(patch.voxels.shape[2:])
    assert game.seen(output.region) == seen


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_tile_begins_where_the_output_does(kind):
    """A network that emits fewer voxels than it reads: the tile starts at the first of them."""
    game = stitching(kind=kind, cases="all", overlap=8)
    patch, output = outputs(game, 42 if kind != "padded" else 40)
    tile = game.tile(patch, output)
    assert tile.image.region.box.start == output.region.box.start
    assert game._footprint.admits(tile.image.region.box.shape)


def test_every_patch_of_a_batch_has_an_overlap_of_its_own():
    torch.manual_seed(0)
    game = stitching(overlap=(3, 9))
    borders = game.tile(*outputs(game, 40, batch=400)).borders
    assert {border.overlap for border in borders} == {(n, n) for n in range(3, 10)}
    for case in cases(2):
        assert 0.25 < sum(border.before == case for border in borders) / 400 < 0.42


def test_cases_as_in_the_code_draw_the_number_of_axes_first():
    torch.manual_seed(0)
    game = stitching(3, cases="code", overlap=0.25)
    drawn = [game._drawn((16, 16, 16)).before for _ in range(1800)]
    assert sum(all(case) for case in drawn) / 1800 == pytest.approx(1 / 3, abs=0.04)
    for case in [case for case in cases(3) if not all(case)]:
        assert drawn.count(case) / 1800 == pytest.approx(1 / 9, abs=0.03)


def test_overlaps_are_shares_of_every_axis_or_voxels():
    game = stitching(overlap=0.25)
    assert game._drawn((40, 24)).overlap == (10, 6)
    assert game.applied == March(share=(0.25, 0.25), offset=2.0)
    game = stitching(overlap=(0.1, 0.5), backward=True)
    assert {game._drawn((40, 40)).overlap[0] for _ in range(600)} == set(range(4, 21))
    assert game.applied == March(share=(0.1, 0.5), offset=-2.0)
    game = stitching(overlap=10, encoded=False)
    assert game._drawn((40, 24)).overlap == (10, 10)
    assert game.applied == OnePass()
    game.tile(*outputs(game, 40))
    assert game.applied == March(share=(0.25, 0.25), offset=0.0)


def test_encoded_values_are_those_of_the_paper_up_to_the_first_layer():
    """The paper shows the network x in [-1, 0] and y in [0, 1]: half the weights and another bias make them equal."""
    torch.manual_seed(0)
    ours, theirs = nn.Conv2d(1, 4, 3).double(), nn.Conv2d(1, 4, 3).double()
    x, y = (torch.rand(1, 1, 12, 12, dtype=torch.float64) * 2 - 1 for _ in range(2))
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[:3] = True
    z = torch.where(mask, (y + 1) / 2, (x - 1) / 2)
    with torch.no_grad():
        ours.weight.copy_(theirs.weight / 2)
        ours.bias.copy_(theirs.bias - theirs.weight.sum((1, 2, 3)) / 2)
        torch.testing.assert_close(ours(torch.where(mask, y + 2, x)), theirs(z))


@pytest.mark.parametrize(("detach", "pixels"), [(False, "none"), (True, "none"), (False, "paper")])
def test_the_loss_is_the_mean_squared_difference_in_the_overlap(detach, pixels):
    game = stitching(cases="all", overlap=0.25, detach=detach, pixels=pixels)
    patch, output = outputs(game, 40, batch=2)
    output = Image(output.voxels.detach().requires_grad_(), output.region)
    tile = game.tile(patch, output)
    assert not tile.image.voxels.requires_grad
    again = Image(output.voxels.detach() + 3, output.region)
    loss = game.loss(tile, output, again)
    if pixels == "none":
        assert loss.item() == pytest.approx(9)
    else:
        assert 0.5 * 9 < loss.item() < 0.9 * 9
    assert loss.requires_grad != detach


def test_the_weight_grows_with_training_where_it_is_ramped():
    game = stitching(weight=8)
    assert game.weight == 8
    game.progress = 0.25
    assert game.weight == 2
    steady = stitching(weight=8, ramp=False)
    steady.progress = 0.25
    assert steady.weight == 8


@pytest.mark.parametrize(
    ("overlap", "why"),
    [
        (0, "nothing would be shown"),
        (-3, "nothing would be shown"),
        ((0.5, 0.2), "nothing would be shown"),
        (4.5, "whole numbers of voxels"),
        ((0.2, 16), "shares below 1"),
        (float("nan"), "nothing would be shown"),
    ],
)
def test_what_is_not_an_overlap_is_refused(overlap, why):
    with pytest.raises(ValidationError, match=why):
        StitchingSettings(overlap=overlap)


def test_an_overlap_that_fills_the_patch_is_refused():
    game = stitching(overlap=40)
    with pytest.raises(BadInput, match="overlap 40 leaves nothing of a patch of 40 x 48 to translate"):
        game.check((40, 48))
    game.check((48, 48))
    assert stitching(overlap=0.99).seen(Region.of((40, 40))) is None
    assert stitching(kind="cropped", overlap=4).seen(Region.of((42, 42))) is None  # all of it is cropped off
