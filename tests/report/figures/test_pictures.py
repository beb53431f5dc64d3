import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.report.small_volumes import SHAPE, attributes, plan, save, texture, tiles

from vol2vol.report.figures import pictures
from vol2vol.report.figures.pictures import Output

SEAMS = {"disjoint": (plan(40, 0), 1.0), "exact": (plan(32, 32), 0.0), "average": (plan(40, 8), 0.1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One translation in three strategies, whose seams are as strong as stated."""
    folder, scene = tmp_path_factory.mktemp("pictures ü"), texture(0)
    save(folder / "source.zarr", 60 + scene / 2)
    save(folder / "target.zarr", texture(1, (20, 80, 90)))
    save(folder / "answer.zarr", scene)
    for name, (how, strength) in SEAMS.items():
        values = scene + strength * tiles(how.step[1], SHAPE[1])
        save(folder / f"{name}.zarr", values, attributes(how, period=(32, 32)))
    return folder


@pytest.fixture(scope="module")
def group():
    about = {"model": "flat", "source": "source.zarr", "target": "target.zarr", "answer": "answer.zarr"}
    outputs = [Output(output=f"{name}.zarr", strategy=name, assembly="slices", **about) for name in SEAMS]
    (group, other) = pictures.groups([*outputs, Output(output="exact.zarr", strategy="exact", model="deep")])
    assert other.name == "deep"
    return group


def test_residuals_say_which_strategy_has_seams(folder, group):
    assert [output.strategy for output in group.results] == ["exact", "average", "disjoint"]
    sheet = pictures.residual_sheet([pictures.cuts(folder, group, "xy")])
    titles = [shown.title for shown in sheet.rows[0]]
    assert titles[:3] == ["A: exact", "B: average", "C: disjoint"]
    means = [float(re.search(r"mean ([\d.]+)", shown.caption)[1]) for shown in sheet.rows[0][3:]]
    assert means[1] > 5 * means[0]
    close = pictures.close_up(pictures.cuts(folder, group, "xy"))
    assert re.search(r"relative to elsewhere: average [\d.]+, disjoint [\d.]+$", close.note)
    assert len(close.rows[0]) == 4


def test_compared_images_share_their_grey_range(folder, group):
    sheet = pictures.overview(folder, group.reference, [group])
    assert len(sheet.ranges) == 1
    source, translated, answer, target = (
        np.asarray(Image.open(BytesIO(b64decode(shown.source.partition(",")[2]))).convert("L"), float)
        for shown in sheet.rows[0]
    )
    assert source.std() < 0.7 * answer.std(), "the source's weak contrast stays weak"
    np.testing.assert_allclose(translated, answer, atol=12)
    assert target.shape[0] < source.shape[0]


def test_a_strategy_of_another_package_makes_pictures_too(folder):
    (group,) = pictures.groups([Output(output="answer.zarr", strategy="march")])
    cuts = pictures.cuts(folder, group, "xy")
    assert [shown.title for shown in pictures.residual_sheet([cuts]).rows[0]] == ["A: march"]
    assert pictures.close_up(cuts) is None
