"""Tests of thousands of small files: only a sample is read, warnings and records stay short, and the log says so."""

import os

import numpy as np
import pytest
import tifffile
import torch
import yaml

from vol2vol.errors import BadInput
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.recipes import domains, train
from vol2vol.recipes.domains import even_sample, facts_of, open_domain, warn_of_differences

torch.set_num_threads(1)
RECIPE = {
    "extends": "small-denoise-2d",
    "data": {"patch": 30, "labels": {"held_out": 0.4, "held_out_patches": 2}},
    "task": {"network": {"arguments": {"levels": 2, "width": 2}}},
    "train": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "accelerator": "cpu"},
}


def images(folder, count, values=lambda i, rng: rng.integers(0, 200, (80, 80)), **how):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        pixels = values(i, np.random.default_rng(i))
        tifffile.imwrite(folder / f"im{i:03}.tif", pixels.astype(np.uint8), photometric="minisblack", **how)
    return f"{folder}/*.tif"


class Named:
    """A volume with a number and a shape, which is all that sampling uses."""

    def __init__(self, number, spatial=(1, 9, 9)):
        self.number, self.spatial = number, spatial


@pytest.mark.parametrize("count", [1, 6, 7, 8, 50, 701])
def test_a_sample_is_even_seeded_and_all_of_few_or_large_volumes(count, monkeypatch):
    monkeypatch.setattr(domains, "MANY", 7)
    volumes = [Named(i) for i in range(count)]
    numbers = [volume.number for volume in even_sample(volumes, 3)]
    assert numbers == [volume.number for volume in even_sample(volumes, 3)]
    if count <= 7:
        assert numbers == list(range(count))
        return
    assert len({*numbers}) == 7
    assert [number * 7 // count for number in numbers] == pytest.approx(list(range(7)), abs=1)
    assert numbers != [volume.number for volume in even_sample(volumes, 4)] or count < 20
    large = [*volumes, Named(count, (9, 1000, 1000))]
    assert even_sample(large, 3) == large


def test_every_volume_has_the_same_chance(monkeypatch):
    monkeypatch.setattr(domains, "MANY", 4)
    volumes = [Named(i) for i in range(12)]
    drawn = [volume.number for seed in range(900) for volume in even_sample(volumes, seed)]
    counts = np.bincount(drawn, minlength=12)
    assert counts.sum() == 3600
    assert abs(counts - 300).max() < 6 * np.sqrt(300)


def test_intensities_of_many_are_measured_on_a_sample_that_is_said_and_remembered(tmp_path, monkeypatch, caplog):
    for name, value in (("MANY", 8), ("MOST_OPEN", 4), ("RECORDED", 5)):
        monkeypatch.setattr(domains, name, value)
    source = images(tmp_path / "in", 21)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    with caplog.at_level("INFO", "vol2vol"):
        train(tmp_path / "recipe.yaml", source, None, tmp_path / "run", progress=False)
    assert "source: intensities are measured on 8 of 21 volumes, spread evenly" in caplog.text
    bundle = load_bundle(find_bundle(tmp_path / "run"))
    assert bundle.meta["provenance"]["sampled"] == {"source": {"volumes": 8, "of": 21}}
    assert bundle.intensity["source"].voxels == 8 * 80 * 80
    [fact] = bundle.meta["provenance"]["volumes"]["source"]
    assert (fact["name"], fact["volumes"], fact["shape"]) == ("im000.tif", 21, [1, 1, 80, 80])
    os.rename(tmp_path / "in" / "im020.tif", tmp_path / "in" / "im021.tif")
    grown = {**RECIPE, "train": {**RECIPE["train"], "epochs": 2}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(grown))
    with pytest.raises(BadInput, match=r"trained on the source volumes im000\.tif 21 \w{64}"):
        train(tmp_path / "recipe.yaml", source, None, tmp_path / "run", progress=False)


def test_few_are_measured_whole_and_nothing_is_said(tmp_path, caplog):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    with caplog.at_level("INFO", "vol2vol"):
        train(tmp_path / "recipe.yaml", images(tmp_path / "in", 3), None, tmp_path / "run", progress=False)
    bundle = load_bundle(find_bundle(tmp_path / "run"))
    assert "sampled" not in bundle.meta["provenance"]
    assert bundle.intensity["source"].voxels == 3 * 80 * 80
    assert "spread evenly" not in caplog.text


def test_what_is_remembered_of_volumes_does_not_grow_with_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(domains, "RECORDED", 3)
    same = open_domain(images(tmp_path / "same", 6))
    assert len(facts_of(same[:3])) == 3
    [fact] = facts_of(same)
    assert fact["volumes"] == 6
    assert {**fact, "name": 0} == {**facts_of(same[::-1])[0], "name": 0, "sha256": fact["sha256"]}
    assert facts_of(same[::-1])[0]["sha256"] != fact["sha256"]
    mixed = open_domain(images(tmp_path / "mixed", 8, lambda i, rng: rng.integers(0, 9, (20 + i, 30))))
    [fact] = facts_of(mixed)
    assert "shape" not in fact
    assert (fact["volumes"], fact["dtype"]) == (8, "uint8")
    two = [*same[:2], *mixed[:2], *same[2:]]
    assert sum(fact.get("volumes", 1) for fact in facts_of(two)) == 8


def test_many_that_differ_are_warned_of_in_one_line(tmp_path, caplog):
    dark = lambda i, rng: rng.integers(0, 200, (40, 40)) // (1 if i == 0 else 100)  # noqa: E731
    volumes = open_domain(images(tmp_path / "in", 9, dark))
    warn_of_differences("source", volumes)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("source volumes differ in intensity, but share one map: ")
    assert line.endswith(" and 3 more")
    caplog.clear()
    warn_of_differences("source", volumes[:3])
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2
