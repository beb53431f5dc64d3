"""`evaluate circles`: shares with intervals, rows with places relative to tiles, from files and their records."""

import csv
import json

import numpy as np
import pytest
from tests.metrics.objects.coloured_images import coloured_by_tile
from tests.plans.made_records import layout, record

from vol2vol import evaluate_circles, open_volume, write_circles
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.evaluation.circles import near_borders
from vol2vol.evaluation.compare import evaluate_measure
from vol2vol.geometry import Box
from vol2vol.metrics.measures import Subject
from vol2vol.metrics.measures.circles import CIRCLES
from vol2vol.metrics.measures.settings import Judging
from vol2vol.metrics.measures.shortcut import SHORTCUT
from vol2vol.metrics.objects.colours import coloured_objects
from vol2vol.metrics.seams.grid import Grid
from vol2vol.phantoms import Circles
from vol2vol.plans import Plan
from vol2vol.study.settings import ALL
from vol2vol.volumes import create_volume

HOW = Circles(shape=(256, 320), diameter=20, noise="none")
GRID = Grid(step=(1, 64, 64))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Four images with their labels, and what tiles of 64 that do not agree would make of them."""
    folder = tmp_path_factory.mktemp("bench")
    paths = write_circles(folder, HOW, images=4, tests=0)
    paths["tiled"] = []
    rng = np.random.default_rng(0)
    for path in paths["target-labels"]:
        labels = open_volume(path).read(Box.of(HOW.spatial))[0]
        made = folder / "tiled" / path.name
        with create_volume(made, shape=(3, *HOW.spatial), dtype=np.uint8, voxel_size=(1, 1, 1), unit="") as volume:
            volume.write(Box.of(HOW.spatial), coloured_by_tile(labels, 64, rng))
        paths["tiled"].append(made)
    return paths


def opened(paths):
    return [open_volume(path) for path in paths]


def test_truth_scores_zero_and_disagreeing_tiles_do_not(bench):
    labels = opened(bench["target-labels"])
    truth = evaluate_circles(opened(bench["target"]), labels)
    assert truth["multi"]["value"] == truth["not-1"]["value"] == 0
    assert "by place" not in truth
    tiled = evaluate_circles(opened(bench["tiled"]), labels, grid=GRID)
    assert tiled["multi"]["low"] < tiled["multi"]["value"] < tiled["multi"]["high"]
    assert tiled["multi"]["blocks"] == 4
    assert tiled["by place"]["elsewhere"]["multi"] == 0
    cut = tiled["by place"]["cut by a tile border"]
    assert cut["multi"] == pytest.approx(0.5, abs=0.2)  # 2/3, less slivers; about 100 circles
    numbers = tiled["circles by number of colours"]
    errors = sum(count for number, count in numbers.items() if int(number) > 1)
    assert tiled["multi"]["value"] == pytest.approx(errors / tiled["circles"]["judged"])
    assert tiled["measured"]["least"] == 7


def test_rows_have_a_place_and_the_same_in_both_formats(bench, tmp_path):
    for name in ("rows.csv", "rows.json"):
        evaluate_circles(opened(bench["tiled"]), opened(bench["target-labels"]), grid=GRID, rows=tmp_path / name)
    rows = json.loads((tmp_path / "rows.json").read_text())
    with (tmp_path / "rows.csv").open() as file:
        table = list(csv.DictReader(file))
    as_text = [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    assert as_text == table
    assert len(rows) == 4 * HOW.objects
    assert all(row["cut by tile border"] for row in rows if row["colours"] > 1)
    for row in rows:
        distance = min(abs(row[axis] - p + 0.5) for axis, n in (("y", 256), ("x", 320)) for p in range(64, n, 64))
        assert row["from tile border"] == pytest.approx(distance, abs=1e-3)
        if not row["at image border"]:
            assert row["cut by tile border"] == (distance < 9.5 or (row["cut by tile border"] and distance < 10))


def test_a_border_cuts_what_has_voxels_on_both_sides():
    labels = np.zeros((1, 20, 30), np.uint8)
    labels[0, 4:9, 5:10], labels[0, 4:9, 10:15], labels[0, 12:16, 8:12] = 1, 2, 3
    image = coloured_objects(open_volume(labels[None], axes="czyx"), open_volume(labels[None], axes="czyx"))
    distance, crosses = near_borders(image, [Grid(step=(1, 20, 10), origin=(0, 0, 0))])
    assert crosses.tolist() == [False, False, True]
    assert distance.tolist() == [2.5, 2.5, 0.0]
    distance, crosses = near_borders(image, [Grid(step=(1, 20, 30)), Grid(step=(1, 7, 1000))])
    assert crosses.tolist() == [True, True, True]
    nowhere = near_borders(image, [Grid(step=(1, 20, 30))])
    assert np.isinf(nowhere[0]).all()
    assert not nowhere[1].any()


def test_tiles_are_read_from_the_record(bench, tmp_path):
    path = tmp_path / "predicted.zarr"
    plan = Plan(tile=(1, 64, 64), margin=((0, 0, 0), (0, 0, 0)), step=(1, 64, 64), origin=(0, 0, 0))
    made = record(layout([plan], HOW.spatial)).attributes()
    with create_volume(
        path, shape=(3, *HOW.spatial), dtype=np.uint8, voxel_size=(1, 1, 1), unit="", attrs=made
    ) as volume:
        volume.write(Box.of(HOW.spatial), opened(bench["tiled"])[0].read(Box.of(HOW.spatial)))
    labels = opened(bench["target-labels"][:1])
    stated = evaluate_circles(opened(bench["tiled"][:1]), labels, grid=GRID)
    assert evaluate_circles(opened([path]), labels) == stated


def test_the_verb_says_the_same_as_the_function(bench, tmp_path, capsys):
    folder = bench["tiled"][0].parent
    words = [f"{folder}/*", "--labels", f"{folder.parent}/target-labels/*", "--step", "1,64,64", "--json"]
    assert main(["evaluate", "circles", *words, "--rows", str(tmp_path / "rows.csv")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == evaluate_circles(opened(bench["tiled"]), opened(bench["target-labels"]), grid=GRID)
    assert main(["evaluate", "circles", *words, "--inner", "--least", "200", "--margin", "0"]) == 0
    fewer = json.loads(capsys.readouterr().out)
    assert fewer["circles"]["judged"] < told["circles"]["judged"]
    assert fewer["measured"]["least"] == 200


def test_mistakes_are_one_line(bench, tmp_path):
    outputs, labels = opened(bench["target"]), opened(bench["target-labels"])
    with pytest.raises(BadInput, match="4 outputs and 3 label images"):
        evaluate_circles(outputs, labels[:3])
    with pytest.raises(BadInput, match=r"rows\.txt.*\.csv or \.json"):
        evaluate_circles(outputs, labels, rows=tmp_path / "rows.txt")
    empty = open_volume(np.zeros((1, *HOW.spatial), np.uint8), axes="czyx")
    with pytest.raises(BadInput, match="no circle that can show a colour"):
        evaluate_circles(outputs[:1], [empty])


def _by_centre(labels, rule):
    """Return an image whose circles have the colour that `rule` makes of their rounded centre (y, x)."""
    image = np.zeros((3, *labels.shape), np.uint8)
    for label in np.unique(labels)[1:]:
        at = np.argwhere(labels == label)
        image[rule(*np.rint(at.mean(0)).astype(int)[1:])][labels == label] = 255
    return open_volume(image, axes="czyx")


def test_colours_that_are_read_off_the_lattice_are_seen(bench):
    labels = opened(bench["target-labels"])
    arrays = [one.read(Box.of(HOW.spatial))[0] for one in labels]
    read_off = [_by_centre(array, lambda y, x: (y % 2 + x % 2) % 3) for array in arrays]
    found = evaluate_circles(read_off, labels, period=(1, 2, 2))["colour by place"]
    assert found["colours predicted"]["value"] == 1
    assert found["p"] == 0.001
    assert found["bits"] == pytest.approx(found["most bits"], abs=0.02)
    assert found["most frequent colour"]["value"] < 0.7
    chance = evaluate_circles(opened(bench["target"]), labels, period=(1, 2, 2))["colour by place"]
    assert chance["p"] > 0.01
    assert abs(chance["bits"]) < 0.05
    assert "colour by place" not in evaluate_circles(read_off, labels)
    blank = [open_volume(np.zeros((3, *HOW.spatial), np.uint8), axes="czyx") for _ in labels]
    nothing = evaluate_circles(blank, labels, period=(1, 2, 2))
    assert nothing["colour by place"] == {"period": [1, 2, 2], "circles": 0}
    assert nothing["not-1"]["value"] == 1


def test_place_is_taken_from_the_start_of_the_tile(bench):
    """Tiles of 25 start off a lattice of 2; a generator that reads its own lattice is seen nevertheless."""
    labels = opened(bench["target-labels"])
    arrays = [one.read(Box.of(HOW.spatial))[0] for one in labels]
    outputs = [_by_centre(array, lambda y, x: (y - 3) % 25 % 2 + (x - 8) % 25 % 2) for array in arrays]
    grid = Grid(step=(1, 25, 25), origin=(0, 3, 8), period=(1, 2, 2))
    assert evaluate_circles(outputs, labels, grid=grid)["colour by place"]["colours predicted"]["value"] == 1
    whole = evaluate_circles(outputs, labels, period=(1, 2, 2))["colour by place"]
    assert whole["colours predicted"]["value"] < 0.8
    box = Box.of(HOW.spatial)
    stacks = [open_volume(np.concatenate([v.read(box) for v in vs], 1), axes="czyx") for vs in (outputs, labels)]
    provide = {"mask": lambda: stacks[1], "grids": lambda: [grid]}
    taken = SHORTCUT.take(Subject(volume=stacks[0], judging=Judging(planes=True), provide=provide)).values
    assert taken["predicted"].value == 1
    assert len(taken["predicted"].sums) == 4
    assert taken["p"] == 0.001
    with pytest.raises(BadInput, match="no stride"):
        SHORTCUT.take(Subject(volume=stacks[0], provide={**provide, "grids": lambda: [GRID]}))


def test_planes_of_a_stack_are_images_of_their_own(bench, tmp_path, caplog):
    arrays = {
        name: [one.read(Box.of(HOW.spatial)) for one in opened(bench[name])] for name in ("tiled", "target-labels")
    }
    stack, labels = (open_volume(np.concatenate(arrays[name], axis=1), axes="czyx") for name in arrays)
    rows = tmp_path / "rows.json"
    found = evaluate_circles([stack], [labels], grid=GRID, planes=True, rows=rows)
    assert found == evaluate_circles(opened(bench["tiled"]), opened(bench["target-labels"]), grid=GRID)
    assert [row["image"].rpartition(", ")[2] for row in json.loads(rows.read_text())][:: HOW.objects] == [
        "z = 0", "z = 1", "z = 2", "z = 3"
    ]  # fmt: skip
    assert not caplog.records
    taken = CIRCLES.take(Subject(volume=stack, judging=Judging(planes=True), provide={"mask": lambda: labels})).values
    assert taken["multi"].value == found["multi"]["value"]
    assert taken["not_1"].interval().high == found["not-1"]["high"]


def test_the_measure_keeps_sums_per_block(bench):
    output, labels = opened(bench["tiled"])[0], opened(bench["target-labels"])[0]
    found = evaluate_circles([output], [labels])
    for block, count in (((1, 64, 64), 20), (None, 1)):
        multi = CIRCLES.take(Subject(volume=output, block=block, provide={"mask": lambda: labels})).values["multi"]
        assert multi.value == pytest.approx(found["multi"]["value"])
        assert len(multi.sums) == count
    listed = evaluate_measure("circles", output, {"mask": labels}, block=(1, 64, 64))
    assert listed["multi"]["value"] == pytest.approx(found["multi"]["value"])
    assert "circles" not in ALL


def test_a_stack_is_not_taken_for_a_volume(tmp_path, capsys):
    paths = write_circles(tmp_path, HOW, images=3, tests=0, stack=True)
    words = [str(paths[name][0]) for name in ("target", "target-labels")]
    assert main(["evaluate", "circles", words[0], "--labels", words[1]]) == 2
    assert "target-labels.zarr holds an image in each plane: set --planes" in capsys.readouterr().err
    assert main(["evaluate", "circles", words[0], "--labels", words[1], "--planes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
