"""Statistics of the whole input: an instance-norm network predicted in tiles is that network on the whole at once."""

import json
import math

import numpy as np
import pytest
import torch
from tests.prediction.conftest import network, write_volume

from vol2vol import nets, translated
from vol2vol.errors import BadInput, Mismatch
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.nets import volume_statistics
from vol2vol.prediction import Job, PredictSettings, Request, dry_run, predict
from vol2vol.prediction import statistics as measuring
from vol2vol.prediction.verification import verify
from vol2vol.protocol import between
from vol2vol.volumes import open_volume
from vol2vol.volumes.ledger import Ledger

torch.set_num_threads(1)
GLOBAL = PredictSettings(statistics="global", raw=True)


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    monkeypatch.setattr(volume_statistics, "SIDE", {2: 32, 3: 24})
    monkeypatch.setattr(volume_statistics, "VOXELS", 1000)


def read(path):
    volume = open_volume(path)
    return volume.read(Box.of(volume.spatial))


def public(name, dims, path, **arguments):
    """A bundle of a network with instance norm, which has no other statistics, and that network."""
    torch.manual_seed(4)
    pair = [nets.build(name, dims=dims, width=2, norm="instance", **arguments) for _ in range(2)]
    for net in pair:
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, 0, (1 / parameter[0].numel()) ** 0.5)
    both = between(dict(zip(("forward", "backward"), pair, strict=True)))
    grey = fixed(0, 255)
    return save_bundle(path, both, {"source": grey, "target": grey}, channels={"source": 1, "target": 1}), pair[0]


@torch.no_grad()
@pytest.mark.parametrize("tile", ["auto", "small"])
@pytest.mark.parametrize(
    ("name", "dims", "arguments"),
    [
        ("unet", 2, {"levels": 2, "padding": "same"}),
        ("unet", 3, {"levels": 2, "padding": "same"}),
        ("resnet", 2, {"blocks": 1}),
        ("resnet", 3, {"blocks": 1}),
    ],
)
def test_tiled_is_the_published_network_on_the_whole_volume(name, dims, arguments, tile, tmp_path):
    """Away from the borders, where the network pads its layers and `exact` shows it mirrored voxels."""
    size = (1, 72, 88) if dims == 2 else (44, 48, 56)
    array = (np.random.default_rng(6).integers(0, 256, size) * np.linspace(0.2, 1, size[-1])).astype(np.uint8)
    source = write_volume(tmp_path / "in.zarr", array)
    model, net = public(name, dims, tmp_path / "model", **arguments)
    foot = nets.footprint(net)
    own = "auto" if tile == "auto" else str(foot.admissible(2 * max(foot.reach[0]) + 9, 0, at_least=True))
    predict(model, source, tmp_path / "out.zarr", GLOBAL.model_copy(update={"tile": own}))
    x = torch.from_numpy(array.astype(np.float64) / 127.5 - 1)
    whole = net.double()(x[:, None] if dims == 2 else x[None, None]).numpy()
    whole = np.moveaxis(whole, 0, 1) if dims == 2 else whole[0]
    reach = max(map(max, foot.reach))
    inner = (slice(None), *(slice(reach, n - reach) if n > 1 else slice(None) for n in size))
    assert whole[inner].size > 200
    assert whole[inner].std() > 0.01
    np.testing.assert_allclose(read(tmp_path / "out.zarr")[inner], whole[inner], atol=5e-6)  # float32 against float64


def test_statistics_are_those_of_the_input_and_not_of_the_region(models, volume, tmp_path):
    predict(models[3], volume, tmp_path / "whole.zarr", GLOBAL)
    part = GLOBAL.model_copy(update={"roi": "2:12,5:40,8:60"})
    predict(models[3], volume, tmp_path / "part.zarr", part)
    np.testing.assert_allclose(
        read(tmp_path / "part.zarr"), read(tmp_path / "whole.zarr")[:, 2:12, 5:40, 8:60], atol=2e-6
    )
    predict(models[3], volume, tmp_path / "usual.zarr", PredictSettings(raw=True))
    assert np.abs(read(tmp_path / "usual.zarr") - read(tmp_path / "whole.zarr")).max() > 1e-3


@pytest.mark.parametrize("dims", [2, 3])
def test_stopped_while_measuring_continues_to_the_same_bytes(dims, models, volume, tmp_path, monkeypatch):
    seen, reading, stop = [], measuring._read, [0]

    def stopping(job, *place):
        seen.append(place)
        if len(seen) == stop[0]:
            raise KeyboardInterrupt
        return reading(job, *place)

    monkeypatch.setattr(measuring, "_read", stopping)
    predict(models[dims], volume, tmp_path / "once.zarr", GLOBAL)
    once, stop[0] = len(seen), len(seen) + len(seen) * 2 // 3
    with pytest.raises(KeyboardInterrupt):
        predict(models[dims], volume, tmp_path / "twice.zarr", GLOBAL)
    kept = json.loads((tmp_path / "twice.zarr" / ".vol2vol" / "statistics.json").read_text())
    assert kept["data"]["portions"] > 0
    predict(models[dims], volume, tmp_path / "twice.zarr", GLOBAL)
    np.testing.assert_array_equal(read(tmp_path / "twice.zarr"), read(tmp_path / "once.zarr"))
    assert len(seen) < 2.4 * once, "what was measured is not measured again"
    assert not (tmp_path / "twice.zarr" / ".vol2vol").exists()


def test_workers_verification_and_arrays_use_the_same_statistics(models, volume, tmp_path):
    predict(models[3], volume, tmp_path / "one.zarr", GLOBAL)
    predict(models[3], volume, tmp_path / "two.zarr", GLOBAL.model_copy(update={"workers": 2}))
    once = read(tmp_path / "one.zarr")
    np.testing.assert_array_equal(read(tmp_path / "two.zarr"), once)
    assert verify(tmp_path / "one.zarr", model=models[3], input=volume).differing == 0
    np.testing.assert_array_equal(np.asarray(translated(models[3], volume, GLOBAL)), once)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_thumbnail_is_measured_like_the_volume_that_it_shows(dims, models, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "THUMBNAIL", {2: 20, 3: 15})
    small = np.random.default_rng(7).integers(0, 256, (14, 15, 13) if dims == 3 else (3, 17, 20), dtype=np.uint8)
    large = np.kron(small, np.ones((1, 3, 3) if dims == 2 else (2, 3, 2), np.uint8))
    measured = []
    for array, statistics in ((small, "global"), (large, "thumbnail")):
        source = write_volume(tmp_path / f"{statistics}.zarr", array)
        job = Job.open(Request.of(models[dims], source, PredictSettings(statistics=statistics), "auto"))
        measured.append(measuring.with_statistics(job).engine.network.state_dict())
    factors = tuple(-(-n // measuring.THUMBNAIL[dims]) for n in large.shape[-dims:])
    assert factors == ((3, 3) if dims == 2 else (2, 3, 2))
    for name, tensor in measured[0].items():
        torch.testing.assert_close(measured[1][name], tensor, atol=1e-5, rtol=1e-5)


def test_of_a_small_volume_the_thumbnail_is_the_volume(models, volume, tmp_path):
    thumbnail = GLOBAL.model_copy(update={"statistics": "thumbnail"})
    predict(models[3], volume, tmp_path / "whole.zarr", GLOBAL)
    predict(models[3], volume, tmp_path / "thumbnail.zarr", thumbnail)
    np.testing.assert_array_equal(read(tmp_path / "thumbnail.zarr"), read(tmp_path / "whole.zarr"))
    assert dry_run(models[3], volume, thumbnail)["statistics"] == "thumbnail"


def test_a_worker_without_statistics_says_what_to_do(models, volume, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "_read", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict(models[2], volume, tmp_path / "out.zarr", GLOBAL)
    assert Ledger.of(str(tmp_path / "out.zarr")).plan() is not None
    with pytest.raises(Mismatch, match="statistics are not yet measured: run the same vol2vol predict"):
        Job.attach(str(tmp_path / "out.zarr"))


def test_the_dry_run_counts_what_measuring_costs(models, volume):
    told = dry_run(models[3], volume, GLOBAL)
    usual = dry_run(models[3], volume, PredictSettings(raw=True))
    assert told["statistics"] == "global"
    net = network(3)
    whole = nets.volume_statistics.padded_size(net, open_volume(volume).spatial)
    last = 2 * net.decoder[1].conv.weight.numel() * math.prod((n - 2) // 2 for n in whole)
    assert told["operations of measuring statistics"] == nets.flops(net, whole) - last, "all but the last layer"
    assert "operations of measuring statistics" not in usual


def test_what_cannot_be_measured_is_refused(volume, tmp_path):
    for changed, message in (({"assembly": "ortho"}, "assembly slices"), ({"executor": "slurm"}, "executor local")):
        with pytest.raises(ValueError, match=message):
            PredictSettings(statistics="global", **changed)
    none = nets.build("unet", dims=2, levels=2, width=2, norm="none")
    grey = fixed(0, 255)
    both = between({"forward": none, "backward": network(2)})
    model = save_bundle(tmp_path / "none", both, {"source": grey, "target": grey}, channels={"source": 1, "target": 1})
    with pytest.raises(BadInput, match="no normalisation of its own"):
        predict(model, volume, tmp_path / "out.zarr", GLOBAL)
