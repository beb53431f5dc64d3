"""The studies of the stitching paper: their files can be made, their parts judged, and they pick as the paper did."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from vol2vol.metrics.measures.settings import Judging
from vol2vol.metrics.objects.watershed import Parting
from vol2vol.recipes.preparation import load_preparation
from vol2vol.report.rows.conditions import roles
from vol2vol.report.rows.rows import Row, Value
from vol2vol.study.domain_files import Parts, training_part
from vol2vol.study.domain_settings import PartName
from vol2vol.study.loading import load_study
from vol2vol.study.measure_settings import Pick
from vol2vol.study.trials import picked

PAGE = (Path(__file__).parents[2] / "docs" / "study.md").read_text(encoding="utf-8")


def made_on_the_page():
    """Return the names of the files that the commands of the page make."""
    names = set()
    for line in PAGE.splitlines():
        if line.startswith("vol2vol prepare "):
            _, _, _, output, _, recipe = line.split()
            split = load_preparation(recipe).split
            stem = output.removeprefix("DIR/").removesuffix(".zarr")
            names |= {f"{stem}.zarr"} if split is None else {f"{stem}-{part}.zarr" for part in split.parts}
    return names


@pytest.mark.parametrize("name", ["paper", "paper-fixed", "openorganelle"])
def test_every_file_is_made_by_a_command_of_the_page(name):
    about = load_study(name).domains.values()
    parts = [domain.part(part) for domain in about for part in get_args(PartName)]
    needed = {path for part in parts for path in (part.image, part.mask) if path}
    needed |= {path for domain in about for path in domain.more}
    assert needed
    assert needed <= made_on_the_page()


@pytest.mark.parametrize("name", ["paper", "paper-fixed"])
def test_translators_learn_from_whole_volumes_once_and_segmenters_can_judge(name):
    study = load_study(name)
    for domain in ("rat", "human"):
        about = study.domains[domain]
        assert Parts(study, Path()).has_mask(domain)
        assert training_part("translators", about) == "translator_train"
        assert (about.part("translator_train").image, about.part("translator_train").box, about.more) == (
            f"{domain}.zarr",
            "",
            (),
        )
    assert study.domains["rat"].part("train").box == {"paper": "", "paper-fixed": "0:360"}[name]


def test_all_three_hela_cells_are_there():
    hela = load_study("openorganelle").domains["hela"]
    assert {hela.image, *hela.more} == {"hela-1.zarr", "hela-2.zarr", "hela-3.zarr"}


def rows_of(count):
    return [
        Row(
            trial=str(n), source="a", target="b", translator="t", kind="network", checkpoint=n, seed=0, strategy="exact"
        )
        for n in range(1, count + 1)
    ]


def test_nine_of_twenty_checkpoints_are_picked_and_reports_show_the_first_of_each_role():
    rows = [Row(**{**vars(row), "values": {"fid": Value(value=float(row.checkpoint))}}) for row in rows_of(20)]
    notes = picked((Pick(by="fid", count=3),), rows)
    assert sorted(notes) == [1, 2, 3, 9, 10, 11, 18, 19, 20]
    assert (notes[1], notes[2], notes[20], notes[19]) == (
        "best by fid",
        "best 2 by fid",
        "worst by fid",
        "worst 2 by fid",
    )
    noted = [Row(**{**vars(row), "notes": {"picked": notes.get(row.checkpoint, "")}}) for row in rows]
    assert sorted(roles(noted, "fid").values()) == ["best", "middle", "worst"]
    assert roles(noted, "fid")["1"] == "best"


def test_several_checkpoints_by_epoch():
    notes = picked((Pick(by="checkpoint", lowest=False, count=2),), rows_of(9))
    assert notes == {
        1: "worst by checkpoint",
        2: "worst 2 by checkpoint",
        5: "middle 2 by checkpoint",
        6: "middle by checkpoint",
        8: "best 2 by checkpoint",
        9: "best by checkpoint",
    }


def test_objects_are_judged_as_told():
    assert Judging().parting() is None
    assert Judging(instances="watershed").parting() == Parting()
    assert Judging(instances="watershed", depth=3, least=50).parting() == Parting(depth=3)
    with pytest.raises(ValidationError, match="instances: watershed"):
        Judging(depth=3)
