import copy

import pytest
import torch
from torch import nn

from vol2vol import losses, nets
from vol2vol.errors import BadInput
from vol2vol.protocol import networks
from vol2vol.tasks import CycleGAN, CycleGANSettings, NetworkSettings

SMALL = {
    "generator": NetworkSettings(name="unet", arguments={"levels": 2, "width": 4}),
    "critic": NetworkSettings(name="patchgan", arguments={"width": 4, "n_layers": 1}),
}


def small(seed=0, dims=2, channels=None, **settings):
    return CycleGAN(CycleGANSettings(**{**SMALL, **settings}), dims=dims, channels=channels, seed=seed)


def batch(size=22, dims=2, channels=1, count=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shape = (count, channels, *[size] * dims)
    return {d: torch.rand(shape, generator=draw) * 2 - 1 for d in ("source", "target")}


def play(task, patches, learn=False):
    """Return the turns' losses and all terms, as numbers."""
    log, totals = {}, {}
    for turn in task.turns(patches):
        if learn:
            turn.loss.backward()
        totals[turn.player] = turn.loss.item()
        log |= {name: term.item() for name, term in turn.log.items()}
    return totals, log


class Affine(nn.Module):
    """y = a x + b, as a network whose geometry can be read off."""

    dims, in_channels = 2, 1

    def __init__(self, a, b, after=None):
        super().__init__()
        self.conv, self.after = nn.Conv2d(1, 1, 1), after or nn.Identity()
        nn.init.constant_(self.conv.weight, a)
        nn.init.constant_(self.conv.bias, b)

    def forward(self, x):
        return self.after(self.conv(x))


@pytest.fixture
def by_hand(monkeypatch):
    """Return a maker of cycleGANs with G(x) = 2x + 1, F(y) = y/4, D_target(y) = 3y - 1, D_source(x) = -x."""

    def make(segmenters=None, **settings):
        queue = iter([Affine(2, 1), Affine(0.25, 0), Affine(3, -1), Affine(-1, 0)])
        monkeypatch.setattr(nets, "build", lambda *_, **__: next(queue))
        settings = {"pool": 0, "ssim_cycle": 0, "ssim_forward": 0, **settings}
        return CycleGAN(CycleGANSettings(**settings), models=segmenters)

    return make


CONSTANT = {"source": torch.full((1, 1, 12, 12), 0.5), "target": torch.full((1, 1, 12, 12), -0.2)}


def test_every_term_is_the_equation_of_the_paper(by_hand):
    totals, log = play(by_hand(), CONSTANT)
    x, y = 0.5, -0.2
    gx, fy = 2 * x + 1, y / 4
    expected = {
        "gan_forward": ((3 * gx - 1) - 1) ** 2,
        "gan_backward": (-fy - 1) ** 2,
        "cycle_source": abs(gx / 4 - x),
        "cycle_target": abs(2 * fy + 1 - y),
        "identity_forward": abs(2 * y + 1 - y),
        "identity_backward": abs(x / 4 - x),
        "critic_target": (((3 * y - 1) - 1) ** 2 + (3 * gx - 1) ** 2) / 2,
        "critic_source": ((-x - 1) ** 2 + (-fy) ** 2) / 2,
    }
    expected["cycle"] = expected["cycle_source"] + expected["cycle_target"]
    expected["generators"] = (
        expected["gan_forward"]
        + expected["gan_backward"]
        + 10 * expected["cycle"]
        + 5 * (expected["identity_forward"] + expected["identity_backward"])
    )
    expected["critics"] = expected["critic_target"] + expected["critic_source"]
    assert log == pytest.approx(expected, rel=1e-5)
    assert totals == pytest.approx({k: expected[k] for k in ("generators", "critics")}, rel=1e-5)


@pytest.mark.parametrize(
    ("gan", "fool", "judge"),
    [
        ("hinge", lambda s: -s, lambda real, fake: (max(0, 1 - real) + max(0, 1 + fake)) / 2),
        (
            "vanilla",
            lambda s: torch.nn.functional.softplus(torch.tensor(-s)).item(),
            lambda real, fake: torch.nn.functional.softplus(torch.tensor([-real, fake])).mean().item(),
        ),
    ],
)
def test_other_adversarial_losses(by_hand, gan, fool, judge):
    _, log = play(by_hand(gan=gan), CONSTANT)
    assert log["gan_forward"] == pytest.approx(fool(3 * 2.0 - 1), rel=1e-5)
    assert log["critic_target"] == pytest.approx(judge(3 * -0.2 - 1, 3 * 2.0 - 1), rel=1e-5)
    assert log["critic_source"] == pytest.approx(judge(-0.5, 0.05), rel=1e-5)


def test_structural_similarity_is_added_to_the_cycle_and_weighs_little_forward(by_hand):
    patches = batch(16)
    _, plain = play(by_hand(), patches)
    totals, log = play(by_hand(ssim_cycle=0.7, ssim_forward=0.01), patches)
    x, y = patches["source"], patches["target"]
    gx, fy = 2 * x + 1, y / 4
    away = {k: 1 - losses.ssim(a, b, data_range=2.0).item() for k, a, b in (("s", x, gx), ("t", y, fy))}
    assert log["ssim_forward"] == pytest.approx(away["s"], rel=1e-4)
    assert log["ssim_backward"] == pytest.approx(away["t"], rel=1e-4)
    cycle = plain["cycle_source"] + 0.7 * (1 - losses.ssim(x, gx / 4, data_range=2.0).item())
    assert log["cycle_source"] == pytest.approx(cycle, rel=1e-4)
    more = 10 * (log["cycle"] - plain["cycle"]) + 0.01 * (away["s"] + away["t"])
    assert totals["generators"] == pytest.approx(plain["generators"] + more, rel=1e-4)


def test_identity_switched_off_saves_its_passes_and_weighs_in_units_of_the_cycle(by_hand):
    task = by_hand(lambda_identity=0)
    calls = []
    networks(task.translations())["forward"].register_forward_hook(lambda *_: calls.append(1))
    totals, log = play(task, CONSTANT)
    assert len(calls) == 2
    assert not any(name.startswith("identity") for name in log)
    with_identity, log = play(by_hand(lambda_identity=0.3, lambda_cycle=10), CONSTANT)
    identity = log["identity_forward"] + log["identity_backward"]
    assert with_identity["generators"] - totals["generators"] == pytest.approx(3 * identity, rel=1e-5)


def test_what_a_segmenter_sees_shall_survive_the_way_there_and_back(by_hand):
    segmenter = Affine(3, 1, nn.Sigmoid())
    before = copy.deepcopy(segmenter.state_dict())
    task = by_hand(segmenters={"target": segmenter}, lambda_segmentation=7)
    patches = batch(16)
    totals, log = play(task, patches)
    y = patches["target"]
    wanted, seen = (torch.sigmoid(3 * z + 1) for z in (y, 2 * (y / 4) + 1))
    cross_entropy = -(wanted * seen.log() + (1 - wanted) * (1 - seen).log()).mean().item()
    assert log["segmentation_target"] == pytest.approx(cross_entropy, rel=1e-5)
    assert "segmentation_source" not in log
    without, _ = play(by_hand(), patches)
    assert totals["generators"] == pytest.approx(without["generators"] + 7 * cross_entropy, rel=1e-5)
    (turn, _) = task.turns(patches)
    seldom = torch.autograd.grad(turn.loss, list(task.generators.parameters()))
    others = by_hand()
    (plain, _) = others.turns(patches)
    usual = torch.autograd.grad(plain.loss, list(others.generators.parameters()))
    forward, backward = slice(0, 2), slice(2, 4)
    assert not all(torch.equal(a, b) for a, b in zip(seldom[forward], usual[forward], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(seldom[backward], usual[backward], strict=True))
    assert all(torch.equal(before[name], value) for name, value in segmenter.state_dict().items())
    players = {id(w) for player in task.players.values() for w in player.parameters()}
    assert not players & {id(w) for w in segmenter.parameters()}


def test_patches_must_leave_a_segmenter_something_to_see():
    def with_segmenter(dims=2):
        seen = nets.frozen(nets.build("segmenter", dims=dims, levels=3, width=2, norm="none"))
        return CycleGAN(CycleGANSettings(**SMALL), dims=dims, models={"target": seen})

    task = with_segmenter()
    task.check((46, 46))
    assert set(play(task, batch(46))[1]) >= {"segmentation_target"}
    with pytest.raises(BadInput, match="the smallest that works"):
        task.check((22, 22))


def test_each_turn_reaches_its_own_player_only_and_leaves_no_trace():
    task = small()
    rest = {"generators": task.critics, "critics": task.generators}
    for turn in task.turns(batch()):
        task.zero_grad()
        turn.loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.players[turn.player].parameters())
        assert all(p.grad is None for p in rest[turn.player].parameters())
    assert all(p.requires_grad for p in task.parameters())
    turns = task.turns(batch())
    next(turns)
    turns.close()
    assert all(p.requires_grad for p in task.parameters())


def test_the_pool_is_what_critics_see():
    task = small(pool=1)
    first = play(task, batch(seed=1))[1]
    seen = []
    task.critics[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    for seed in range(2, 12):
        play(task, batch(seed=seed))
    fools, reals, shown = seen[0::3], seen[1::3], seen[2::3]
    assert len(fools) == len(reals) == len(shown) == 10
    old = sum(not torch.equal(a, b) for a, b in zip(fools, shown, strict=True))
    assert 0 < old < 10
    assert first["critics"] > 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("region", ["full", "certain"])
def test_both_regions_train_in_both_dimensions(dims, region):
    task = small(dims=dims, loss_region=region, ssim_cycle=0, ssim_forward=0)
    totals, log = play(task, batch(30, dims=dims), learn=True)
    assert all(torch.isfinite(torch.tensor(list(log.values()))))
    assert list(totals) == ["generators", "critics"]


def test_certain_losses_do_not_depend_on_the_border():
    """Oracle: the same terms from a larger patch on the same grid, compared on the small one's certain centre."""
    settings = {"generator": NetworkSettings(name="unet", arguments={"levels": 2, "width": 4, "norm": "none"})}
    settings |= {"ssim_cycle": 0, "ssim_forward": 0, "loss_region": "certain"}
    task = small(**settings)
    large = batch(54)
    inner = {d: p[..., 12:-12, 12:-12] for d, p in large.items()}
    _, log = play(task, inner)
    g, f = networks(task.translations()).values()
    x, y = large["source"], large["target"]
    centre = (..., slice(26, 28), slice(26, 28))
    assert log["cycle_source"] == pytest.approx((f(g(x)) - x)[centre].abs().mean().item(), rel=1e-4)
    assert log["cycle_target"] == pytest.approx((g(f(y)) - y)[centre].abs().mean().item(), rel=1e-4)
    once = (..., slice(18, 36), slice(18, 36))
    assert log["identity_forward"] == pytest.approx((g(y) - y)[once].abs().mean().item(), rel=1e-4)
    assert log["gan_forward"] == pytest.approx(((task.critics[0](g(x)[once]) - 1) ** 2).mean().item(), rel=1e-4)
    _, full = play(small(**{**settings, "loss_region": "full"}), inner)
    assert full["cycle_source"] != pytest.approx(log["cycle_source"], rel=1e-3)


def test_cropped_networks_are_compared_with_the_patch_at_the_right_place():
    """A network that emits only its certain voxels has the losses of one that emits all, on the certain centre."""

    def task(decoder, region):
        arguments = {"levels": 2, "width": 4, "norm": "none", "decoder": decoder}
        generator = NetworkSettings(name="unet", arguments=arguments)
        return small(generator=generator, loss_region=region, ssim_cycle=0)

    patches = batch(34)
    _, whole = play(task("full", "certain"), patches)
    for region in ("full", "certain"):
        _, log = play(task("cropped", region), patches, learn=True)
        same = ("gan_forward", "gan_backward", "identity_forward", "identity_backward", "ssim_forward", "critics")
        assert {k: log[k] for k in same} == pytest.approx({k: whole[k] for k in same}, rel=1e-4)


def test_a_patch_that_leaves_nothing_is_refused_with_the_smallest_that_works():
    small().check((22, 22))
    with pytest.raises(BadInput, match="23 on axis -1"):
        small().check((22, 23))
    task = small(loss_region="certain")
    with pytest.raises(
        BadInput, match=r"patch 22 x 34 leaves .* \(loss_region certain\): the smallest that works is 42 x"
    ):
        task.check((22, 34))
    task.check((42, 42))
    play(task, batch(42))
    with pytest.raises(BadInput):
        task.check((38, 38))  # 38 - 28 = 10 voxels: less than a window of structural similarity
    small(loss_region="certain", ssim_cycle=0, ssim_forward=0).check((34, 34))
    paper = CycleGAN(
        CycleGANSettings(generator=NetworkSettings(name="unet", arguments={"width": 1}), loss_region="certain")
    )
    with pytest.raises(BadInput, match="the smallest that works is 286 x 286"):
        paper.check((190, 190))


def test_checkpointing_in_the_generators_changes_no_gradient():
    plain, saving = small(), small()
    for net in networks(saving.translations()).values():
        net.gradient_checkpointing = True
    totals = [play(task, batch(), learn=True)[0] for task in (plain, saving)]
    assert totals[0] == totals[1]
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    for a, b in zip(plain.buffers(), saving.buffers(), strict=True):
        assert torch.equal(a, b)


def test_the_seed_decides_the_weights_and_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = small(seed=1), small(seed=1), small(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))
    g, f = networks(a.translations()).values()
    assert not torch.equal(next(g.parameters()), next(f.parameters()))


def test_state_holds_the_pools_too():
    task, other = small(seed=1, pool=2), small(seed=2, pool=2)
    for seed in range(4):
        play(task, batch(seed=seed))
    other.load_state_dict(copy.deepcopy(task.state_dict()))
    assert [play(task, batch(seed=s)) for s in range(9, 12)] == [play(other, batch(seed=s)) for s in range(9, 12)]


def test_channels_may_differ_where_nothing_compares_them():
    with pytest.raises(BadInput, match=r"1 source and 2 target channels cannot be compared: set task\.ssim_forward=0$"):
        small(channels={"target": 2})
    with pytest.raises(BadInput, match=r"set task\.lambda_identity=0 task\.ssim_forward=0$"):
        small(channels={"source": 3, "target": 2})
    task = small(channels={"target": 2}, lambda_identity=0, ssim_forward=0)
    assert task.channels() == {"source": 1, "target": 2}
    patches = {"source": torch.rand(1, 1, 22, 22), "target": torch.rand(1, 2, 22, 22)}
    assert play(task, patches, learn=True)[0]["generators"] > 0


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="lambda_cycel"):
        CycleGANSettings(lambda_cycel=3)
    with pytest.raises(BadInput, match="dims of a network follow from the data"):
        small(generator=NetworkSettings(name="unet", arguments={"dims": 3}))
    with pytest.raises(BadInput, match="unett"):
        small(generator=NetworkSettings(name="unett"))
