import numpy as np
import pytest
from tests.report.small_volumes import SHAPE, attributes, plan, save, texture

from vol2vol.geometry import Box
from vol2vol.report.figures import planes
from vol2vol.volumes import open_volume


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A volume that was not predicted."""
    path = tmp_path_factory.mktemp("planes") / "answer.zarr"
    save(path, texture(0))
    return open_volume(path)


def test_views_show_the_right_voxels(volume):
    array = volume.read(Box.of(volume.spatial))[0]
    expected = {"xy": array[12], "xz": array[:, 48], "yz": array[:, :, 48]}
    for view, plane in expected.items():
        cut = planes.cut(volume, view, planes.window(volume.spatial, view, planes.middle(volume.spatial)))
        np.testing.assert_array_equal(cut.pixels, plane)
        assert cut.where == {"xy": "z = 12", "xz": "y = 48", "yz": "x = 48"}[view]
        assert cut.voxel_size == {"xy": (8, 8), "xz": (16, 8), "yz": (16, 8)}[view]
        assert cut.unit == "nm"


@pytest.mark.parametrize(("centre", "start"), [((5, 0, 0), (5, 0, 0)), ((5, 99, 50), (5, 70, 35))])
def test_window_stays_inside(centre, start):
    box = planes.window((10, 100, 100), "xy", centre, 30)
    assert box == Box(start, (6, start[1] + 30, start[2] + 30))


def test_a_line_is_no_view():
    assert planes.views((1, 50, 50)) == ["xy"]
    assert planes.views((20, 50, 50)) == ["xy", "xz", "yz"]


def test_a_volume_that_was_not_predicted_has_no_borders(volume, tmp_path):
    assert planes.borders(volume) == ([], [], [])
    assert planes.origin(volume) == (0, 0, 0)
    save(tmp_path / "disjoint.zarr", np.zeros(SHAPE), attributes(plan(40, 0)))
    assert planes.borders(open_volume(tmp_path / "disjoint.zarr")) == ([], [40, 80], [40, 80])


def test_borders_in_a_crop_are_its_own_rows_and_columns(volume):
    plane = planes.cut(volume, "xz", Box((4, 30, 20), (24, 31, 80)))
    assert planes.borders_in(plane, ([4, 10], [30], [20, 21, 79, 80])) == ([6], [1, 59])
