"""Studies of circles: images are planes, test images are others, and one strategy is compared in several settings."""

import numpy as np
import pytest
import yaml

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.phantoms import Circles, Picture
from vol2vol.report.rows.rows import read_rows
from vol2vol.study import load_study, run_study
from vol2vol.study.circle_images import circles_origin
from vol2vol.study.domain_settings import CirclesPhantom
from vol2vol.volumes import open_volume

SMALL = {"shape": [48, 56], "diameter": 12, "count": 6, "noise": "none"}
CIRCLES = Circles.model_validate(SMALL)


def phantom(**how):
    return CirclesPhantom(circles=CIRCLES, images=3, tests=2, **how)


def test_planes_are_the_images_of_the_benchmark():
    for coloured, role in ((False, "source"), (True, "target")):
        origin = circles_origin(phantom(coloured=coloured), "train")
        assert origin.spatial == (3, 48, 56)
        box = Box((1, 5, 7), (3, 40, 50))
        planes = [Picture(CIRCLES, role, z) for z in (1, 2)]
        flat = Box((0, 5, 7), (1, 40, 50))
        expected = [p.coloured(flat) if coloured else p.white(flat) for p in planes]
        np.testing.assert_array_equal(origin.read(box), np.concatenate(expected, axis=1))


def test_images_to_test_on_are_not_trained_on():
    whole = Box((0, 0, 0), (1, 48, 56))
    tested = circles_origin(phantom(), "test").read(whole)
    trained = circles_origin(phantom(), "train")
    assert all((tested != trained.read(whole.shift((z, 0, 0)))).any() for z in range(3))


def test_masks_are_the_numbers_of_the_circles():
    whole = Box((0, 0, 0), (3, 48, 56))
    labels = circles_origin(phantom(), "train", labels=True).read(whole)
    shown = circles_origin(phantom(), "train").read(whole)
    assert labels.shape == (1, 3, 48, 56)
    np.testing.assert_array_equal(labels > 0, shown > 0)
    assert all(labels[0, z].max() == CIRCLES.objects for z in range(3))


def test_spheres_come_in_one_volume():
    spheres = Circles(shape=(12, 16, 16), diameter=6, count=2)
    assert circles_origin(CirclesPhantom(circles=spheres), "test").spatial == (12, 16, 16)
    with pytest.raises(ValueError, match="one volume"):
        CirclesPhantom(circles=spheres, tests=2)


STUDY = {
    "name": "tiny-circles",
    "domains": {
        name: {"phantom": {"circles": SMALL, "coloured": name == "coloured", "images": 3, "tests": 2}}
        for name in ("white", "coloured")
    },
    "pairs": [["white", "coloured"]],
    "baselines": [],
    "in_domain": False,
    "translators": {
        "sati": {
            "recipe": "sati-circles-small",
            "overrides": [
                *("train.epochs=1", "train.steps_per_epoch=1", "data.patch=40", "data.calibration=1"),
                *("task.generator.arguments={width: 2, blocks: 1, norm: calibrated}",),
                *("task.critic.arguments={width: 2, n_layers: 1}",),
            ],
            "checkpoints": "last",
            "strategies": {
                "exact": {},
                "simple": {"strategy": "average", "tile": 40, "halo": 0, "overlap": 0, "statistics": "tile"},
                "disjoint": {"tile": 40},
            },
        }
    },
    "measures": ["circles", "cost"],
    "judging": {"planes": True},
}


def test_strategies_with_names_of_their_own(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    run_study(load_study(path), tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert [(row.strategy, row.reason) for row in rows] == [(name, "") for name in ("exact", "disjoint", "simple")]
    for row in rows:
        with open_volume(tmp_path / "out" / row.volume) as volume:
            settings = volume.attrs["vol2vol"]["settings"]
            assert settings["strategy"] == ("average" if row.strategy == "simple" else row.strategy)
            assert volume.shape == (3, 2, 48, 56)
        assert 0 <= row.values["circles/multi"].value <= row.values["circles/not_1"].value <= 1


@pytest.mark.parametrize(
    ("strategies", "message"),
    [({"simple": {"tile": 32}}, "say which it is with `strategy`"), ({"exact": {"strategy": "average"}}, "another")],
)
def test_names_of_strategies_do_not_mislead(tmp_path, strategies, message):
    changed = {"sati": STUDY["translators"]["sati"] | {"strategies": strategies}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"translators": changed}))
    with pytest.raises(BadInput, match=message):
        load_study(path)
