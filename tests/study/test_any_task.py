"""Studies train recipes of any task that translates source to target; tasks that need pairs get truths."""

import numpy as np
import pytest
import tifffile
import torch
import yaml

from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.recipes import load_recipe
from vol2vol.report.rows.rows import read_rows
from vol2vol.study import load_study, plan_study, run_study
from vol2vol.study.assets import Assets
from vol2vol.study.directions import direction, learns_pairs
from vol2vol.volumes import open_volume

torch.set_num_threads(1)
SMALL = ["train.epochs=1", "train.steps_per_epoch=1", "data.patch=42", "data.calibration=1"]
DENOISE = ["data.patch=42", "task.network.arguments={levels: 2, width: 2}"]
UNET, CRITIC = "{levels: 2, width: 2}", "{width: 2, n_layers: 1}"
PAIRED = ["data.labels.held_out_patches=1", "task.choice=psnr"]
TRANSLATORS = {
    "unpaired": {
        "recipe": "small-2d",
        "overrides": [
            *SMALL,
            f"task.generator.arguments={UNET}",
            f"task.critic.arguments={CRITIC}",
            "task.ssim_cycle=0",
        ],
    },
    "paired": {"recipe": "small-regress-2d", "overrides": [*SMALL, *PAIRED, f"task.network.arguments={UNET}"]},
    "critic": {
        "recipe": "small-pix2pix-2d",
        "overrides": [*SMALL, *PAIRED, f"task.generator.arguments={UNET}", f"task.critic.arguments={CRITIC}"],
    },
}
STUDY = {
    "name": "any",
    "domains": {
        name: {
            "phantom": {"look": name, "seed": seed, "shape": [20, 64, 64]},
            "parts": {"train": "0:6", "validate": "6:8", "test": "8:20"},
        }
        for name, seed in (("rat", 2), ("human", 3))
    },
    "pairs": [["rat", "human"], ["human", "rat"]],
    "baselines": ["identity"],
    "translators": TRANSLATORS,
    "measures": ["structure", "fidelity", "cycle", "cost"],
    "judging": {"blocks": 4, "cycles": 1},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "any.yaml").write_text(yaml.safe_dump(STUDY))
    return folder / "any.yaml", run_study(folder / "any.yaml", folder / "out")


def test_every_task_is_trained_predicted_and_measured(ran):
    rows = {(row.translator, row.source): row for row in read_rows(ran[1].folder)}
    assert not ran[1].failed
    for name in TRANSLATORS:
        for source in ("rat", "human"):
            row = rows[name, source]
            for value in ("fidelity/psnr", "structure/lncc", "cost/parameters", "cost/train_seconds"):
                assert row.number(value) is not None, (name, value)
            assert (row.number("cycle/psnr") is not None) == (name == "unpaired")
            assert ("has no translation back" in row.notes.get("cycle", "")) == (name != "unpaired")


def test_a_report_shows_all_of_them(ran):
    assert ran[1].report is not None
    text = ran[1].report.read_text(encoding="utf-8")
    assert all(name in text for name in TRANSLATORS)


def test_one_training_serves_both_ways_where_it_has_both(ran):
    folder = ran[1].folder / "runs"
    trainings = {path.relative_to(folder).as_posix() for path in folder.glob("*/*-seed0")}
    assert trainings == {
        "rat-human/unpaired-seed0",
        *(f"{pair}/{name}-seed0" for pair in ("rat-human", "human-rat") for name in ("paired", "critic")),
    }
    assert plan_study(ran[0])["trainings"].keys() == trainings


def test_what_learns_from_pairs_is_given_the_same_tissue_in_both_looks(ran):
    assets = Assets(load_study(ran[0]), ran[1].folder)
    model = assets.translator("paired", 0, ("human", "rat"))
    assert (model.direction, model.back) == ("forward", None)
    volumes = load_bundle(find_bundle(model.path)).meta["provenance"]["volumes"]
    assert [volumes[domain][0]["name"] for domain in ("source", "target")] == ["train.zarr", "train-as-rat.zarr"]
    image, truth = (open_volume(ran[1].folder / "domains/human" / volumes[name][0]["name"]) for name in volumes)
    assert image.shape == truth.shape
    turned = assets.translator("unpaired", 0, ("human", "rat"))
    assert (turned.direction, turned.back) == ("backward", "forward")


@pytest.mark.parametrize(
    ("recipe", "there", "back", "pairs"),
    [
        ("small-2d", "forward", "backward", False),
        ("small-pix2pix-3d", "forward", None, True),
        ("small-denoise-2d", None, None, True),
    ],
)
def test_directions_follow_from_what_a_task_leaves(recipe, there, back, pairs):
    recipe = load_recipe(recipe)
    assert (direction(recipe), direction(recipe, "target", "source")) == (there, back)
    assert learns_pairs(recipe) == pairs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"recipe": "small-denoise-2d", "overrides": DENOISE},
            "translators.paired: task denoise makes source from source, but a translator makes target from source: ",
        ),
        (
            {"overrides": [*SMALL, "task.sources=[source, dapi]", f"task.network.arguments={UNET}"]},
            "translators.paired: task regress needs domain dapi, but a study has only source and target",
        ),
    ],
)
def test_recipes_that_make_no_target_are_refused(changes, message, tmp_path, capsys):
    about = {**TRANSLATORS["paired"], **changes}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "translators": {"paired": about}}))
    assert main(["study", str(file), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"vol2vol: {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("truths", "message"),
    [
        (
            {},
            "task regress is trained on pairs: give domains.a.truths.b, a volume of the tissue of a",
        ),
        ({"b": "b.tif"}, r"domains.a.truths.b has \(4, 60, 60\) voxels, the part train has \(4, 50, 50\): crop one"),
    ],
)
def test_files_need_truths_of_the_same_shape(truths, message, tmp_path):
    random = np.random.default_rng(0)
    for name, side in (("a", 60), ("b", 60), ("small", 50)):
        image = random.integers(0, 255, (4, side, side), dtype=np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="minisblack")
    size = {"voxel_size": [8, 8, 8], "unit": "nm", "parts": {"train": {"image": "small.tif"}}}
    domains = {"a": {"image": "a.tif", "truths": truths, **size}, "b": {"image": "b.tif", **size}}
    study = {**STUDY, "domains": domains, "pairs": [["a", "b"]], "translators": {"paired": TRANSLATORS["paired"]}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(BadInput, match=message):
        plan_study(tmp_path / "study.yaml", data=tmp_path)
