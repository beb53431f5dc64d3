import numpy as np
import pytest
from tests.report.synthetic import FID, add_volumes, write

from vol2vol.report.figures.segmentations import (
    HIT,
    MISSED,
    WRONG,
    checkpoint_sheets,
    errors,
    first_judge,
    outlined,
    strategies_sheets,
)
from vol2vol.report.figures.translations import overview, part, residuals, visible
from vol2vol.report.rows.conditions import roles
from vol2vol.report.rows.rows import Row, read_rows


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = add_volumes(write(tmp_path_factory.mktemp("pictures") / "study"))
    rows = read_rows(folder)
    by_trial = roles(rows, FID)
    return folder, rows, by_trial, [row for row in rows if by_trial.get(row.trial) == "best"]


def test_colours_say_right_wrong_and_missed():
    mask = np.array([[True, True], [False, False]])
    truth = np.array([[True, False], [True, False]])
    assert errors(mask, truth).tolist() == [[list(HIT), list(WRONG)], [list(MISSED), [0, 0, 0]]]
    assert errors(mask, None)[0].tolist() == [list(HIT), list(HIT)]


def test_outlines_leave_the_inside_as_it_is():
    grey = np.full((7, 7), 100.0)
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    shown = outlined(grey, mask, (0.0, 200.0))
    assert shown[3, 3].tolist() == shown[0, 0].tolist() == [127, 127, 127]
    assert shown[1, 3].tolist() != [127, 127, 127]
    assert outlined(grey, mask, (5.0, 5.0)).shape == (7, 7, 3)


def test_the_segmenter_that_saw_most_is_shown():
    about = {"source": "a", "target": "b", "translator": "m"}
    rows = [
        Row(trial="1", segmentations={"unet/0": "x", "net/0": "y"}, **about),
        Row(trial="2", segmentations={"net/0": "z"}, **about),
    ]
    assert first_judge(rows) == "net/0"
    assert first_judge([]) == ""


def test_figure_3_has_every_strategy_and_its_residual(study):
    folder, _, _, best = study
    whole, close = strategies_sheets(folder, best)
    assert [len(row) for row in whole.rows] == [3] * 5
    assert [picture.title for picture in whole.rows[0]] == [
        f"{x}: {way}, probability" for x, way in zip("ABC", ("exact", "average", "disjoint"), strict=True)
    ]
    assert whole.rows[3][0].title == "truth"
    assert whole.rows[1][0].caption == "IoU 0.610 of the volume"
    means = [float(picture.caption.removeprefix("mean ")) for picture in whole.rows[3][1:]]
    assert 0 < means[0] < means[1]  # averaged seams are fainter
    assert "magnified" in close.title


def test_figure_4_has_bounds_and_three_checkpoints(study):
    folder, rows, by_trial, _ = study
    bounds, flat = checkpoint_sheets(folder, rows, by_trial, FID)
    assert [picture.title for picture in bounds.rows[0]] == [
        "in-domain: mask",
        "untranslated",
        "mask",
        "histogram + spectrum",
        "mask",
    ]
    titles = [picture.title for picture in flat.rows[0]]
    assert titles == ["best, epoch 20", "mask", "middle, epoch 30", "mask", "worst, epoch 10", "mask"]
    assert flat.columns == bounds.columns == 6


def test_figure_2_shows_source_translations_answer_and_target(study):
    folder, _, _, best = study
    sheet = overview(folder, best)
    assert [picture.title for picture in sheet.rows[0]] == [
        "source",
        "histogram + spectrum",
        "flat, slices",
        "known answer",
        "target",
    ]
    ((whole, close),) = residuals(folder, best)
    assert [picture.title for picture in whole.rows[0]][-2:] == ["|A \N{MINUS SIGN} B|", "|A \N{MINUS SIGN} C|"]
    assert close is not None


def test_what_is_gone_is_not_shown(study, tmp_path):
    _, rows, by_trial, best = study
    assert visible(tmp_path, rows) == []
    assert part(tmp_path, "rat", "test") == ""
    assert overview(tmp_path, best) is None
    assert residuals(tmp_path, best) == []
    assert strategies_sheets(tmp_path, best) == []
    assert checkpoint_sheets(tmp_path, rows, by_trial, FID) == []
