"""Tests of run folders that hold the remains of an earlier start, or other files."""

import pytest

from vol2vol.errors import AlreadyExists
from vol2vol.training.run_folder import open_run


@pytest.mark.parametrize(
    "left", [[], ["checkpoints/"], ["checkpoints/", "models/"], ["models/", ".recipe.partial.yaml"]]
)
def test_a_start_that_was_killed_before_its_recipe_was_written_is_begun_again(tmp_path, left):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in left:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("tra")
    assert open_run(folder, {"train": {"epochs": 1}}).recipe.is_file()


@pytest.mark.parametrize("left", ["thesis.txt", "models/mine.txt"])
def test_other_folders_are_left_alone(tmp_path, left):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text("mine")
    with pytest.raises(AlreadyExists, match="is not a run"):
        open_run(tmp_path, {"train": {"epochs": 1}})
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [left.rpartition("/")[2]]
