"""The list of measures: names are told apart, every number of a row has one owner, and documents name them all."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vol2vol.metrics.measures import MEASURES, Quantity, measures, quantity_of

PAGE = Path(__file__).parents[3] / "docs" / "study.md"


def filled(key):
    return re.sub(r"\{(\w+)\}", r"some-\1", key)


def test_every_value_of_a_row_belongs_to_one_quantity():
    for measure in measures():
        for quantity in measure.quantities:
            name = measure.name_of(filled(quantity.key))
            owners = [(m.name, q.key) for m in measures() for q in m.quantities if m.quantity(name) is q]
            assert owners == [(measure.name, quantity.key)]
            assert quantity.about, quantity


@pytest.mark.parametrize(
    ("name", "owner", "sense"),
    [
        ("fidelity/psnr", "fidelity", "higher"),
        ("fidelity/mean_absolute", "fidelity", "lower"),
        ("distance/encoder/kid/xy", "distance", "lower"),
        ("distance/encoder/kid/xy/gap_closed", "distance", "higher"),
        ("distance/encoder/kid/xy/floor", "distance", None),
        ("seams/sje/z", "seams", "nearer 1"),
        ("seams/sje/z/p", "seams", None),
        ("segmentation/unet/0/iou", "segmentation", "higher"),
        ("segmentation/unet/0/near_seam", "near_seam", "higher"),
        ("segmentation/unet/0/near_seam/against_first", "near_seam", None),
        ("segmentation/unet/0/rand", "objects", "lower"),
        ("circles/not_1", "circles", "lower"),
        ("shortcut/predicted", "shortcut", None),
        ("label_free/foreground", "label_free", "nearer 1"),
    ],
)
def test_a_value_is_known_by_its_name(name, owner, sense):
    assert quantity_of(name) is MEASURES[owner].quantity(name)
    assert quantity_of(name).sense == sense


@pytest.mark.parametrize(
    "name", ["", "fidelity", "fidelity/psnr/x", "psnr", "fidelity/psnrs", "xfidelity/psnr", "segmentation/unet/iou"]
)
def test_other_names_belong_to_nobody(name):
    assert quantity_of(name) is None


def test_parts_in_braces_stand_for_one_word_each():
    quantity = Quantity(key="{a}.x/fid/{b}")
    assert quantity.words("p.x/fid/q") == ("p", "q")
    assert quantity.words("pyx/fid/q") is None
    assert quantity.words("p/r.x/fid/q") is None
    assert quantity.words("p.x/fid/") is None


def test_what_looks_at_answers_says_so():
    answers = {measure.name for measure in measures() if measure.sees_answers}
    assert answers == {"fidelity", "segmentation", "near_seam", "objects", "circles", "shortcut"}
    assert {measure.name for measure in measures() if measure.against_first} == {"distance", "near_seam"}


def test_the_page_on_studies_names_every_measure():
    table = PAGE.read_text(encoding="utf-8").partition("## Measures")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(MEASURES.own)


def test_measures_need_no_torch():
    code = "import sys, vol2vol.metrics.measures; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
