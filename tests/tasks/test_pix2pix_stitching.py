"""A pix2pix with stitching: its terms by hand, and that without it nothing changes."""

import pytest
import torch
from tests.tasks.test_cyclegan import Affine, batch, play

from vol2vol import losses, nets
from vol2vol.errors import BadInput
from vol2vol.protocol import March, OnePass
from vol2vol.tasks import build
from vol2vol.tasks.pix2pix import Pix2Pix, Pix2PixSettings

torch.set_num_threads(1)
SMALL = {
    "generator": {"name": "unet", "arguments": {"levels": 2, "width": 4}},
    "critic": {"name": "patchgan", "arguments": {"width": 4, "n_layers": 1}},
}


def small(dims=2, channels=None, seed=0, **settings):
    return build(Pix2PixSettings(**{**SMALL, **settings}), dims=dims, channels=channels, seed=seed)


def test_every_term_by_hand(monkeypatch):
    """G(x) = 2x + 1 on constant patches: a tile shows y + 2 in its first half, and x elsewhere."""
    stitching = {"cases": "all", "overlap": 0.5, "pixels": "none", "weight": 7}
    plain = Pix2PixSettings(gan="lsgan", loss={"l1": 10.0})
    settings = plain.model_copy(update={"stitching": type(small(stitching=stitching).wants.stitching)(**stitching)})
    build_network = nets.build
    monkeypatch.setattr(
        nets, "build", lambda name, **about: Affine(2, 1) if name == "unet" else build_network(name, **about)
    )
    patches = {"source": torch.full((2, 1, 24, 24), 0.25), "target": torch.full((2, 1, 24, 24), -0.5)}
    totals, log = play(Pix2Pix(settings), patches)
    gx, again = 1.5, 2 * (1.5 + 2) + 1
    assert log["l1"] == pytest.approx(10 * (gx + 0.5), rel=1e-5)
    assert log["stitch"] == pytest.approx(7 * (again - gx) ** 2, rel=1e-5)
    assert log["l1_stitched"] == pytest.approx(10 * (gx + 0.5), rel=1e-5)  # where the tile shows input
    assert totals["generator"] == pytest.approx(
        sum(log[name] for name in ("gan", "gan_stitched", "l1", "l1_stitched", "stitch")), rel=1e-5
    )


def test_the_tiles_count_once_in_the_critic():
    task = small(stitching={"weight": 0}, gan="lsgan")
    seen = []
    task.critics.register_forward_hook(lambda _m, args, scores: seen.append((args[0].detach(), scores[0][-1].detach())))
    _, log = play(task, batch(62))
    real, fake, real_again, fake_again = (scores for _, scores in seen[-4:])
    expected = ((real - 1) ** 2).mean() + (fake**2).mean() + ((real_again - 1) ** 2).mean() + (fake_again**2).mean()
    assert log["critics"] == pytest.approx(expected.item() / 4, rel=1e-5)
    x, y = (batch(62)[name] for name in ("source", "target"))
    shown = seen[-2][0]
    size = shown.shape[-1]
    places = [
        n for n in range(62 - size + 1) if torch.equal(shown, torch.cat([x, y], 1)[..., n : n + size, n : n + size])
    ]
    assert places == [12]  # twice the reach of 6


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("loss", [{"l1": 1.0}, {"l1": 1.0, "ssim": 1.0}])
def test_it_trains(dims, loss):
    task = small(dims, loss=loss, stitching={"overlap": (0.3, 0.5)})
    size = {1: 46, 2: 62}[len(loss)]
    task.check((size,) * dims)
    totals, log = play(task, batch(size, dims=dims, count=2), learn=True)
    assert list(totals) == ["generator", "critics"]
    assert all(value == value for value in log.values())
    assert {f"{name}_stitched" for name in loss} <= log.keys()
    assert all(p.grad.abs().sum() > 0 for p in task.parameters())


def test_without_it_nothing_is_drawn_and_networks_are_the_same():
    plain, stitched = small(), small(stitching={})
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), stitched.parameters(), strict=True))
    before = torch.get_rng_state()
    play(plain, batch(62))
    assert torch.equal(torch.get_rng_state(), before)
    assert plain.translations()["forward"].applied == OnePass()
    assert stitched.translations()["forward"].applied == March(share=(0.25, 0.25), offset=2.0)


def test_channels_and_patches_that_do_not_fit_are_refused():
    assert small(channels={"source": 1, "target": 3}, stitching={}).generator.in_channels == 3
    assert small(channels={"source": 1, "target": 3}).generator.in_channels == 1
    with pytest.raises(BadInput, match="both domains, of 2 and 3 channels"):
        small(channels={"source": 2, "target": 3}, stitching={})
    with pytest.raises(BadInput, match="the smallest that works is"):
        small(stitching={}).check((34, 34))
    with pytest.raises(ValueError, match="which pix2pix does not have"):
        Pix2PixSettings(stitching={"both": True})
    task = small(loss={"ssim": 1.0}, stitching={"overlap": 0.5})
    sizes = [n for n in range(14, 99, 4) if accepts(task, n)]
    assert sizes[0] > losses.WINDOW + 2 * 12
    play(task, batch(sizes[0]))


def accepts(task, size):
    try:
        task.check((size, size))
    except BadInput:
        return False
    return True
