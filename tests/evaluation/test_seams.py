"""Seams of stored volumes: on a grid that the caller names, on the grid of a prediction, and on an unknown grid."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter
from tests.evaluation.stored_volumes import answer, foot, refused, steps, store, texture, tiling
from tests.metrics.seams.seam_textures import decided_rows

from vol2vol.cli import main
from vol2vol.evaluation.seams import evaluate_seams, grids_of
from vol2vol.geometry import Box
from vol2vol.metrics.measures import MEASURES, Subject
from vol2vol.metrics.seams.grid import BETWEEN, Grid
from vol2vol.metrics.seams.phases import holm
from vol2vol.metrics.seams.sentences import seam_sentence
from vol2vol.plans import exact, planar
from vol2vol.volumes import open_volume


def test_seams_on_a_grid_that_the_caller_names(folder, capsys):
    result = answer(capsys, "seams", folder / "seamed.zarr", "--step", "16,16,16")
    (report,) = result["passes"]
    assert report["verdict"] == "seams"
    assert {row["axis"] for row in report["rows"] if row["verdict"] == "seam"} == set("zyx")
    (report,) = answer(capsys, "seams", folder / "clean.zarr", "--step", "16,16,16", "--origin", "3,0,5")["passes"]
    assert not any(row["verdict"] == "seam" for row in report["rows"])
    assert report["grid"]["origin"] == [3, 0, 5]


def test_files_without_a_voxel_size_are_judged_like_others(folder, capsys, tmp_path):
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, open_volume(folder / "seamed.zarr").read(Box.of((48, 64, 80)))[0], photometric="minisblack")
    words = ("seams", plain, "--step", "16,16,16")
    result = answer(capsys, *words, "--voxel-size", "8,8,8", "--unit", "nm")
    assert result["passes"] == answer(capsys, *words)["passes"]
    assert result["passes"] == answer(capsys, "seams", folder / "seamed.zarr", "--step", "16,16,16")["passes"]


def test_seams_as_a_table_with_a_picture(folder, capsys, tmp_path):
    plot = tmp_path / "profile.png"
    words = ["evaluate", "seams", folder / "seamed.zarr", "--step", "16,16,16", "--plot", plot]
    assert main(list(map(str, words))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("Seams: z (")
    assert "SGR: sharp edges" in lines[-2]
    with Image.open(plot) as picture:
        assert picture.size[1] > 800
        assert np.asarray(picture.convert("L")).std() > 5


def test_an_existing_picture_is_kept_without_overwrite(folder, capsys, tmp_path):
    plot = tmp_path / "profile.png"
    plot.write_text("a photo")
    words = ["seams", folder / "seamed.zarr", "--step", "16,16,16", "--plot", plot]
    assert "profile.png exists: add --overwrite" in refused(capsys, *words)
    assert plot.read_text() == "a photo"
    answer(capsys, *words, "--overwrite")
    with Image.open(plot) as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize("window", ["flat", "linear"])
def test_wide_averaged_overlaps_are_detected_if_the_overlap_is_known(tmp_path, capsys, window):
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.standard_normal((192, 48, 48), np.float32), 1.5, mode="wrap")
    share = np.full(16, 0.5) if window == "flat" else (np.arange(16) + 0.5) / 16
    loss = np.ones((4, 48), np.float32)
    loss[1:, :16] = np.hypot(share, 1 - share)
    noise = rng.standard_normal(smooth.shape, np.float32) * loss.reshape(-1, 1, 1)
    path = store(tmp_path / "blended.zarr", smooth / smooth.std() + 0.5 * noise)
    (blind,) = answer(capsys, "seams", path, "--step", "48,48,48")["passes"]
    assert blind["verdict"] != "seams"
    (report,) = answer(capsys, "seams", path, "--step", "48,48,48", "--overlap", "16,0,0")["passes"]
    assert [row["test"] for row in report["rows"] if row["verdict"] == "seam"] == ["HFR"]
    assert report["grid"]["overlap"] == [16, 0, 0]


def test_blind_seams(folder, capsys):
    (report,) = answer(capsys, "seams", folder / "seamed.zarr", "--blind")["passes"]
    assert {row["axis"] for row in report["rows"]} == set("zyx")
    assert report["sentence"].endswith(".")
    assert main(["evaluate", "seams", str(folder / "seamed.zarr"), "--blind"]) == 0
    assert "every 16 from 0  p" in capsys.readouterr().out


def test_the_tiling_of_a_prediction_is_read_from_its_metadata(tmp_path):
    plan = exact(foot(3), (24, 24, 24))
    array = texture((40, 40, 40)) + steps((40, 40, 40), 16, 60)
    path = store(tmp_path / "out.zarr", array, tiling([plan], spatial=(40, 40, 40)))
    volume = open_volume(path)
    assert grids_of(volume) == [Grid(step=plan.step)]
    (report,) = evaluate_seams(volume)
    assert report.grid.step == plan.step
    moved = store(tmp_path / "part.zarr", array[5:, 16:, 1:], tiling([plan], spatial=(40, 40, 40), start=(5, 16, 1)))
    assert grids_of(open_volume(moved))[0].origin == (11, 0, 15)


def test_orthoslices_have_a_grid_per_pass_and_stretched_axes_keep_their_seams(tmp_path):
    plans = [planar(exact(foot(2), (24, 24)), axis) for axis in range(3)]
    step = plans[0].step[1]
    path = store(tmp_path / "out.zarr", texture((40, 40, 40)), tiling(plans, spatial=(40, 40, 40)))
    grids = grids_of(open_volume(path))
    assert [grid.step for grid in grids] == [(1, step, step), (step, 1, step), (step, step, 1)]
    path = store(tmp_path / "thick.zarr", texture((40, 40, 40)), tiling(plans[1:2], spatial=(40, 40, 40), planes=160))
    assert grids_of(open_volume(path))[0].step == (step // 4, 1, step)
    path = store(tmp_path / "odd.zarr", texture((40, 40, 40)), tiling(plans[1:2], spatial=(40, 40, 40), planes=93))
    assert grids_of(open_volume(path))[0].step[0] == BETWEEN
    (report,) = evaluate_seams(open_volume(path))
    assert "z not tested: tiles meet between its planes" in seam_sentence(report)
    wide = planar(exact(foot(2), (104, 104)), 1)
    path = store(tmp_path / "one.zarr", texture((40, 40, 40)), tiling([wide], spatial=(40, 40, 40), planes=93))
    assert not any(axis.tiled for axis in evaluate_seams(open_volume(path))[0].equivalence)
    path = store(tmp_path / "flat.zarr", texture((40, 40, 40)), tiling(plans[:1], spatial=(40, 40, 40), planes=93))
    assert grids_of(open_volume(path))[0].step == (1, step, step)


def test_passes_are_one_family_of_tests(tmp_path):
    plans = [planar(exact(foot(2), (24, 24)), axis) for axis in range(3)]
    path = store(tmp_path / "out.zarr", texture((64, 64, 64)), tiling(plans, spatial=(64, 64, 64)))
    reports = evaluate_seams(open_volume(path))
    rows = [row for report in reports for row in report.rows if row.verdict != "not tested"]
    assert len(rows) == 18
    np.testing.assert_array_equal([row.p_corrected for row in rows], holm(np.array([row.p for row in rows])))


@pytest.mark.parametrize("height", [0, 60])
def test_a_study_keeps_the_p_that_the_verdict_rests_on(tmp_path, height):
    plans = [planar(exact(foot(2), (24, 24)), axis) for axis in range(3)]
    array = texture((64, 64, 64)) + steps((64, 64, 64), plans[0].step[1], height)
    path = store(tmp_path / "out.zarr", array, tiling(plans, spatial=(64, 64, 64)))
    source = store(tmp_path / "source.zarr", texture((64, 64, 64), seed=1))
    volume, reports = open_volume(path), evaluate_seams(open_volume(path), open_volume(source))
    subject = Subject(volume=volume, provide={"source": lambda: open_volume(source), "grids": lambda: grids_of(volume)})
    taken = MEASURES["seams"].take(subject)
    p = [value for name, value in taken.values.items() if name.endswith("/p")]
    assert len(p) == 9
    assert min(p) == min(row.p_corrected for report in reports for row in decided_rows(report))
    assert (min(p) < 0.05) == (taken.notes["verdict"] == "seams") == bool(height)
