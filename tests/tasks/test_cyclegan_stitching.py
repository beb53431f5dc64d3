"""A cycleGAN with stitching: its terms by hand, each adaptation alone, and that nothing else changes."""

import copy
from types import SimpleNamespace

import pytest
import torch
from tests.tasks.test_cyclegan import CONSTANT, SMALL, Affine, batch, play

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.protocol import March, OnePass, networks
from vol2vol.tasks import CycleGAN, CycleGANSettings, Progressive

torch.set_num_threads(1)
PLAIN = {"pool": 0, "ssim_cycle": 0, "ssim_forward": 0}


def by_hand(monkeypatch, stitching, **settings):
    """Return a cycleGAN with G(x) = 2x + 1, F(y) = y/4, D_target(y) = 3y - 1, D_source(x) = -x."""
    queue = iter([Affine(2, 1), Affine(0.25, 0), Affine(3, -1), Affine(-1, 0)])
    monkeypatch.setattr(nets, "build", lambda *_, **__: next(queue))
    return CycleGAN(CycleGANSettings(**{**PLAIN, **settings}, stitching=stitching))


def small(dims=2, channels=None, stitching=None, seed=0, **settings):
    return CycleGAN(CycleGANSettings(**SMALL, **settings, stitching=stitching), dims=dims, channels=channels, seed=seed)


@pytest.mark.parametrize("both", [False, True])
def test_every_term_is_the_equation_of_the_paper(both, monkeypatch):
    """Patches are constant, so that a tile z is y + 2 in the overlap (y - 2 for the way back) and x elsewhere."""
    stitching = {"cases": "all", "overlap": 0.5, "pixels": "none", "both": both, "weight": 7}
    task = by_hand(monkeypatch, stitching)
    totals, log = play(task, CONSTANT)
    x, y = 0.5, -0.2
    gx, fy = 2 * x + 1, y / 4
    shown = 1 - 0.5**2  # of a tile, where there are tiles above and to the left
    again, back = 2 * (gx + 2) + 1, (fy - 2) / 4
    expected = {
        "stitch_forward": (again - gx) ** 2,
        "gan_stitched_forward": shown * (3 * again - 2) ** 2 + (1 - shown) * (3 * gx - 2) ** 2,
        "identity_forward": abs(2 * (y + 2) + 1 - y),
        "identity_backward": abs((x - 2) / 4 - x),
    }
    false = (3 * gx - 1) ** 2
    false_again = shown * (3 * again - 1) ** 2 + (1 - shown) * (3 * gx - 1) ** 2
    expected["critic_target"] = ((3 * y - 2) ** 2 + (false + false_again) / 2) / 2
    if both:
        expected["stitch_backward"] = (back - fy) ** 2
        expected["gan_stitched_backward"] = shown * (-back - 1) ** 2 + (1 - shown) * (-fy - 1) ** 2
        expected["critic_source"] = ((-x - 1) ** 2 + (fy**2 + shown * back**2 + (1 - shown) * fy**2) / 2) / 2
    assert {name: log[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert ("stitch_backward" in log) == both
    weighed = sum(log[name] for name in log if name.startswith("gan")) + 10 * log["cycle"]
    weighed += 5 * (log["identity_forward"] + log["identity_backward"])
    weighed += 7 * sum(log[name] for name in log if name.startswith("stitch"))
    assert totals["generators"] == pytest.approx(weighed, rel=1e-5)


def test_each_adaptation_can_be_switched_off(monkeypatch):
    def log_of(progress=0.25, **stitching):
        settings = {"cases": "all", "overlap": 0.5, "pixels": "none", **stitching}
        task = by_hand(monkeypatch, settings)
        assert isinstance(task, Progressive)
        task.set_progress(progress)
        totals, log = play(task, CONSTANT)
        return {**log, "total": totals["generators"]}

    full = log_of()
    gx, again = 2.0, 2 * 2.0 + 1
    plain = log_of(encoded=False)
    assert plain["stitch_forward"] == pytest.approx((again - gx) ** 2)
    assert plain["identity_forward"] == pytest.approx(abs(2 * -0.2 + 1 + 0.2))
    assert log_of(ramp=False)["total"] == pytest.approx(full["total"] + 7.5 * full["stitch_forward"], rel=1e-5)
    assert log_of(progress=0)["total"] == pytest.approx(full["total"] - 2.5 * full["stitch_forward"], rel=1e-5)
    assert log_of(pixels="paper")["stitch_forward"] < full["stitch_forward"]
    assert log_of(pixels="code")["stitch_forward"] != pytest.approx(log_of(pixels="paper")["stitch_forward"], rel=1e-3)
    alone = log_of(adversarial=False)
    assert "gan_stitched_forward" not in alone
    assert alone["critic_target"] == play(by_hand(monkeypatch, None), CONSTANT)[1]["critic_target"]
    assert alone["total"] == pytest.approx(full["total"] - full["gan_stitched_forward"], rel=1e-5)


def test_squared_differences_compare_cycles_and_identities(monkeypatch):
    _, log = play(by_hand(monkeypatch, None, difference="l2"), CONSTANT)
    assert log["cycle_source"] == pytest.approx((2.0 / 4 - 0.5) ** 2)
    assert log["cycle_target"] == pytest.approx((2 * -0.05 + 1 + 0.2) ** 2, rel=1e-5)
    assert log["identity_forward"] == pytest.approx((2 * -0.2 + 1 + 0.2) ** 2, rel=1e-5)


def test_the_same_seeds_give_the_same_networks_and_other_terms_stay():
    plain, stitched = small(), small(stitching={"encoded": False})
    for a, b in zip(plain.parameters(), stitched.parameters(), strict=True):
        assert torch.equal(a, b)
    before = torch.get_rng_state()
    _, without = play(plain, batch())
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn
    _, log = play(stitched, batch())
    for name in set(without) - {"generators", "critics", "critic_target"}:
        assert log[name] == without[name]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("region", ["full", "certain"])
@pytest.mark.parametrize("arguments", [{}, {"padding": "same"}, {"decoder": "cropped"}])
def test_it_trains_with_valid_padded_and_cropped_networks(dims, region, arguments):
    generator = {"name": "unet", "arguments": {"levels": 1, "width": 3, **arguments}}
    settings = {**PLAIN, "loss_region": region, "generator": generator, "critic": SMALL["critic"]}
    stitching = {"overlap": 0.5, "both": True}
    task = CycleGAN(CycleGANSettings(**settings, stitching=stitching), dims=dims)
    patch = (26,) * dims
    task.check(patch)
    totals, log = play(task, batch(26, dims=dims, count=2), learn=True)
    assert all(torch.isfinite(torch.tensor(list(log.values()))))
    assert log["stitch_forward"] > 0 < log["stitch_backward"]
    assert list(totals) == ["generators", "critics"]
    assert all(p.grad.abs().sum() > 0 for p in task.parameters())


@pytest.mark.parametrize(("source", "target"), [(1, 3), (3, 1), (2, 2)])
def test_grey_becomes_rgb_and_back(source, target):
    channels = {"source": source, "target": target}
    same = {} if source == target else {"ssim_forward": 0}
    task = small(channels=channels, stitching={"both": True}, **same)
    reads = {name: net.in_channels for name, net in networks(task.translations()).items()}
    assert reads == {"forward": max(source, target), "backward": max(source, target)}
    patches = {"source": torch.rand(2, source, 22, 22), "target": torch.rand(2, target, 22, 22)}
    _, log = play(task, patches, learn=True)
    assert log["identity_forward"] > 0 < log["identity_backward"]
    plain = small(channels=channels, **same)
    reads = {name: net.in_channels for name, net in networks(plain.translations()).items()}
    assert reads == {"forward": max(source, target), "backward": max(source, target)}
    assert play(plain, patches, learn=True)[1]["identity_backward"] > 0
    apart = small(channels=channels, lambda_identity=0, **same)
    reads = {name: net.in_channels for name, net in networks(apart.translations()).items()}
    assert reads == {"forward": source, "backward": target}


def test_channels_that_cannot_be_shown_or_compared_are_refused():
    with pytest.raises(BadInput, match=r"task\.stitching shows the generator both domains, of 2 and 3 channels"):
        small(channels={"source": 2, "target": 3}, stitching={}, lambda_identity=0, ssim_forward=0)
    with pytest.raises(BadInput, match=r"cannot be compared: set task\.ssim_forward=0$"):
        small(channels={"source": 1, "target": 3}, stitching={})


def test_a_patch_that_shows_nothing_or_everything_is_refused():
    with pytest.raises(BadInput, match="overlap 22 leaves nothing of a patch of 22 x 22"):
        small(stitching={"overlap": 22}).check((22, 22))
    small(stitching={"overlap": 21}).check((22, 22))
    tasks = {n: small(stitching={"overlap": n}, loss_region="certain", **PLAIN) for n in (0.25, 6, 7)}
    with pytest.raises(BadInput, match=r"overlap 6: losses do not see the first 6 voxels .* give 7 voxels or more"):
        tasks[6].check((62, 62))
    tasks[7].check((62, 62))
    with pytest.raises(BadInput, match=r"patch 34 x 34 leaves .*: the smallest that works is 42 x 42"):
        tasks[0.25].check((34, 34))
    tasks[0.25].check((42, 42))
    play(tasks[0.25], batch(42))


def test_translations_say_how_they_are_applied():
    applied = {name: made.applied for name, made in small(stitching={}).translations().items()}
    assert applied == {"forward": March(share=(0.25, 0.25), offset=2.0), "backward": OnePass()}
    task = small(stitching={"overlap": (5, 11), "both": True, "encoded": False})
    task.check((22, 22))
    shown = March(share=(5 / 22, 0.5), offset=0.0)
    assert {made.applied for made in task.translations().values()} == {shown}
    assert {made.applied for made in small().translations().values()} == {OnePass()}


def test_state_holds_the_pools_of_tiles_too():
    task, other = (small(seed=seed, pool=2, stitching={"overlap": (0.2, 0.4)}) for seed in (1, 2))
    for seed in range(4):
        play(task, batch(seed=seed))
    other.load_state_dict(copy.deepcopy(task.state_dict()))
    logs = []
    for each in (task, other):
        torch.manual_seed(0)
        logs.append([play(each, batch(seed=s)) for s in range(9, 12)])
    assert logs[0] == logs[1]


def test_a_task_without_stitching_ignores_progress():
    task = small()
    before = play(task, batch())
    task.set_progress(0.3)
    assert play(task, batch()) == before
    assert not isinstance(SimpleNamespace(), Progressive)
