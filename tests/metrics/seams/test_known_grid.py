"""Seam tests on a known grid: formulae by hand, false alarms, and every kind of seam at a detectable size."""

import json

import numpy as np
import pytest
from tests.metrics.seams.seam_textures import decided_rows, joined, offsets, sectioned, texture, translated

from vol2vol import plans
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.metrics.seams.grid import BETWEEN, Grid
from vol2vol.metrics.seams.known_grid import seam_tests
from vol2vol.volumes import create_volume

SMALL = (96, 96, 64)
GRID = Grid(step=(24, 24, 24))
AVERAGED = Grid(step=(24, 24, 24), overlap=(6, 6, 6))


def test_gradient_ratio_is_its_formula():
    rng = np.random.default_rng(0)
    y = texture(rng, (60, 48, 40))
    row = seam_tests(y, Grid(step=(20, 24, 20), origin=(0, 0, 0)), guard=5).row("z", "SGR")
    t = []
    for p in (20, 40):
        for b in (0, 24):
            for c in (0, 20):
                jump = np.abs(np.diff(y, axis=0))[:, b : b + 24, c : c + 20].mean((1, 2))
                controls = [jump[q - 1] for q in range(p - 10, p + 10) if abs(q - p) >= 5 and q > 0]
                t.append(np.log(jump[p - 1]) - np.log(controls).mean())
    assert row.statistic == pytest.approx(np.exp(np.mean(t)), rel=1e-5)
    assert (row.planes, row.faces, row.controls) == (2, 8, 11)
    assert row.low < row.statistic < row.high
    assert len(row.profile) == 20
    assert row.profile[0] == pytest.approx(row.statistic, abs=0.02)


def test_face_jump_energy_is_its_formula():
    """The planes beside are no help in white noise summed along the axis: first differences are white."""
    rng = np.random.default_rng(1)
    y = np.cumsum(rng.standard_normal((80, 64, 64)), axis=0) + 0.5 * (np.arange(80) >= 40)[:, None, None]
    row = seam_tests(y, Grid(step=(20, 16, 16)), guard=5).row("z", "SJE")
    faces = y.reshape(80, 4, 16, 4, 16).mean((2, 4)).reshape(80, 16)
    energy = np.diff(faces, axis=0, prepend=np.nan) ** 2
    energy /= np.nanmean(energy[10:70], axis=0)
    others = [np.mean([energy[p + o] for p in (20, 40, 60)]) for o in range(-10, 10) if abs(o) >= 5]
    assert row.statistic == pytest.approx(energy[[20, 40, 60]].mean() / np.median(others), rel=0.1)
    assert row.faces == 48


def test_band_ratio_is_the_loss_of_variance():
    """Averaging two halves the variance; the 3 x 3 x 3 mean takes 1/27 of it and looks one voxel beyond the band."""
    rng = np.random.default_rng(2)
    y = joined(rng, (120, 64, 64), 40, 12, "flat")
    row = seam_tests(y, Grid(step=(40, 64, 64), overlap=(12, 0, 0))).row("z", "HFR")
    assert row.statistic == pytest.approx(0.5, rel=0.03)
    assert row.verdict == "seam"


@pytest.mark.parametrize("kind", ["smooth", "rough", "skewed", "uint8", "translated", "overlapping"])
def test_false_alarms_are_five_in_a_hundred(kind):
    rng = np.random.default_rng(3)
    p, families = [], []
    for _ in range(24):
        y = texture(rng, SMALL, 0.6 if kind == "rough" else 1.5, skewed=kind == "skewed")
        x = y if kind == "translated" else None
        y = translated(rng, x) if kind == "translated" else y
        y = np.clip(128 + 20 * y, 0, 255).astype(np.uint8) if kind == "uint8" else y
        report = seam_tests(y, AVERAGED if kind == "overlapping" else GRID, source=x)
        p += [row.p for row in decided_rows(report)]
        families.append(report.verdict == "seams")
    assert len(p) == 24 * 9
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.09
    assert np.mean(families) < 0.2


def test_intervals_cover_where_whole_planes_differ():
    rng = np.random.default_rng(4)
    inside, below = [], []
    for _ in range(16):
        rows = decided_rows(seam_tests(sectioned(rng, texture(rng, SMALL)), GRID))
        inside += [row.low < 1 < row.high for row in rows]
        below += [row.p < 0.05 for row in rows if row.test != "SJE"]
    assert len(inside) == 16 * 9
    assert 0.9 < np.mean(inside) < 0.995
    assert np.mean(below) < 0.1


def test_the_interval_leaves_out_1_where_p_is_small():
    rng = np.random.default_rng(17)
    for shift in (0.0, 0.02, 0.1):
        for row in seam_tests(texture(rng, SMALL) + shift * offsets(rng, SMALL, 24), GRID).rows:
            assert row.low < row.statistic < row.high
            if not 0.02 < row.p < 0.1:
                assert (row.low < 1 < row.high) == (row.p > 0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_step_of_a_fiftieth_of_the_deviation_is_found_on_every_axis(dtype):
    rng = np.random.default_rng(5)
    y = texture(rng, SMALL) + 0.02 * offsets(rng, SMALL, 24)
    y = np.clip(128 + 40 * y, 0, 255).astype(np.uint8) if dtype == np.uint8 else y
    report = seam_tests(y, GRID)
    assert [row.verdict for row in report.rows if row.test == "SJE"] == ["seam"] * 3
    assert all(row.statistic > 3 for row in report.rows if row.test == "SJE")
    assert report.verdict == "seams"
    assert "seam" not in {row.verdict for row in report.rows if row.test != "SJE"}


def test_the_grid_of_the_offsets_is_the_one_that_shows_them():
    rng = np.random.default_rng(6)
    y = texture(rng, SMALL) + 0.05 * offsets(rng, SMALL, 24, origin=(7, 3, 5))
    assert seam_tests(y, Grid(step=(24, 24, 24), origin=(7, 3, 5))).verdict == "seams"
    away = seam_tests(y, Grid(step=(24, 24, 24), origin=(19, 15, 17)))
    assert all(row.z < 0 for row in away.rows if row.test == "SJE")


def test_the_source_makes_small_steps_visible():
    rng = np.random.default_rng(7)
    x = texture(rng, SMALL, 0.6)
    y = translated(rng, x, 0.6) + 0.03 * offsets(rng, SMALL, 24)
    alone, with_source = (seam_tests(y, GRID, source=source) for source in (None, x))
    for axis in "zyx":
        assert with_source.row(axis, "SJE").z > alone.row(axis, "SJE").z
    assert with_source.verdict == "seams"
    inverted = seam_tests(y, GRID, source=-3 * x + 100)
    assert inverted.row("z", "SJE").z == pytest.approx(with_source.row("z", "SJE").z, rel=0.1)


def test_sharp_edges_raise_the_gradient_ratio_and_smoothing_lowers_it():
    rng = np.random.default_rng(8)
    y = texture(rng, SMALL)
    sharp = y.copy()
    for p in (24, 48, 72):
        sharp[p] += 0.5 * texture(rng, SMALL[1:], 1.5)
    row = seam_tests(sharp, GRID).row("z", "SGR")
    assert row.statistic > 1.03
    assert row.verdict == "seam"
    soft = y.copy()
    for p in (24, 48, 72):
        soft[p - 1 : p + 1] = 0.5 * y[p - 1 : p + 1] + 0.25 * (y[p - 2 : p] + y[p : p + 2])
    row = seam_tests(soft, GRID).row("z", "SGR")
    assert row.statistic < 0.97
    assert row.verdict == "seam"


@pytest.mark.parametrize("window", ["flat", "linear"])
@pytest.mark.parametrize("known", [True, False])
def test_averaged_and_blended_overlaps_lack_detail(window, known):
    rng = np.random.default_rng(9)
    y = texture(rng, SMALL) + 0.5 * joined(rng, SMALL, 24, 6, window)
    report = seam_tests(y, AVERAGED if known else GRID)
    for axis in "zyx":
        row = report.row(axis, "HFR")
        assert row.statistic < 0.97
        assert row.verdict == "seam"
        assert row.z < -3
        assert report.row(axis, "SJE").verdict == "none found"


def test_stripes_of_the_source_are_not_blamed_on_the_stitching():
    rng = np.random.default_rng(10)
    x = texture(rng, SMALL)
    for p in (24, 48, 72):
        x[p] += texture(rng, SMALL[1:], 1.5)
    y = np.tanh(0.3 * x) + 0.05 * texture(rng, SMALL)
    report = seam_tests(y, GRID, source=x)
    row = report.row("z", "SGR")
    assert row.p_corrected < 1e-3
    assert row.source_p < 1e-3
    assert row.verdict == "in the source too"
    assert seam_tests(y, GRID).row("z", "SGR").verdict == "seam"


def test_a_plan_is_a_grid():
    plan = plans.Plan(tile=(40, 40, 40), margin=((4, 4, 4), (4, 4, 4)), step=(24, 24, 24), origin=(0, 0, 0))
    assert Grid.of(plan) == Grid(step=(24, 24, 24), overlap=(8, 8, 8))
    for axis in range(3):
        assert Grid.of(plan).borders(100, axis).tolist() == plan.borders((100, 100, 100), axis)
    flat = plans.Plan(tile=(40, 40), margin=((0, 0), (0, 0)), step=(40, 40), origin=(0, -8))
    assert Grid.of(flat) == Grid.of(plans.planar(flat, 0)) == Grid(step=(1, 40, 40), origin=(0, 0, -8))
    assert Grid.of(flat).borders(100, 2).tolist() == flat.borders((100, 100), 1) == [32, 72]


def test_slices_predicted_one_by_one_are_tested_in_plane():
    rng = np.random.default_rng(12)
    plan = plans.planar(plans.Plan(tile=(24, 24), margin=((0, 0), (0, 0)), step=(24, 24), origin=(0, 0)), 0)
    y = texture(rng, SMALL, 0.6) + 0.2 * offsets(rng, SMALL, 24)
    report = seam_tests(y, plan)
    assert {row.verdict for row in report.rows if row.axis == "z"} == {"not tested"}
    assert "every plane is a tile" in report.row("z", "SGR").reason
    assert report.equivalence[0].seam_free == "not tested"
    assert report.row("y", "SJE").verdict == report.row("x", "SJE").verdict == "seam"


def test_an_image_has_two_axes():
    rng = np.random.default_rng(13)
    y = texture(rng, (400, 400))
    for image in (y, y[None], y[None, None]):
        report = seam_tests(image, Grid(step=(1, 50, 50)))
        assert len(decided_rows(report)) == 6
        assert report.verdict in ("undecided", "seam-free within 1 %")
    assert seam_tests(y + 0.3 * offsets(rng, (1, 400, 400), 50)[0], Grid(step=(1, 50, 50))).verdict == "seams"


def test_channels_of_any_scale_are_pooled():
    rng = np.random.default_rng(14)
    shift = 0.02 * offsets(rng, SMALL, 24)
    y = np.stack([1000 * (texture(rng, SMALL) + shift), 0.01 * texture(rng, SMALL)])
    both = seam_tests(y, GRID)
    assert both.row("z", "SGR").faces == 2 * seam_tests(y[0], GRID).row("z", "SGR").faces
    assert both.row("z", "SJE").verdict == "seam"
    assert seam_tests(y[1], GRID).verdict != "seams"
    assert len(decided_rows(seam_tests(y, GRID, source=y[:1]))) == 9


@pytest.mark.parametrize("array", [np.zeros(SMALL, np.uint8), np.full(SMALL, 7.5)])
def test_a_constant_volume_has_nothing_to_test(array):
    report = seam_tests(array, GRID)
    assert report.verdict == "not tested"
    assert all("varying" in row.reason for row in report.rows)


def test_padding_is_left_out():
    rng = np.random.default_rng(15)
    y = np.zeros((96, 96, 96), np.float32)
    y[:, :, :48] = 3 + texture(rng, (96, 96, 48))
    padded, bare = seam_tests(y, GRID), seam_tests(y[:, :, :48], GRID)
    assert padded.row("z", "SGR").faces == bare.row("z", "SGR").faces
    assert padded.row("z", "SGR").statistic == pytest.approx(bare.row("z", "SGR").statistic, rel=1e-3)
    assert padded.row("z", "SGR").verdict == "none found"


@pytest.mark.parametrize(
    ("shape", "step", "reason"),
    [
        ((40, 96, 96), 24, "1 seams on 40 voxels"),
        ((1, 96, 96), 24, "0 seams on 1 voxels"),
        ((40, 96, 96), 6, "tiles of 6 voxels"),
        ((2, 2, 2), 1, "every plane"),
        ((40, 96, 96), BETWEEN, "tiles meet between its planes"),
    ],
)
def test_what_cannot_be_tested_says_why(shape, step, reason):
    report = seam_tests(np.random.default_rng(0).random(shape), Grid(step=(step,) * 3))
    assert report.row("z", "SGR").verdict == "not tested"
    assert report.row("z", "SGR").reason.startswith(reason)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 31])
@pytest.mark.parametrize("step", [1, 7, 8, 11, 16])
@pytest.mark.parametrize("overlap", [0, 3, 40])
def test_odd_sizes_do_no_harm(size, step, overlap):
    y = np.random.default_rng(0).integers(-5, 5, (size, 33, 29)).astype(np.int16)
    report = seam_tests(y, Grid(step=(step,) * 3, origin=(-5, 40, 2), overlap=(overlap,) * 3), source=y[None])
    assert len(report.rows) == 9
    json.dumps(report.to_dict(), allow_nan=False)


def test_mistakes_are_named():
    y = np.zeros((2, 20, 20, 20))
    for source, message in ((y[:, 1:], "19, 20, 20"), (np.zeros((3, 20, 20, 20)), "3 channels")):
        with pytest.raises(BadInput, match=message):
            seam_tests(y, GRID, source=source)
    with pytest.raises(BadInput, match="guard 0"):
        seam_tests(y, GRID, guard=0)
    with pytest.raises(BadInput, match="NaN"):
        seam_tests(np.where(np.arange(20) == 3, np.nan, y), GRID)
    with pytest.raises(BadInput, match="three integers"):
        Grid(step=(0, 1, 1))


def test_a_stored_volume_gives_what_its_array_gives(tmp_path):
    rng = np.random.default_rng(16)
    y = np.clip(128 + 20 * texture(rng, (72, 80, 60)), 0, 255).astype(np.uint8)[None]
    volume = create_volume(
        tmp_path / "seams and ünicode.zarr",
        shape=y.shape,
        dtype=y.dtype,
        voxel_size=(1, 1, 1),
        unit="",
        chunks=(16,) * 3,
    )
    volume.write(Box.of(volume.spatial), y)
    stored, array = seam_tests(volume, GRID), seam_tests(y, GRID)
    for a, b in zip(stored.rows, array.rows, strict=True):
        assert (a.verdict, a.faces) == (b.verdict, b.faces)
        np.testing.assert_allclose([a.statistic, a.z, *a.profile], [b.statistic, b.z, *b.profile], rtol=1e-4)
