"""Fidelity, structure and overlap of stored volumes: known answers."""

import numpy as np
import pytest
from tests.evaluation.stored_volumes import answer, foot, refused, store, texture, tiling

from vol2vol.geometry import Box
from vol2vol.plans import exact, planar
from vol2vol.volumes import open_volume


def test_fidelity_of_a_known_offset(folder, capsys, tmp_path):
    brighter = store(tmp_path / "brighter.zarr", texture() + 3)
    result = answer(capsys, "fidelity", brighter, folder / "clean.zarr")
    assert result["mean_absolute"]["value"] == pytest.approx(3, abs=1e-4)
    assert result["pearson"]["value"] == pytest.approx(1, abs=1e-6)


def test_the_data_range_of_psnr_is_reported(folder, capsys):
    words = "fidelity", folder / "clean.zarr", folder / "clean.zarr"
    result = answer(capsys, *words)
    assert result["data range"] == pytest.approx(float(np.ptp(texture())))
    assert result["data range from"] == "maximum minus minimum of the truth"
    result = answer(capsys, *words, "--data-range", "4095")
    assert (result["data range"], result["data range from"]) == (4095, "given")
    assert "--data-range 0 must be" in refused(capsys, *words, "--data-range", "0")


def test_structure_of_an_output_that_keeps_it_and_of_one_that_does_not(folder, capsys, tmp_path):
    darker = store(tmp_path / "darker.zarr", 200 - 0.5 * texture())
    kept = answer(capsys, "structure", folder / "clean.zarr", darker)
    assert kept["lncc"]["value"] == pytest.approx(-1, abs=1e-6)
    assert kept["gradient_correlation"]["value"] == pytest.approx(-1, abs=1e-6)
    assert set(kept["nmi"]) == {"value", "low", "high", "blocks"}
    lost = answer(capsys, "structure", folder / "clean.zarr", store(tmp_path / "other.zarr", texture(seed=1)))
    assert abs(lost["lncc"]["value"]) < 0.05
    assert lost["nmi"]["value"] < kept["nmi"]["value"]


@pytest.mark.parametrize("threshold", ["0.1", "0.5", "0.99999", "1.0"])
def test_a_mask_overlaps_itself_wholly_at_every_threshold(folder, capsys, threshold):
    result = answer(capsys, "overlap", folder / "mask.zarr", folder / "mask.zarr", "--threshold", threshold)
    assert result["iou"]["value"] == result["dice"]["value"] == result["objects"]["0.5"]["f1"]["value"] == 1


@pytest.mark.parametrize("threshold", [0.1, 0.3337, 0.73, 1.0])
def test_overlap_is_computed_at_the_threshold_that_it_reports(folder, capsys, threshold):
    result = answer(capsys, "overlap", folder / "chance.zarr", folder / "mask.zarr", "--threshold", threshold)
    chance, mask = (open_volume(folder / name).read(Box.of((48, 64, 80)))[0] for name in ("chance.zarr", "mask.zarr"))
    chosen = chance.astype(np.float64) >= result["threshold"]
    assert result["threshold"] == threshold
    assert result["iou"]["value"] == pytest.approx((chosen & (mask > 0)).sum() / (chosen | (mask > 0)).sum(), rel=1e-12)


def test_overlap_of_known_masks(folder, capsys):
    result = answer(capsys, "overlap", folder / "chance.zarr", folder / "mask.zarr", "--threshold", "best")
    assert result["iou"]["value"] == pytest.approx(1, abs=1e-2)
    assert result["auprc"]["value"] == pytest.approx(1, abs=1e-3)
    assert result["threshold"] == pytest.approx(0.5, abs=1e-2)
    assert result["objects"]["0.5"]["f1"]["value"] > 0.9
    assert result["count"]["predicted"] == pytest.approx(result["count"]["true"], rel=0.05)
    assert result["instances"] == "components"
    half = answer(capsys, "overlap", folder / "chance.zarr", folder / "mask.zarr", "--threshold", "0.9")
    assert half["iou"]["value"] < 0.5


def test_the_threshold_is_chosen_on_validation_data(folder, capsys, tmp_path):
    """The best threshold on the mask itself is another one, which the validation data do not show."""
    clean = texture()
    brighter = store(tmp_path / "val.zarr", np.clip((clean - 70) / 120, 0, 1))
    words = ["overlap", folder / "chance.zarr", folder / "mask.zarr"]
    result = answer(capsys, *words, "--validation", brighter, folder / "mask.zarr")
    assert result["threshold"] == pytest.approx(70 / 120, abs=1e-2)
    assert result["threshold chosen on"] == f"{brighter} and {folder / 'mask.zarr'}"
    best = answer(capsys, *words, "--threshold", "best")
    assert best["threshold"] == pytest.approx(0.5, abs=1e-2)
    assert result["iou"]["value"] < best["iou"]["value"] - 0.1


def test_overlap_lost_near_seams_is_measured(capsys, tmp_path):
    """Foreground is missed within two voxels of the seams, and nowhere else."""
    plan = exact(foot(2), (40, 40))
    shape, step = (4, 160, 160), plan.step[1]
    rng = np.random.default_rng(0)
    mask = (rng.random(shape) < 0.5).astype(np.uint8)
    at = [np.arange(n) for n in shape]
    lost = [(a + 2) % step < 4 if axis else np.zeros(len(a), bool) for axis, a in enumerate(at)]
    lost = lost[1][None, :, None] | lost[2][None, None, :]
    assert 24 < step < 60
    translated = store(tmp_path / "translated.zarr", mask, tiling([planar(plan, 0)], spatial=shape))
    truth, seen = store(tmp_path / "mask.zarr", mask), store(tmp_path / "seen.zarr", mask * ~lost)
    words = ["overlap", seen, truth, "--seams", translated, "--near"]
    result = answer(capsys, *words, "4")["near seams"]
    assert (result["seams"]["z"], result["seams"]["y"], result["voxels"]) == (0, (160 - 1) // step, 4)
    assert result["iou elsewhere"] > 0.9
    assert result["near minus elsewhere"] < -0.3
    assert result["effect"]["high"] < -0.2
    whole = answer(capsys, "overlap", truth, truth, "--seams", translated, "--near", "4")["near seams"]
    assert whole["effect"]["value"] == 0
    other = store(tmp_path / "other.zarr", mask[:, :100])
    assert "give the translated volume" in refused(capsys, "overlap", seen, truth, "--seams", other)
    assert "does not record tile borders" in refused(capsys, "overlap", seen, truth, "--seams", truth)
    assert "no room for shifted grids" in refused(capsys, *words, "40")


def test_touching_objects_are_split_and_counted(folder, capsys):
    at = np.indices((20, 30, 50))
    inside = [
        sum((a - c) ** 2 for a, c in zip(at, centre, strict=True)) < 81 for centre in ((10, 15, 15), (10, 15, 29))
    ]
    store(folder / "balls.zarr", np.logical_or(*inside).astype(np.uint8))
    words = ["overlap", folder / "balls.zarr", folder / "balls.zarr", "--instances", "watershed"]
    result = answer(capsys, *words)
    assert (result["count"]["true"], result["count"]["error"]["value"], result["instances"]) == (
        2,
        0,
        "watershed, depth 2",
    )
    assert result["objects"]["0.75"]["f1"]["value"] == result["objects"]["0.5"]["average precision"]["value"] == 1
    assert answer(capsys, *words, "--depth", "6", "--least", "9")["count"]["true"] == 1
    assert answer(capsys, *words, "--least", "99999")["count"]["error"]["value"] is None


def test_specks_are_left_out_and_counted(folder, capsys):
    truth = np.zeros((8, 40, 40), np.uint8)
    truth[2:6, 4:12, 4:12] = truth[2:6, 20:28, 20:28] = 1
    speckled = truth.copy()
    speckled[0, ::3, ::3] = 1
    words = "overlap", store(folder / "speckled.zarr", speckled), store(folder / "two.zarr", truth)
    result = answer(capsys, *words)
    assert result["left out"] == {
        "smaller than, voxels": 26,
        "from": "a tenth of the median true object",
        "predicted": 14 * 14,
        "true": 0,
    }
    assert (result["count"]["predicted"], result["objects"]["0.5"]["f1"]["value"]) == (2, 1)
    assert answer(capsys, *words, "--least", "1")["count"]["predicted"] == 2 + 14 * 14
    everything = answer(capsys, *words, "--least", "999")["left out"]
    assert (everything["from"], everything["true"]) == ("given", 2)
