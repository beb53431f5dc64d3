from io import BytesIO

import matplotlib
import numpy as np
import pytest
from PIL import Image

from vol2vol.report.figures import style


def decode(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)


def test_grey_values_land_on_the_stated_range():
    pixels = np.repeat(np.array([[0.0, 50.0, 100.0, 150.0]]), 4, axis=0)
    shown = decode(style.picture(pixels, limits=(50, 100)))[..., 0]
    assert shown.shape == (400, 400)
    assert [int(shown[200, 50 + 100 * i]) for i in range(4)] == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("rows", "columns", "voxel"), [(10, 20, (8, 8)), (10, 20, (40, 8)), (1, 1, (1, 1)), (3, 701, (1, 1))]
)
def test_pictures_have_the_true_shape(rows, columns, voxel):
    shown = decode(style.picture(np.zeros((rows, columns)), limits=(0, 1), voxel=voxel))
    zoom = max(1, round(400 / columns))
    assert shown.shape[:2] == (round(rows * zoom * voxel[0] / voxel[1]), columns * zoom)


def test_borders_lie_between_the_right_voxels_and_leave_the_middle_free():
    lines = style.Borders(rows=[], columns=[5], colour="#00d5ff", length=0.1)
    shown = decode(style.picture(np.zeros((20, 20)), limits=(0, 1), borders=lines))
    blue = np.argwhere(shown[..., 2] > 120)
    assert set(blue[:, 1]) <= {99, 100}, "20 pixels per voxel, a line before voxel 5"
    assert 200 not in blue[:, 0]
    assert blue[:, 0].min() == 0
    assert blue[:, 0].max() == 399


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_nothing_to_see_is_still_a_picture(value):
    assert decode(style.picture(np.full((5, 5), value), limits=(0.0, 0.0))).max() == 0


def test_scale_bar_is_round_and_at_most_a_quarter():
    bar = style.scale_bar(190, 8.0, "nm")
    assert bar.label == "200 nm"
    assert bar.columns == 25
    assert style.scale_bar(100, 1.0, "").label == "20 voxels"
    assert style.scale_bar(64, 0.004, "um").label == "0.05 um"
    assert style.scale_bar(100, 0.0, "nm") is None
    assert style.scale_bar(100, float("nan"), "nm") is None


def test_scale_bar_is_drawn_as_long_as_it_says():
    bar = style.ScaleBar(columns=50, label="x")
    shown = decode(style.picture(np.zeros((100, 200)), limits=(0, 1), bar=bar))
    white = np.where(shown[190].min(axis=-1) > 200)[0]
    assert abs((white.max() - white.min() + 1) - 50 * 2) <= 2


def test_plots_are_svg_and_leave_no_global_state():
    before = dict(matplotlib.rcParams)
    data = style.plot({"a < b": (np.arange(3), np.array([1, np.nan, 2]))}, x="step", y="loss")
    assert b"<svg" in data
    assert dict(matplotlib.rcParams) == before
    assert "pyplot" not in str(style.__dict__.keys())


def test_colour_bar_runs_from_dark_to_bright():
    strip = decode(style.colour_bar("magma"))
    assert strip.shape == (8, 256, 3)
    assert strip[0, 0].sum() < 20
    assert strip[0, -1].sum() > 600
