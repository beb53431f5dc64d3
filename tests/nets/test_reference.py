import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vol2vol import nets
from vol2vol.errors import BadInput, NotFound, Unreadable

torch.set_num_threads(1)
GOLDEN = Path(__file__).parents[2] / "../shared/golden"
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden outputs of the reference code are not here")


def state(levels=3, width=2, dims=2):
    """Make a state dictionary as the reference code saves it, from its nesting rule."""
    draw = torch.Generator().manual_seed(0)
    state = {}

    def weights(key, a, b):
        state[f"{key}.weight"] = torch.randn(a, b, *(4,) * dims, generator=draw)
        state[f"{key}.bias"] = torch.randn(b if "up" in key else a, generator=draw)

    def norm(key, channels):
        state[f"{key}.running_mean"] = torch.randn(channels, generator=draw)
        state[f"{key}.running_var"] = torch.rand(channels, generator=draw) + 0.5
        state[f"{key}.num_batches_tracked"] = torch.tensor(0)

    def block(prefix, level):
        inner, outer = width * min(2**level, 8), width * min(2 ** (level - 1), 8) if level else 1
        innermost, outermost = level == levels - 1, level == 0
        down, up = ("0", "3") if outermost else ("1", "3" if innermost else "5")
        state[f"{prefix}{down}.weight"] = torch.randn(inner, outer, *(4,) * dims, generator=draw)
        state[f"{prefix}{down}.bias"] = torch.randn(inner, generator=draw)
        if not (innermost or outermost):
            norm(f"{prefix}2", inner)
        if not innermost:
            block(f"{prefix}{'1' if outermost else '3'}.model.", level + 1)
        joined = inner if innermost else 2 * inner
        state[f"{prefix}{up}.weight"] = torch.randn(joined, outer, *(4,) * dims, generator=draw)
        state[f"{prefix}{up}.bias"] = torch.randn(outer, generator=draw)
        if not outermost:
            norm(f"{prefix}{'4' if innermost else '6'}", outer)

    block("model.model.", 0)
    return state


@golden
@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_golden_outputs_of_the_reference_code(dims):
    facts = json.loads((GOLDEN / "golden.json").read_text())[f"{dims}d"]
    draw = np.random.default_rng(facts["input_seed"])
    x = draw.integers(0, 256, facts["input_shape"], dtype=np.uint8) / 255
    x = torch.from_numpy(x.astype(np.float32))[None, None]
    kept = np.load(GOLDEN / f"{dims}d_kept.npy")
    net = nets.load_reference(GOLDEN / f"{dims}d_net_G_A.pth", dims)
    assert np.abs(net(x)[(0, 0, *(slice(63, -63),) * dims)].numpy() - kept).max() <= 1e-5
    quick = nets.cropped(nets.frozen(net))
    assert np.abs(quick(x)[(0, 0, *(slice(1, -1),) * dims)].numpy() - kept).max() <= 1e-5


@pytest.mark.parametrize(("levels", "width", "dims"), [(2, 1, 2), (3, 2, 2), (5, 1, 2), (3, 2, 3)])
def test_architecture_is_inferred(levels, width, dims):
    net = nets.from_reference(state(levels, width, dims), dims)
    arguments = net.describe()["arguments"]
    assert (arguments["levels"], arguments["width"], arguments["norm"]) == (levels, width, "tracked")
    assert not net.training


def test_every_entry_lands_in_its_place():
    given = state()
    net = nets.from_reference(given, 2)
    assert torch.equal(net.encoder[0].conv.weight, given["model.model.0.weight"])
    assert torch.equal(net.encoder[2].conv.bias, given["model.model.1.model.3.model.1.bias"])
    assert torch.equal(net.decoder[0].norm.mean, given["model.model.1.model.3.model.4.running_mean"])
    assert torch.equal(net.decoder[1].norm.variance, given["model.model.1.model.6.running_var"])
    assert torch.equal(net.decoder[2].conv.weight, given["model.model.3.weight"])


def test_the_prefix_of_parallel_training_is_understood():
    given = state()
    wrapped = nets.from_reference({f"module.{key}": value for key, value in given.items()}, 2)
    plain = nets.from_reference(given, 2)
    assert all(
        torch.equal(a, b) for a, b in zip(wrapped.state_dict().values(), plain.state_dict().values(), strict=True)
    )


def test_importing_leaves_the_seed_alone():
    before = torch.random.get_rng_state()
    nets.from_reference(state(), 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def without(key):
    return {name: value for name, value in state().items() if name != key}


@pytest.mark.parametrize(
    ("state", "dims", "message"),
    [
        (state(), 3, "2D network, not 3D"),
        (without("model.model.1.model.6.running_var"), 2, "'model.model.1.model.6.running_var' is missing"),
        (without("model.model.3.weight"), 2, "model.model.3.weight"),
        (
            state() | {"model.model.1.model.2.weight": torch.ones(4)},
            2,
            "'model.model.1.model.2.weight' is not expected",
        ),
        (
            state() | {"model.model.1.model.1.weight": torch.ones(5, 2, 4, 4)},
            2,
            r"shape \(5, 2, 4, 4\) where \(4, 2, 4, 4\)",
        ),
        (state() | {"model.model.0.weight": torch.ones(2, 1, 3, 3)}, 2, r"shape \(2, 1, 3, 3\) where \(2, 1, 4, 4\)"),
        (state() | {"model.model.0.bias": torch.full((2,), torch.nan)}, 2, "not finite"),
        ({"model.1.weight": torch.ones(64, 1, 7, 7)}, 2, "looks like a ResNet"),
        ({"weight": torch.ones(1)}, 2, "not a U-Net of the reference code"),
        ({}, 2, "no entry"),
        ({"epoch": 3}, 2, "not a state dictionary"),
        ([torch.ones(1)], 2, "not a state dictionary"),
    ],
)
def test_anything_else_is_refused(state, dims, message):
    with pytest.raises(BadInput, match=message):
        nets.from_reference(state, dims)


def test_files_are_read_safely(tmp_path):
    path = tmp_path / "latest net Gé.pth"
    torch.save(state(), path)
    assert nets.load_reference(path, 2).arguments["levels"] == 3
    with pytest.raises(NotFound, match="missing"):
        nets.load_reference(tmp_path / "missing.pth", 2)
    with pytest.raises(NotFound):
        nets.load_reference(tmp_path, 2)
    for content in (b"", b"no weights at all", path.read_bytes()[:200]):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(Unreadable, match=r"bad\.pth"):
            nets.load_reference(tmp_path / "bad.pth", 2)
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "code.pth")
    with pytest.raises(Unreadable, match=r"code\.pth"):
        nets.load_reference(tmp_path / "code.pth", 2)
