"""Picks of studies: no pick by the answer, and no training before an unknown value is noticed."""

import pytest

from vol2vol.errors import BadInput
from vol2vol.study import list_studies, load_study
from vol2vol.study.picking import values_of


def pick_by(name, *more):
    return load_study("phantom", (f"picks=[{{by: {name}}}]", *more))


@pytest.mark.parametrize("name", ["segmentation/unet/0/iou", "segmentation/unet/0/f1", "near_seam", "fidelity/psnr"])
def test_a_pick_by_masks_or_truths_of_the_test_part_is_refused(name):
    for first in ("first=[distance]", "first=[segmentation, fidelity, near_seam]"):
        with pytest.raises(
            BadInput, match=rf"^study phantom: picks\.0\.by: {name} .*would pick by the answer: pick by"
        ):
            pick_by(name, first)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("nonsense", "use one such as checkpoint, distance/encoder/fid/xy, .*label_free/confidence"),
        ("label_free/confidenc", "did you mean label_free/confidence"),
        ("distance/encoder/fid", "did you mean distance/encoder/fid/x[yz]"),
        ("distance/inception/fid/xy", "did you mean distance/encoder/fid/x[yz]"),
        ("seams/sgr/z", "is not measured in the first round, which takes distance, .*: add it to first"),
    ],
)
def test_an_unknown_value_is_noticed_when_the_study_is_loaded(name, cure):
    with pytest.raises(BadInput, match=rf"^study phantom: picks\.0\.by: {name} .*{cure}"):
        pick_by(name)


def test_a_label_free_pick_needs_segmenters():
    segmenter = "segmenters={unet: {recipe: small-segment-2d}}"
    with pytest.raises(BadInput, match="needs 1 or more segmenters, there are 0"):
        pick_by("label_free/confidence", "segmenters={}")
    with pytest.raises(BadInput, match="needs 2 or more segmenters, there are 1"):
        pick_by("label_free/agreement", segmenter)
    assert pick_by("label_free/confidence", segmenter).picks[0].by == "label_free/confidence"


def test_values_of_the_first_round_can_be_picked_by():
    study = load_study("phantom")
    every = [name for names in values_of(study).values() for name in names]
    assert len(pick_by("seams/sgr/z", "first=[seams]").picks) == 1
    for name in every:
        assert (
            pick_by(name, "first=[seams, mismatch, distance, structure, cycle, label_free, cost]").picks[0].by == name
        )


def test_shipped_studies_pick_by_what_they_measure():
    assert sum(bool(load_study(name).picks) for name in list_studies()) > 2


def test_an_empty_mapping_of_a_child_means_empty(tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text("extends: phantom\nsegmenters: {}\npicks: []\n")
    assert load_study(child).segmenters == {}
    child.write_text("extends: phantom\njudging: {near: 3}\n")
    assert load_study(child).segmenters == load_study("phantom").segmenters
