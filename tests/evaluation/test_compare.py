"""Judging stored volumes through the command line: known answers, JSON that parses, one line for mistakes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from tests.plans.made_records import layout, record

from vol2vol.cli import main
from vol2vol.evaluation.distance import FeatureSpace, evaluate_distance
from vol2vol.evaluation.seams import evaluate_seams, grids_of
from vol2vol.geometry import Box, Footprint
from vol2vol.metrics.distances.cut_patches import Cutting
from vol2vol.metrics.distances.encoder import Encoder, EncoderSettings, train_encoder
from vol2vol.metrics.distances.encoder_file import save_encoder
from vol2vol.metrics.distances.features import grey_map
from vol2vol.metrics.measures import MEASURES, Subject
from vol2vol.metrics.seams.grid import BETWEEN, Grid
from vol2vol.metrics.seams.phases import holm
from vol2vol.metrics.seams.sentences import seam_sentence
from vol2vol.metrics.seams.verdicts import Equivalence, SeamReport, SeamRow
from vol2vol.plans import exact, planar
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


def test_files_without_a_voxel_size_are_judged_like_others(folder, capsys, tmp_path):
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, open_volume(folder / "seamed.zarr").read(Box.of((48, 64, 80)))[0], photometric="minisblack")
    words = ("seams", plain, "--step", "16,16,16")
    told = answer(capsys, *words, "--voxel-size", "8,8,8", "--unit", "nm")
    assert told["passes"] == answer(capsys, *words)["passes"]
    assert told["passes"] == answer(capsys, "seams", folder / "seamed.zarr", "--step", "16,16,16")["passes"]


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


@pytest.mark.parametrize("window", ["flat", "linear"])
def test_averages_wider_than_the_band_beside_a_border_are_found_where_the_overlap_is_said(tmp_path, capsys, window):
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.standard_normal((192, 48, 48), np.float32), 1.5, mode="wrap")
    share = np.full(16, 0.5) if window == "flat" else (np.arange(16) + 0.5) / 16
    loss = np.ones((4, 48), np.float32)
    loss[1:, :16] = np.hypot(share, 1 - share)
    noise = rng.standard_normal(smooth.shape, np.float32) * loss.reshape(-1, 1, 1)
    path = store(tmp_path / "blended.zarr", smooth / smooth.std() + 0.5 * noise)
    (blind,) = answer(capsys, "seams", path, "--step", "48,48,48")["passes"]
    assert blind["verdict"] != "seams"
    (one,) = answer(capsys, "seams", path, "--step", "48,48,48", "--overlap", "16,0,0")["passes"]
    assert [row["test"] for row in one["rows"] if row["verdict"] == "seam"] == ["HFR"]
    assert one["grid"]["overlap"] == [16, 0, 0]


def test_blind_seams(folder, capsys):
    (one,) = answer(capsys, "seams", folder / "seamed.zarr", "--blind")["passes"]
    assert {row["axis"] for row in one["rows"]} == set("zyx")
    assert one["sentence"].endswith(".")
    assert main(["evaluate", "seams", str(folder / "seamed.zarr"), "--blind"]) == 0
    assert "every 16 from 0  p" in capsys.readouterr().out


def foot(dims):
    def same(n):
        return (n,) * dims

    return Footprint(reach=(same(2), same(2)), period=same(4), residue=same(0), minimum=same(8), trim=(same(0),) * 2)


def made(plans, *, spatial, start=(0, 0, 0), planes=None):
    return record(layout(plans, spatial, region=Box(start, spatial), planes=planes)).attributes()


def test_a_prediction_says_itself_how_it_was_tiled(tmp_path):
    plan = exact(foot(3), (24, 24, 24))
    array = texture((40, 40, 40)) + steps((40, 40, 40), 16, 60)
    path = store(tmp_path / "out.zarr", array, made([plan], spatial=(40, 40, 40)))
    volume = open_volume(path)
    assert grids_of(volume) == [Grid(step=plan.step)]
    (report,) = evaluate_seams(volume)
    assert report.grid.step == plan.step
    moved = store(tmp_path / "part.zarr", array[5:, 16:, 1:], made([plan], spatial=(40, 40, 40), start=(5, 16, 1)))
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
    assert grids_of(open_volume(path))[0].step[0] == BETWEEN
    (report,) = evaluate_seams(open_volume(path))
    assert "z not tested: tiles meet between its planes" in seam_sentence(report)
    wide = planar(exact(foot(2), (104, 104)), 1)
    path = store(tmp_path / "one.zarr", texture((40, 40, 40)), made([wide], spatial=(40, 40, 40), planes=93))
    assert not any(one.tiled for one in evaluate_seams(open_volume(path))[0].equivalence)
    path = store(tmp_path / "flat.zarr", texture((40, 40, 40)), made(plans[:1], spatial=(40, 40, 40), planes=93))
    assert grids_of(open_volume(path))[0].step == (1, step, step)


def test_passes_are_one_family_of_tests(tmp_path):
    plans = [planar(exact(foot(2), (24, 24)), axis) for axis in range(3)]
    path = store(tmp_path / "out.zarr", texture((64, 64, 64)), made(plans, spatial=(64, 64, 64)))
    reports = evaluate_seams(open_volume(path))
    rows = [row for report in reports for row in report.rows if row.verdict != "not tested"]
    assert len(rows) == 18
    np.testing.assert_array_equal([row.p_corrected for row in rows], holm(np.array([row.p for row in rows])))


@pytest.mark.parametrize("height", [0, 60])
def test_a_study_keeps_the_p_that_the_verdict_rests_on(tmp_path, height):
    plans = [planar(exact(foot(2), (24, 24)), axis) for axis in range(3)]
    array = texture((64, 64, 64)) + steps((64, 64, 64), plans[0].step[1], height)
    path = store(tmp_path / "out.zarr", array, made(plans, spatial=(64, 64, 64)))
    source = store(tmp_path / "source.zarr", texture((64, 64, 64), seed=1))
    volume, reports = open_volume(path), evaluate_seams(open_volume(path), open_volume(source))
    subject = Subject(volume=volume, provide={"source": lambda: open_volume(source), "grids": lambda: grids_of(volume)})
    found = MEASURES["seams"].take(subject)
    p = [value for name, value in found.values.items() if name.endswith("/p")]
    assert len(p) == 9
    assert min(p) == min(row.p_corrected for report in reports for row in made_rows(report))
    assert (min(p) < 0.05) == (found.notes["verdict"] == "seams") == bool(height)


def made_rows(report):
    return [row for row in report.rows if row.verdict != "not tested"]


def row(axis, verdict="none found", test="SGR", **more):
    return SeamRow(axis=axis, test=test, verdict=verdict, **more)


@pytest.mark.parametrize(
    ("rows", "states", "said"),
    [
        ([row("y"), row("x")], "yy", "No seam found: seam-free within 1 %."),
        ([row("y"), row("x")], "uu", "too small or too noisy to show that there is none."),
        (
            [
                row("y"),
                row("x", "not tested", reason="1 seams on 9 voxels"),
                row("x", "not tested", "SJE", reason="1 s"),
            ],
            "yt",
            "No seam found: seam-free within 1 % along y; x not tested: 1 seams on 9 voxels",
        ),
        (
            [row("y", statistic=1.0321), row("x")],
            "nu",
            "No seam found: y is more than 1 % from seamless (SGR 1.032), but not significantly among all tests; "
            "too small or too noisy to tell along x.",
        ),
        (
            [row("y", "in the source too", statistic=0.95), row("x")],
            "ny",
            "seam-free within 1 % along x; y is more than 1 % from seamless (SGR 0.95), as the source is.",
        ),
        (
            [row("y"), row("y", "not tested", "HFR", reason="too few planes"), row("x")],
            "yy",
            "No seam found: seam-free within 1 % along y, x; HFR of y not tested: too few planes.",
        ),
        ([row("y", "not tested", reason="small")] * 2, "tt", "Not tested: small."),
        ([row("y", "seam", statistic=2.0), row("x")], "ny", "Seams: y (SGR 2)."),
    ],
)
def test_the_sentence_tells_what_is_open_from_what_differs(rows, states, said):
    names = {"y": "yes", "n": "no", "u": "undecided", "t": "not tested"}
    shown = [
        Equivalence(axis=axis, seam_free=names[state], reason=next(r.reason for r in rows if r.axis in (axis, "y")))
        for axis, state in zip("yx", states, strict=True)
    ]
    shown.insert(0, Equivalence(axis="z", seam_free="not tested", tiled=False, reason="every plane is a tile"))
    rows = [row("z", "not tested", reason="every plane is a tile"), *rows]
    report = SeamReport(grid=Grid(step=(1, 9, 9)), margin=0.01, alpha=0.05, rows=tuple(rows), equivalence=tuple(shown))
    assert said in seam_sentence(report)


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


def test_structure_of_an_output_that_keeps_it_and_of_one_that_does_not(folder, capsys, tmp_path):
    darker = store(tmp_path / "darker.zarr", 200 - 0.5 * texture())
    kept = answer(capsys, "structure", folder / "clean.zarr", darker)
    assert kept["lncc"]["value"] == pytest.approx(-1, abs=1e-6)
    assert kept["gradient_correlation"]["value"] == pytest.approx(-1, abs=1e-6)
    assert set(kept["nmi"]) == {"value", "low", "high", "blocks"}
    lost = answer(capsys, "structure", folder / "clean.zarr", store(tmp_path / "other.zarr", texture(seed=1)))
    assert abs(lost["lncc"]["value"]) < 0.05
    assert lost["nmi"]["value"] < kept["nmi"]["value"]


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


def test_the_threshold_is_chosen_on_validation_data(folder, capsys, tmp_path):
    """On the mask itself another threshold would be better: validation data know nothing of it."""
    clean = texture()
    brighter = store(tmp_path / "val.zarr", np.clip((clean - 70) / 120, 0, 1))
    words = ["overlap", folder / "chance.zarr", folder / "mask.zarr"]
    told = answer(capsys, *words, "--validation", brighter, folder / "mask.zarr")
    assert told["threshold"] == pytest.approx(70 / 120, abs=1e-2)
    assert told["threshold chosen on"] == f"{brighter} and {folder / 'mask.zarr'}"
    best = answer(capsys, *words, "--threshold", "best")
    assert best["threshold"] == pytest.approx(0.5, abs=1e-2)
    assert told["iou"]["value"] < best["iou"]["value"] - 0.1


def test_what_overlap_loses_near_seams(capsys, tmp_path):
    """Foreground that is missed within two voxels of the seams, and nowhere else."""
    plan = exact(foot(2), (40, 40))
    shape, step = (4, 160, 160), plan.step[1]
    rng = np.random.default_rng(0)
    mask = (rng.random(shape) < 0.5).astype(np.uint8)
    at = [np.arange(n) for n in shape]
    lost = [(a + 2) % step < 4 if axis else np.zeros(len(a), bool) for axis, a in enumerate(at)]
    lost = lost[1][None, :, None] | lost[2][None, None, :]
    assert 24 < step < 60
    translated = store(tmp_path / "translated.zarr", mask, made([planar(plan, 0)], spatial=shape))
    truth, seen = store(tmp_path / "mask.zarr", mask), store(tmp_path / "seen.zarr", mask * ~lost)
    words = ["overlap", seen, truth, "--seams", translated, "--near"]
    told = answer(capsys, *words, "4")["near seams"]
    assert (told["seams"]["z"], told["seams"]["y"], told["voxels"]) == (0, (160 - 1) // step, 4)
    assert told["iou elsewhere"] > 0.9
    assert told["near minus elsewhere"] < -0.3
    assert told["effect"]["high"] < -0.2
    whole = answer(capsys, "overlap", truth, truth, "--seams", translated, "--near", "4")["near seams"]
    assert whole["effect"]["value"] == 0
    other = store(tmp_path / "other.zarr", mask[:, :100])
    assert "give the translated volume" in refused(capsys, "overlap", seen, truth, "--seams", other)
    assert "does not record tile borders" in refused(capsys, "overlap", seen, truth, "--seams", truth)
    assert "no room for shifted grids" in refused(capsys, *words, "40")


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


def test_specks_are_left_out_and_counted(folder, capsys):
    truth = np.zeros((8, 40, 40), np.uint8)
    truth[2:6, 4:12, 4:12] = truth[2:6, 20:28, 20:28] = 1
    speckled = truth.copy()
    speckled[0, ::3, ::3] = 1
    words = "overlap", store(folder / "speckled.zarr", speckled), store(folder / "two.zarr", truth)
    told = answer(capsys, *words)
    assert told["left out"] == {
        "smaller than, voxels": 26,
        "from": "a tenth of the median true object",
        "predicted": 14 * 14,
        "true": 0,
    }
    assert (told["count"]["predicted"], told["objects"]["0.5"]["f1"]["value"]) == (2, 1)
    assert answer(capsys, *words, "--least", "1")["count"]["predicted"] == 2 + 14 * 14
    everything = answer(capsys, *words, "--least", "999")["left out"]
    assert (everything["from"], everything["true"]) == ("given", 2)


def test_the_data_range_of_psnr_is_said(folder, capsys):
    words = "fidelity", folder / "clean.zarr", folder / "clean.zarr"
    told = answer(capsys, *words)
    assert told["data range"] == pytest.approx(float(np.ptp(texture())))
    assert told["data range from"] == "maximum minus minimum of the truth"
    told = answer(capsys, *words, "--data-range", "4095")
    assert (told["data range"], told["data range from"]) == (4095, "given")
    assert "--data-range 0 must be" in refused(capsys, *words, "--data-range", "0")


def test_distances_lie_between_floor_and_ceiling(folder):
    source, output, target = (open_volume(folder / name) for name in ("seamed.zarr", "clean.zarr", "clean.zarr"))
    torch.manual_seed(0)
    by = FeatureSpace(name="random", network=Encoder((4, 8)), grey=grey_map(target))
    told = evaluate_distance(source, output, target, by, Cutting(count=120, size=16), resamples=10)
    for name in ("fid", "kid"):
        assert told[name]["value"] < told[name]["ceiling"]
        assert told[name]["interval"]["low"] < told[name]["interval"]["high"]
    assert told["fid"]["gap closed"] > 0.8
    assert "120 patches" in told["fid"]["sample size"]
    json.dumps(told, allow_nan=False)


def test_an_interval_holds_the_value_it_stands_beside(folder):
    """Many features, few patches: half the patches are much further apart than all are."""
    volumes = [open_volume(folder / name) for name in ("seamed.zarr", "clean.zarr", "clean.zarr")]
    torch.manual_seed(0)
    by = FeatureSpace(name="random", network=Encoder((4, 64)), grey=grey_map(volumes[2]))
    told = evaluate_distance(*volumes, by, Cutting(count=60, size=16), resamples=20)
    for name in ("fid", "kid"):
        one = told[name]
        assert one["interval"]["low"] <= one["value"] <= one["interval"]["high"]
        assert one["patches"] < 30 < told["patches"] == 60
    assert told["fid"]["value"] > 1.2 * float(told["fid"]["sample size"].split()[0])


def test_distance_by_a_stored_encoder(folder, capsys):
    settings = EncoderSettings(widths=(4, 8), crop=16, pool=32, batch=4, steps=4)
    save_encoder(folder / "encoder", train_encoder(open_volume(folder / "clean.zarr"), settings))
    volumes = [folder / name for name in ("seamed.zarr", "clean.zarr", "clean.zarr")]
    words = ["--features", folder / "encoder", "--patches", "60", "--size", "16", "--resamples", "10"]
    told = answer(capsys, "distance", *volumes, *words)
    assert told["features"].startswith("encoder ")
    assert told["patches"] == 60
    assert told["fid"]["value"] < told["fid"]["ceiling"]
    (without,) = [answer(capsys, "distance", *volumes, *words[:-1], "0")]
    assert without["kid"]["interval"] is None
    by_name = evaluate_distance(
        *map(open_volume, volumes), str(folder / "encoder"), Cutting(count=60, size=16), resamples=0
    )
    assert by_name == without
    assert "cut more" in refused(capsys, "distance", *volumes, *words, "--patches", "4")


@pytest.fixture
def all_settings(monkeypatch):
    """Make trainings short; return the all_settings that were asked for."""
    asked = []

    def train(target, settings):
        asked.append(settings)
        return train_encoder(target, replace(settings, widths=(4, 8), pool=32, batch=4, steps=4))

    monkeypatch.setattr("vol2vol.evaluation.distance.train_encoder", train)
    return asked


def test_an_encoder_sees_the_plane_it_judges_and_can_be_kept(folder, capsys, tmp_path, all_settings):
    volumes = [folder / name for name in ("seamed.zarr", "clean.zarr", "clean.zarr")]
    words = ["--plane", "xz", "--patches", "60", "--size", "20", "--resamples", "10", "--layout", "grid"]
    kept = tmp_path / "an encoder"
    told = answer(capsys, "distance", *volumes, *words, "--features", "encoder", "--keep", kept)
    (settings,) = all_settings
    assert (settings.planes, settings.crop) == (("xz",), 20)
    again = answer(capsys, "distance", *volumes, *words, "--features", kept)
    assert again == told
    assert "exists" in refused(capsys, "distance", *volumes, *words, "--features", "encoder", "--keep", kept)
    assert len(all_settings) == 1
    said = refused(capsys, "distance", *volumes, "--size", "20", "--patches", "60", "--features", kept)
    assert "trained on xz patches, not xy" in said
    scattered = answer(capsys, "distance", *volumes, *words[:-1], "random", "--features", kept)
    assert scattered["fid"]["value"] != told["fid"]["value"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seams", "clean.zarr"], "does not record how it was tiled"),
        (["seams", "clean.zarr", "--origin", "1,1,1"], "need --step"),
        (["seams", "clean.zarr", "--overlap", "1,1,1"], "need --step"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--overlap", "-1,0,0"], "three integers"),
        (["seams", "clean.zarr", "--step", "16,16"], "three whole numbers"),
        (["seams", "clean.zarr", "--step", "16,16,1.5"], "three whole numbers"),
        (["seams", "clean.zarr", "--step", "16,0,16"], "at least 1"),
        (["seams", "clean.zarr", "--blind", "--step", "16,16,16"], "blind"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--source", "small.zarr"], "name the volume"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--plot", "a.pdf"], ".png"),
        (
            ["seams", "clean.zarr", "--step", "16,16,16", "--plot", "no/such/a.png"],
            "there is not a folder no/such: make it first",
        ),
        (["seams", "nothing.zarr"], "nothing.zarr"),
        (["fidelity", "clean.zarr", "small.zarr"], "one shape"),
        (["structure", "clean.zarr", "small.zarr"], "one shape"),
        (["structure", "clean.zarr", "empty.zarr"], "everywhere"),
        (["overlap", "chance.zarr", "empty.zarr"], "empty"),
        (["overlap", "chance.zarr", "small.zarr"], "one shape"),
        (["overlap", "chance.zarr", "mask.zarr", "--threshold", "2"], "not a probability"),
        (["overlap", "chance.zarr", "mask.zarr", "--threshold", "much"], "not numbers"),
        (["overlap", "chance.zarr", "mask.zarr", "--depth", "2"], "add --instances watershed"),
        (["overlap", "chance.zarr", "mask.zarr", "--near", "4"], "add --seams TRANSLATED"),
        (
            ["overlap", "chance.zarr", "mask.zarr", "--threshold", "best", "--validation", "a.zarr", "b.zarr"],
            "leave --threshold out",
        ),
        (["overlap", "chance.zarr", "mask.zarr", "--instances", "watershed", "--depth", "0"], "depth <= reach"),
        (["overlap", "chance.zarr", "mask.zarr", "--least", "0"], "must be 1 voxel or more"),
        (["overlap", "clean.zarr", "mask.zarr"], "no probabilities"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--features", "nowhere"], "no encoder"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--keep", "here"], "add --features encoder"),
        (["colours", "clean.zarr"], "colours"),
    ],
)
def test_mistakes_are_one_line(words, said, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert said in refused(capsys, *words)
