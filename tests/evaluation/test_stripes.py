"""`evaluate stripes`: 0 on the truth, the share of cut objects where every tile decides by itself."""

import json

import numpy as np
import pytest

from vol2vol import evaluate_stripes, open_volume, write_circles
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, grid
from vol2vol.metrics.objects.stripes import Striping
from vol2vol.phantoms import Stripes
from vol2vol.volumes import create_volume

HOW = Stripes(shape=(384, 384), diameter=80, period=8)
METRIC = Striping(period=8)
TILE = 96


def by_tile(picture, tile):
    """Return an image whose tiles draw colour, direction and phase of every object by themselves."""
    whole = Box.of(picture.settings.spatial)
    image = np.empty((3, *whole.shape), np.uint8)
    for number, box in enumerate(grid(whole, (1, tile, tile)), start=1000):
        other = picture.settings.picture("target", number)
        count = len(picture.bodies)
        rng = np.random.default_rng(number)
        ways = rng.standard_normal((count, 3)) * (0, 1, 1)
        vars(other)["_drawn"] = picture.bodies, rng.integers(0, 3, count)
        vars(other)["waves"] = ways / np.linalg.norm(ways, axis=1, keepdims=True) / 8, rng.random(count)
        image[:, *box.slices] = other.coloured(box)
    return image


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    paths = write_circles(folder, HOW, images=3, tests=0)
    paths["tiled"] = []
    for number, path in enumerate(paths["target"]):
        made = folder / "tiled" / path.name
        with create_volume(made, shape=(3, *HOW.spatial), dtype=np.uint8, voxel_size=(1, 1, 1), unit="") as volume:
            volume.write(Box.of(HOW.spatial), by_tile(HOW.picture("target", number), TILE))
        paths["tiled"].append(made)
    return paths


def volumes(paths):
    return [open_volume(path) for path in paths]


def test_the_truth_scores_exactly_zero_under_the_published_noise(bench):
    result = evaluate_stripes(volumes(bench["target"]), volumes(bench["target-labels"]), METRIC)
    for name in ("changed", "colour changed", "stripes changed", "unstriped"):
        assert result[name]["value"] == 0
    assert result["images"] == 3
    assert result["objects"] > 20


def test_independent_tiles_change_all_objects_that_they_cut_and_no_other(bench):
    """The ceiling: what is cut so that more than a sliver of its inside lies in another tile has changed."""
    labels = [volume.read(Box.of(volume.spatial))[0, 0] for volume in volumes(bench["target-labels"])]
    cut = total = 0
    for image in labels:
        rows, columns = np.indices(image.shape) // TILE
        for number in np.unique(image[image > 0]):
            shares = np.unique((rows * 100 + columns)[image == number], return_counts=True)[1] / (image == number).sum()
            cut += shares.max() < 0.93
            total += 1
    result = evaluate_stripes(volumes(bench["tiled"]), volumes(bench["target-labels"]), METRIC)
    assert cut / total > 0.5
    assert result["changed"]["value"] == pytest.approx(cut / total, abs=0.08)
    assert result["colour changed"]["value"] < result["changed"]["value"]


def test_white_objects_have_no_stripes(bench):
    result = evaluate_stripes(volumes(bench["source"]), volumes(bench["source-labels"]), METRIC, border=False)
    assert result["unstriped"]["value"] == 1
    assert result["changed"]["value"] is None


def test_misfits_are_refused(bench):
    outputs, labels = volumes(bench["target"]), volumes(bench["target-labels"])
    with pytest.raises(BadInput, match="give the labels of each output"):
        evaluate_stripes(outputs, labels[:1], METRIC)
    with pytest.raises(BadInput, match="no object that is wider than a period of 200"):
        evaluate_stripes(outputs, labels, Striping(period=200))
    with pytest.raises(BadInput, match="not instance labels"):
        evaluate_stripes(outputs[:1], outputs[:1], METRIC)


def test_the_verbs_make_and_measure(tmp_path, capsys):
    words = ["--shape", "96,96", "--diameter", "40", "--period", "8", "--images", "1", "--tests", "0"]
    assert main(["phantom", "stripes", "--out", str(tmp_path), *words]) == 0
    capsys.readouterr()
    asked = [str(tmp_path / "target" / "0000.zarr"), "--labels", str(tmp_path / "target-labels" / "0000.zarr")]
    assert main(["evaluate", "stripes", *asked, "--period", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"]["value"] == 0
    assert main(["evaluate", "stripes", *asked, "--period", "1"]) == 2
    assert "period" in capsys.readouterr().err
