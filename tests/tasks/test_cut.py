"""CUT: the contrast of patches against its definition, what each turn reaches, and stitching."""

from math import exp, log

import pytest
import torch
from tests.tasks.test_cyclegan import batch, play

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.protocol import March, OnePass
from vol2vol.tasks.contrast import Encoder, Projections, draw_places, patch_nce
from vol2vol.tasks.cut import CUT, CUTSettings

torch.set_num_threads(1)
SMALL = {
    "generator": {"name": "unet", "arguments": {"levels": 2, "width": 4}},
    "critic": {"name": "patchgan", "arguments": {"width": 4, "n_layers": 1}},
    "features": 8,
}


def small(dims=2, channels=None, seed=0, **settings):
    return CUT(CUTSettings(**{**SMALL, **settings}), dims=dims, channels=channels, seed=seed)


def test_the_contrast_is_the_equation_of_the_paper():
    made, shown = (torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=2) for _ in range(2))
    total = 0.0
    for image in range(2):
        for place in range(5):
            similar = [exp(float(made[image, place] @ shown[image, other]) / 0.2) for other in range(5)]
            total -= log(similar[place] / sum(similar)) / 10
    assert patch_nce(made, shown, 0.2).item() == pytest.approx(total, rel=1e-5)
    same = torch.eye(5)[None]
    assert patch_nce(same, same, 0.05).item() < 1e-6 < patch_nce(same, same.roll(1, 1), 0.05).item()
    shown.requires_grad_()
    assert not patch_nce(made, shown, 0.2).requires_grad


@pytest.mark.parametrize("dims", [2, 3])
def test_features_are_outputs_of_the_encoders_convolutions(dims):
    net = nets.build("unet", dims=dims, levels=3, width=3, norm="none")
    net.gradient_checkpointing = True
    encoder = Encoder(net, 9)
    image = torch.rand(2, 1, *(34,) * dims)
    expected = [image, net.encoder[0].conv(image)]
    x = net.encoder[0](image)
    expected.append(net.encoder[1].conv(x))
    expected.append(net.encoder[2].conv(net.encoder[1](x)))
    features = encoder.features(image)
    assert [f.shape[1] for f in features] == encoder.channels == [1, 3, 6, 12]
    for a, b in zip(features, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert net.gradient_checkpointing
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("name", "arguments"), [("resnet", {"blocks": 2}), ("retouch", {"blocks": 6}), ("segmenter", {})]
)
def test_any_generator_has_an_encoder_that_runs_no_further_than_needed(name, arguments):
    net = nets.build(name, dims=2, width=2, **arguments)
    encoder, size = Encoder(net, 3), nets.footprint(net).admissible(48, 0, at_least=True)
    ran = []
    last = [layer.module for layer in nets.layers(net) if layer.kind == "conv"][-1]
    last.register_forward_hook(lambda *_: ran.append(1))
    assert len(encoder.features(torch.rand(1, 1, size, size))) == len(encoder.channels) == 4
    assert not ran
    with pytest.raises(BadInput, match="no convolutions"):
        Encoder(nets.build("lookup", dims=2), 3)


def test_vectors_have_length_one_and_lie_at_the_drawn_places():
    features = [torch.rand(2, 3, 4, 5), torch.rand(2, 6, 2, 2)]
    places = draw_places(features, 7)
    assert [len(at) for at in places] == [7, 4]
    heads = Projections([3, 6], 5)
    for head, values, at, vectors in zip(heads.heads, features, places, heads(features, places), strict=True):
        assert len(set(at.tolist())) == len(at)
        wanted = head(values.flatten(2)[1, :, at[0]])
        torch.testing.assert_close(vectors[1, 0], wanted / wanted.norm())
        torch.testing.assert_close(vectors.norm(dim=2), torch.ones(vectors.shape[:2]))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("region", ["full", "certain"])
@pytest.mark.parametrize("stitching", [None, {"overlap": 0.4}])
def test_each_turn_reaches_its_own_player_only(dims, region, stitching):
    task = small(dims, loss_region=region, stitching=stitching)
    size = 42 if region == "certain" else 22
    task.check((size,) * dims)
    for turn in task.turns(batch(size, dims=dims, count=2)):
        task.zero_grad()
        turn.loss.backward()
        for name, player in task.players.items():
            if name == turn.player:
                assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in player.parameters())
            else:
                assert all(p.grad is None for p in player.parameters())
        assert all(torch.isfinite(value) for value in turn.log.values())


def test_terms_are_weighed_as_in_the_paper():
    totals, log = play(small(), batch())
    assert totals["generator"] == pytest.approx(log["gan"] + (log["nce"] + log["nce_identity"]) / 2, rel=1e-5)
    totals, log = play(small(identity=False, lambda_nce=10), batch())
    assert totals["generator"] == pytest.approx(log["gan"] + 10 * log["nce"], rel=1e-5)
    assert "nce_identity" not in log


def test_stitching_adds_its_terms_and_counts_once_in_the_critic():
    torch.manual_seed(0)
    plain_totals, plain = play(small(), batch())
    task = small(stitching={"weight": 3, "encoded": False})
    task.set_progress(0.5)
    torch.manual_seed(0)
    totals, log = play(task, batch())
    assert {name: log[name] for name in ("gan", "nce", "nce_identity")} == {
        name: plain[name] for name in ("gan", "nce", "nce_identity")
    }
    more = 1.5 * log["stitch"] + log["gan_stitched"]
    assert totals["generator"] == pytest.approx(plain_totals["generator"] + more, rel=1e-5)
    assert 0.5 * plain_totals["critics"] < totals["critics"] < 1.5 * plain_totals["critics"]
    assert task.translations()["forward"].applied == March(share=(0.25, 0.25), offset=0.0)
    assert small().translations()["forward"].applied == OnePass()


@pytest.mark.parametrize(("source", "target"), [(1, 3), (3, 1)])
def test_grey_becomes_rgb_and_back(source, target):
    task = small(channels={"source": source, "target": target}, stitching={})
    assert task.generator.in_channels == 3
    patches = {"source": torch.rand(1, source, 22, 22), "target": torch.rand(1, target, 22, 22)}
    assert play(task, patches, learn=True)[1]["nce_identity"] > 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="cut shows the generator both domains, of 2 and 3 channels"):
        small(channels={"source": 2, "target": 3})
    with pytest.raises(ValueError, match="needs a backward generator, which cut does not have"):
        CUTSettings(stitching={"both": True})
    with pytest.raises(BadInput, match="the smallest that works is 26 x 26"):
        small(loss_region="certain").check((22, 22))


def test_the_seed_decides_the_weights_and_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    a, b = small(seed=1), small(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
