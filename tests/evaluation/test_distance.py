"""Distances between stored volumes, in the space of a stored, a new and a random encoder."""

import json
from dataclasses import replace

import pytest
import torch
from tests.evaluation.stored_volumes import answer, refused

from vol2vol.evaluation.distance import FeatureSpace, evaluate_distance
from vol2vol.metrics.distances.cut_patches import Cutting
from vol2vol.metrics.distances.encoder import Encoder, EncoderSettings, train_encoder
from vol2vol.metrics.distances.encoder_file import save_encoder
from vol2vol.metrics.distances.features import grey_map
from vol2vol.volumes import open_volume

torch.set_num_threads(1)


def test_distances_lie_between_floor_and_ceiling(folder):
    source, output, target = (open_volume(folder / name) for name in ("seamed.zarr", "clean.zarr", "clean.zarr"))
    torch.manual_seed(0)
    space = FeatureSpace(name="random", network=Encoder((4, 8)), grey=grey_map(target))
    result = evaluate_distance(source, output, target, space, Cutting(count=120, size=16), resamples=10)
    for name in ("fid", "kid"):
        assert result[name]["value"] < result[name]["ceiling"]
        assert result[name]["interval"]["low"] < result[name]["interval"]["high"]
    assert result["fid"]["gap closed"] > 0.8
    assert "120 patches" in result["fid"]["sample size"]
    json.dumps(result, allow_nan=False)


def test_an_interval_contains_its_value(folder):
    """Many features, few patches: half the patches are much further apart than all are."""
    volumes = [open_volume(folder / name) for name in ("seamed.zarr", "clean.zarr", "clean.zarr")]
    torch.manual_seed(0)
    space = FeatureSpace(name="random", network=Encoder((4, 64)), grey=grey_map(volumes[2]))
    result = evaluate_distance(*volumes, space, Cutting(count=60, size=16), resamples=20)
    for name in ("fid", "kid"):
        distance = result[name]
        assert distance["interval"]["low"] <= distance["value"] <= distance["interval"]["high"]
        assert distance["patches"] < 30 < result["patches"] == 60
    assert result["fid"]["value"] > 1.2 * float(result["fid"]["sample size"].split()[0])


def test_distance_by_a_stored_encoder(folder, capsys):
    settings = EncoderSettings(widths=(4, 8), crop=16, pool=32, batch=4, steps=4)
    save_encoder(folder / "encoder", train_encoder(open_volume(folder / "clean.zarr"), settings))
    volumes = [folder / name for name in ("seamed.zarr", "clean.zarr", "clean.zarr")]
    words = ["--features", folder / "encoder", "--patches", "60", "--size", "16", "--resamples", "10"]
    result = answer(capsys, "distance", *volumes, *words)
    assert result["features"].startswith("encoder ")
    assert result["patches"] == 60
    assert result["fid"]["value"] < result["fid"]["ceiling"]
    (without,) = [answer(capsys, "distance", *volumes, *words[:-1], "0")]
    assert without["kid"]["interval"] is None
    by_name = evaluate_distance(
        *map(open_volume, volumes), str(folder / "encoder"), Cutting(count=60, size=16), resamples=0
    )
    assert by_name == without
    assert "cut more" in refused(capsys, "distance", *volumes, *words, "--patches", "4")


@pytest.fixture
def all_settings(monkeypatch):
    """Shorten trainings of encoders; return the settings with which they were started."""
    asked = []

    def train(target, settings):
        asked.append(settings)
        return train_encoder(target, replace(settings, widths=(4, 8), pool=32, batch=4, steps=4))

    monkeypatch.setattr("vol2vol.evaluation.distance.train_encoder", train)
    return asked


def test_an_encoder_sees_the_plane_it_judges_and_can_be_kept(folder, capsys, tmp_path, all_settings):
    volumes = [folder / name for name in ("seamed.zarr", "clean.zarr", "clean.zarr")]
    words = ["--plane", "xz", "--patches", "60", "--size", "20", "--resamples", "10", "--layout", "grid"]
    kept = tmp_path / "an encoder"
    result = answer(capsys, "distance", *volumes, *words, "--features", "encoder", "--keep", kept)
    (settings,) = all_settings
    assert (settings.planes, settings.crop) == (("xz",), 20)
    again = answer(capsys, "distance", *volumes, *words, "--features", kept)
    assert again == result
    assert "exists" in refused(capsys, "distance", *volumes, *words, "--features", "encoder", "--keep", kept)
    assert len(all_settings) == 1
    message = refused(capsys, "distance", *volumes, "--size", "20", "--patches", "60", "--features", kept)
    assert "trained on xz patches, not xy" in message
    scattered = answer(capsys, "distance", *volumes, *words[:-1], "random", "--features", kept)
    assert scattered["fid"]["value"] != result["fid"]["value"]
