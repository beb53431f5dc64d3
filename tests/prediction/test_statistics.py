"""The setting `statistics`: which mean and variance normalise; recorded, and refused where it would be wrong."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from tests.prediction.conftest import network, write_volume

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput, Mismatch
from vol2vol.evaluation import certify
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.plans.record import Record
from vol2vol.prediction import PredictSettings, dry_run, predict
from vol2vol.protocol import between
from vol2vol.volumes import open_volume

torch.set_num_threads(1)
TILE = PredictSettings(statistics="tile", strategy="disjoint", raw=True, tile="30")


def read(path):
    volume = open_volume(path)
    return volume.read(Box.of(volume.spatial))


def published(dims):
    """The trained weights in a network with instance norm, as published code applies it to a tile."""
    trained = network(dims)
    net = nets.build("unet", **{**trained.describe()["arguments"], "norm": "instance"})
    net.load_state_dict({key: value for key, value in trained.state_dict().items() if "norm" not in key})
    return net.train()


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_tile_is_normalised_by_itself_as_in_published_code(dims, batch_size, models, volume, tmp_path):
    settings = TILE.model_copy(update={"batch_size": batch_size})
    predict(models[dims], volume, tmp_path / "out.zarr", settings)
    stored, source, net = read(tmp_path / "out.zarr"), open_volume(volume), published(dims)
    for corner in ((0, 0, 0), (0, 30, 0), (0, 0, 30)):
        box = Box.of((30 if dims == 3 else 1, 30, 30)).shift(corner)
        tile = torch.from_numpy(source.read_padded(box).astype(np.float32) / 127.5 - 1)[None]
        expected = (net(tile) if dims == 3 else net(tile[:, :, 0])[:, :, None])[0].numpy()
        inside = box & Box.of(source.spatial)
        expected = expected[:, *inside.relative_to(box.start).slices]
        np.testing.assert_allclose(stored[:, *inside.slices], expected, atol=2e-6)


@pytest.mark.parametrize("strategy", ["exact", "printed"])
def test_a_seamless_strategy_refuses_statistics_of_the_tile(strategy, models, volume, tmp_path, capsys):
    words = ["predict", str(models[2]), str(volume), str(tmp_path / "out.zarr"), "--statistics", "tile"]
    assert main([*words, "--strategy", strategy]) == 2
    assert "use strategy average, blend or disjoint" in capsys.readouterr().err
    assert not (tmp_path / "out.zarr").exists()
    assert main([*words, "--strategy", "blend"]) == 0


def test_statistics_are_on_record_and_a_second_start_keeps_to_them(models, volume, tmp_path):
    predict(models[3], volume, tmp_path / "tile.zarr", TILE)
    predict(models[3], volume, tmp_path / "usual.zarr", TILE.model_copy(update={"statistics": "calibrated"}))
    assert np.abs(read(tmp_path / "tile.zarr") - read(tmp_path / "usual.zarr")).max() > 0.01
    assert Record.of(open_volume(tmp_path / "tile.zarr")).settings["statistics"] == "tile"
    assert "statistics" not in Record.of(open_volume(tmp_path / "usual.zarr")).settings, "as in earlier versions"
    with pytest.raises(Mismatch, match="statistics 'tile', now None"):
        predict(models[3], volume, tmp_path / "tile.zarr", TILE.model_copy(update={"statistics": "calibrated"}))


def bundle_of(net, path):
    both = between({"forward": net, "backward": deepcopy(net)})
    grey = fixed(0, 255)
    return save_bundle(path, both, {"source": grey, "target": grey}, channels={"source": 1, "target": 1})


def test_dry_run_states_what_will_normalise(models, volume, tmp_path):
    own = bundle_of(published(2).eval(), tmp_path / "own")
    blend = PredictSettings(strategy="blend")
    assert dry_run(models[2], volume, TILE)["statistics"] == "tile"
    assert dry_run(models[2], volume, blend)["statistics"] == "calibrated"
    assert dry_run(own, volume, blend)["statistics"] == "tile", "norm instance has no other statistics"


def test_networks_without_normalisation_have_no_statistics_of_a_tile():
    with pytest.raises(BadInput, match="has no normalisation"):
        nets.tilewise(nets.build("unet", dims=2, levels=2, width=2, norm="none"))
    with pytest.raises(BadInput, match="has no normalisation"):
        nets.tilewise(nets.build("lookup", dims=2))


def test_certificates_are_of_the_network_as_it_is_run(models, capsys):
    bundle = load_bundle(models[2])
    assert certify(bundle).stitchable
    found = certify(bundle, statistics="tile")
    assert not found.stitchable
    assert found.mismatch.far > 0.01
    assert main(["certify", str(models[2]), "--statistics", "tile"]) == 1
    assert "Not stitchable: layer" in capsys.readouterr().out
    with pytest.raises(BadInput, match="leave out statistics tile"):
        certify(torch.nn.Conv2d(1, 1, 3), dims=2, statistics="tile")


def test_seam_tests_name_the_statistics(models, tmp_path, capsys):
    write_volume(tmp_path / "in.zarr", np.random.default_rng(5).integers(0, 256, (3, 300, 300), dtype=np.uint8))
    told = {}
    for statistics in ("calibrated", "tile"):
        path, settings = tmp_path / f"{statistics}.zarr", TILE.model_copy(update={"statistics": statistics})
        predict(models[2], tmp_path / "in.zarr", path, settings)
        assert main(["evaluate", "seams", str(path), "--json"]) == 0
        told[statistics] = json.loads(capsys.readouterr().out)["statistics"]
    assert told == {"calibrated": "calibrated", "tile": "tile"}
    assert main(["evaluate", "seams", str(tmp_path / "tile.zarr")]) == 0
    assert "normalised by its own statistics" in capsys.readouterr().out
