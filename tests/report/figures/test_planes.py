import numpy as np
import pytest

from vol2vol.geometry import Box
from vol2vol.plans import Plan, planar
from vol2vol.report.figures import planes
from vol2vol.volumes import open_volume


def test_views_show_the_right_voxels(study):
    volume = open_volume(study / "answer.zarr")
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


def made(*passes, spatial=(40, 100, 100), region=None):
    region = region or {"start": [0, 0, 0], "stop": list(spatial)}
    return {"layout": {"spatial": list(spatial), "region": region, "passes": list(passes)}}


def one(step, planar_axis=None, planes_seen=40):
    if planar_axis is None:
        plan = Plan(tile=(step,) * 3, margin=((0,) * 3,) * 2, step=(step,) * 3, origin=(0,) * 3)
    else:
        plan = planar(Plan(tile=(step,) * 2, margin=((0,) * 2,) * 2, step=(step,) * 2, origin=(0,) * 2), planar_axis)
    return {"plan": plan.to_dict(), "planar": planar_axis, "planes": planes_seen}


def test_borders_of_slices_blocks_and_orthoslices():
    assert planes.borders(made(one(30, 0)), (40, 100, 100)) == ([], [30, 60, 90], [30, 60, 90])
    assert planes.borders(made(one(30)), (40, 100, 100)) == ([30], [30, 60, 90], [30, 60, 90])
    ortho = planes.borders(made(one(50, 0), one(30, 1), one(45, 2)), (40, 100, 100))
    assert ortho == ([30], [45, 50, 90], [30, 50, 60, 90])


def test_borders_of_a_stretched_pass_come_back_to_the_volume():
    assert planes.borders(made(one(60, 1, planes_seen=80)), (40, 100, 100))[0] == [30]


def test_borders_of_a_region_are_counted_from_its_corner():
    region = {"start": [0, 20, 50], "stop": [40, 80, 100]}
    assert planes.borders(made(one(30, 0), region=region), (40, 60, 50)) == ([], [10, 40], [10, 40])


def test_a_volume_of_unknown_origin_has_no_borders():
    assert planes.borders({}, (10, 10, 10)) == ([], [], [])


def test_borders_in_a_crop_are_its_own_rows_and_columns(study):
    volume = open_volume(study / "answer.zarr")
    plane = planes.cut(volume, "xz", Box((4, 30, 20), (24, 31, 80)))
    assert planes.borders_in(plane, ([4, 10], [30], [20, 21, 79, 80])) == ([6], [1, 59])
