"""Judging stored volumes through the command line: known answers, JSON that parses, one line for mistakes."""

import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from vol2vol.cli import main
from vol2vol.geometry import Box, Footprint
from vol2vol.metrics.encoder import Encoder, Lesson, train_encoder
from vol2vol.metrics.features import grey_map
from vol2vol.metrics.grid import Grid
from vol2vol.metrics.patches import Cutting
from vol2vol.metrics.rulers import save_encoder
from vol2vol.plans import exact, planar
from vol2vol.recipes.distance import Ruler, evaluate_distance
from vol2vol.recipes.evaluate import evaluate_seams, grids_of
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)


def store(path, array, attrs=None):
    volume = create_volume(
        path, shape=(1, *array.shape), dtype=array.dtype, voxel_size=(8, 8, 8), unit="nanometer", attrs=attrs or {}
    )
    volume.write(Box.of(array.shape), array[None])
    volume.flush()
    return path


def texture(shape=(48, 64, 80), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(128, 20, shape).astype(np.float32)


def steps(shape, size, height):
    """Return a tone per tile of a 3D checkerboard."""
    tiles = np.indices(shape) // size
    return np.where(tiles.sum(0) % 2, height, 0).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("with space")
    clean = texture()
    store(folder / "clean.zarr", clean)
    store(folder / "seamed.zarr", clean + steps(clean.shape, 16, 40))
    store(folder / "mask.zarr", (clean > 140).astype(np.uint8))
    store(folder / "empty.zarr", np.zeros(clean.shape, np.uint8))
    store(folder / "chance.zarr", np.clip((clean - 80) / 120, 0, 1))
    store(folder / "small.zarr", clean[:20])
    return folder


def answer(capsys, *words):
    capsys.readouterr()
    code = main(["evaluate", *map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def refused(capsys, *words):
    capsys.readouterr()
    code = main(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    return err


def test_seams_on_a_given_grid(folder, capsys):
    told = answer(capsys, "seams", folder / "seamed.zarr", "--step", "16,16,16")
    (one,) = told["passes"]
    assert one["verdict"] == "seams"
    assert {row["axis"] for row in one["rows"] if row["verdict"] == "seam"} == set("zyx")
    (one,) = answer(capsys, "seams", folder / "clean.zarr", "--step", "16,16,16", "--origin", "3,0,5")["passes"]
    assert not any(row["verdict"] == "seam" for row in one["rows"])
    assert one["grid"]["origin"] == [3, 0, 5]


def test_files_without_a_voxel_size_are_judged_with_the_given_one(folder, capsys, tmp_path):
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, open_volume(folder / "seamed.zarr").read(Box.of((48, 64, 80)))[0], photometric="minisblack")
    words = ("seams", plain, "--step", "16,16,16")
    assert main(["evaluate", *map(str, words)]) == 2
    assert "give --voxel-size" in capsys.readouterr().err
    told = answer(capsys, *words, "--voxel-size", "8,8,8")
    assert told["passes"] == answer(capsys, "seams", folder / "seamed.zarr", "--step", "16,16,16")["passes"]


def test_seams_as_a_table_with_a_picture(folder, capsys, tmp_path):
    plot = tmp_path / "profile.png"
    words = ["evaluate", "seams", folder / "seamed.zarr", "--step", "16,16,16", "--plot", plot]
    assert main(list(map(str, words))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("Seams: z (")
    with Image.open(plot) as picture:
        assert picture.size[1] > 800
        assert np.asarray(picture.convert("L")).std() > 5


def test_blind_seams(folder, capsys):
    (one,) = answer(capsys, "seams", folder / "seamed.zarr", "--blind")["passes"]
    assert {row["axis"] for row in one["rows"]} == set("zyx")
    assert one["sentence"].endswith(".")


def foot(dims):
    def same(n):
        return (n,) * dims

    return Footprint(reach=(same(2), same(2)), period=same(4), residue=same(0), minimum=same(8), trim=(same(0),) * 2)


def made(plans, *, spatial, start=(0, 0, 0), planes=None):
    passes = [{"plan": plan.to_dict(), "planar": None, "planes": planes or spatial[0], "sweep": None} for plan in plans]
    region = {"start": start, "stop": spatial}
    return {"vol2vol": {"layout": {"spatial": spatial, "region": region, "passes": passes}}}


def test_a_prediction_says_itself_how_it_was_tiled(tmp_path):
    plan = exact(foot(3), (24, 24, 24))
    array = texture((40, 40, 40)) + steps((40, 40, 40), 16, 60)
    path = store(tmp_path / "out.zarr", array, made([plan], spatial=(40, 40, 40)))
    volume = open_volume(path)
    assert grids_of(volume) == [Grid(step=plan.step)]
    (report,) = evaluate_seams(volume)
    assert report.grid.step == plan.step
    moved = store(tmp_path / "part.zarr", array, made([plan], spatial=(40, 40, 40), start=(5, 16, 1)))
    assert grids_of(open_volume(moved))[0].origin == (11, 0, 15)


def test_orthoslices_have_a_grid_per_pass_and_stretched_axes_keep_their_seams(tmp_path):
    plans = [planar(exact(foot(2), (24, 24)), axis) for axis in range(3)]
    step = plans[0].step[1]
    path = store(tmp_path / "out.zarr", texture((40, 40, 40)), made(plans, spatial=(40, 40, 40)))
    grids = grids_of(open_volume(path))
    assert [grid.step for grid in grids] == [(1, step, step), (step, 1, step), (step, step, 1)]
    path = store(tmp_path / "thick.zarr", texture((40, 40, 40)), made(plans[1:2], spatial=(40, 40, 40), planes=160))
    assert grids_of(open_volume(path))[0].step == (step // 4, 1, step)
    path = store(tmp_path / "odd.zarr", texture((40, 40, 40)), made(plans[1:2], spatial=(40, 40, 40), planes=93))
    assert grids_of(open_volume(path))[0].step[0] > 40


def test_fidelity_of_a_known_offset(folder, capsys, tmp_path):
    brighter = store(tmp_path / "brighter.zarr", texture() + 3)
    told = answer(capsys, "fidelity", brighter, folder / "clean.zarr")
    assert told["mean_absolute"]["value"] == pytest.approx(3, abs=1e-4)
    assert told["pearson"]["value"] == pytest.approx(1, abs=1e-6)


def test_a_picture_that_is_there_is_kept_unless_told(folder, capsys, tmp_path):
    plot = tmp_path / "profile.png"
    plot.write_text("a photo")
    words = ["seams", folder / "seamed.zarr", "--step", "16,16,16", "--plot", plot]
    assert "profile.png exists: add --overwrite" in refused(capsys, *words)
    assert plot.read_text() == "a photo"
    answer(capsys, *words, "--overwrite")
    with Image.open(plot) as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize("threshold", ["0.1", "0.5", "0.99999", "1.0"])
def test_a_mask_overlaps_itself_wholly_at_every_threshold(folder, capsys, threshold):
    told = answer(capsys, "overlap", folder / "mask.zarr", folder / "mask.zarr", "--threshold", threshold)
    assert told["iou"]["value"] == told["dice"]["value"] == told["objects"]["0.5"]["f1"]["value"] == 1


@pytest.mark.parametrize("threshold", [0.1, 0.3337, 0.73, 1.0])
def test_overlap_is_told_at_the_threshold_that_is_told(folder, capsys, threshold):
    told = answer(capsys, "overlap", folder / "chance.zarr", folder / "mask.zarr", "--threshold", threshold)
    chance, mask = (open_volume(folder / name).read(Box.of((48, 64, 80)))[0] for name in ("chance.zarr", "mask.zarr"))
    chosen = chance.astype(np.float64) >= told["threshold"]
    assert told["threshold"] == threshold
    assert told["iou"]["value"] == pytest.approx((chosen & (mask > 0)).sum() / (chosen | (mask > 0)).sum(), rel=1e-12)


def test_overlap_of_known_masks(folder, capsys):
    told = answer(capsys, "overlap", folder / "chance.zarr", folder / "mask.zarr", "--threshold", "best")
    assert told["iou"]["value"] == pytest.approx(1, abs=1e-2)
    assert told["auprc"]["value"] == pytest.approx(1, abs=1e-3)
    assert told["threshold"] == pytest.approx(0.5, abs=1e-2)
    assert told["objects"]["0.5"]["f1"]["value"] > 0.9
    assert told["count"]["predicted"] == pytest.approx(told["count"]["true"], rel=0.05)
    assert told["instances"] == "components"
    half = answer(capsys, "overlap", folder / "chance.zarr", folder / "mask.zarr", "--threshold", "0.9")
    assert half["iou"]["value"] < 0.5


def test_objects_are_parted_and_counted(folder, capsys):
    at = np.indices((20, 30, 50))
    inside = [
        sum((a - c) ** 2 for a, c in zip(at, centre, strict=True)) < 81 for centre in ((10, 15, 15), (10, 15, 29))
    ]
    store(folder / "balls.zarr", np.logical_or(*inside).astype(np.uint8))
    words = ["overlap", folder / "balls.zarr", folder / "balls.zarr", "--instances", "watershed"]
    told = answer(capsys, *words)
    assert (told["count"]["true"], told["count"]["error"]["value"], told["instances"]) == (2, 0, "watershed, depth 2")
    assert told["objects"]["0.75"]["f1"]["value"] == told["objects"]["0.5"]["average precision"]["value"] == 1
    assert answer(capsys, *words, "--depth", "6", "--least", "9")["count"]["true"] == 1
    assert answer(capsys, *words, "--least", "99999")["count"]["error"]["value"] is None


def test_distances_lie_between_floor_and_ceiling(folder):
    source, output, target = (open_volume(folder / name) for name in ("seamed.zarr", "clean.zarr", "clean.zarr"))
    torch.manual_seed(0)
    by = Ruler(name="random", network=Encoder((4, 8)), grey=grey_map(target))
    told = evaluate_distance(source, output, target, by, Cutting(count=120, size=16), resamples=10)
    for name in ("fid", "kid"):
        assert told[name]["value"] < told[name]["ceiling"]
        assert told[name]["interval"]["low"] < told[name]["interval"]["high"]
    assert told["fid"]["gap closed"] > 0.8
    assert "120 patches" in told["fid"]["sample size"]
    json.dumps(told, allow_nan=False)


def test_distance_by_a_stored_encoder(folder, capsys):
    lesson = Lesson(widths=(4, 8), crop=16, pool=32, batch=4, steps=4)
    save_encoder(folder / "ruler", train_encoder(open_volume(folder / "clean.zarr"), lesson))
    volumes = [folder / name for name in ("seamed.zarr", "clean.zarr", "clean.zarr")]
    words = ["--features", folder / "ruler", "--patches", "60", "--size", "16", "--resamples", "10"]
    told = answer(capsys, "distance", *volumes, *words)
    assert told["features"].startswith("encoder ")
    assert told["patches"] == 60
    assert told["fid"]["value"] < told["fid"]["ceiling"]
    (without,) = [answer(capsys, "distance", *volumes, *words[:-1], "0")]
    assert without["kid"]["interval"] is None
    assert "cut more" in refused(capsys, "distance", *volumes, *words, "--patches", "4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seams", "clean.zarr"], "does not say how it was tiled"),
        (["seams", "clean.zarr", "--origin", "1,1,1"], "need --step"),
        (["seams", "clean.zarr", "--step", "16,16"], "three whole numbers"),
        (["seams", "clean.zarr", "--step", "16,16,1.5"], "three whole numbers"),
        (["seams", "clean.zarr", "--step", "16,0,16"], "at least 1"),
        (["seams", "clean.zarr", "--blind", "--step", "16,16,16"], "blind"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--source", "small.zarr"], "name the volume"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--plot", "a.pdf"], ".png"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--plot", "no/such/a.png"], "another place"),
        (["seams", "nothing.zarr"], "nothing.zarr"),
        (["fidelity", "clean.zarr", "small.zarr"], "one shape"),
        (["overlap", "chance.zarr", "empty.zarr"], "empty"),
        (["overlap", "chance.zarr", "small.zarr"], "one shape"),
        (["overlap", "chance.zarr", "mask.zarr", "--threshold", "2"], "no probability"),
        (["overlap", "chance.zarr", "mask.zarr", "--threshold", "much"], "not numbers"),
        (["overlap", "chance.zarr", "mask.zarr", "--depth", "2"], "add --instances watershed"),
        (["overlap", "chance.zarr", "mask.zarr", "--instances", "watershed", "--depth", "0"], "depth <= reach"),
        (["overlap", "chance.zarr", "mask.zarr", "--least", "0"], "use 1 or above"),
        (["overlap", "clean.zarr", "mask.zarr"], "no probabilities"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--features", "nowhere"], "no encoder"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["colours", "clean.zarr"], "colours"),
    ],
)
def test_mistakes_are_one_line(words, said, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert said in refused(capsys, *words)
