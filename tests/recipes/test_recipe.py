"""Recipes: their names, and messages about those that do not fit the schema."""

import pytest

from vol2vol.errors import BadInput
from vol2vol.recipes import load_recipe


@pytest.mark.parametrize(
    ("override", "named", "times"), [("train.optimizer.name=Adamm", "Adamm", 1), ("train.epochs=-7", "-7", 1)]
)
def test_a_value_that_does_not_fit_is_named_once(override, named, times):
    with pytest.raises(BadInput) as caught:
        load_recipe("small-2d", [override])
    assert str(caught.value).count(named) == times


def test_a_recipe_keeps_its_name_and_records_what_was_changed(tmp_path):
    changes = ("train.epochs=3", "data.patch=30")
    assert load_recipe("small-2d").name == "small-2d"
    changed = load_recipe("small-2d", changes)
    assert (changed.name, changed.overrides, changed.train.epochs) == ("small-2d", changes, 3)
    again = load_recipe(changed, ("train.epochs=4",))
    assert (again.name, again.overrides) == ("small-2d", (*changes, "train.epochs=4"))
    (tmp_path / "mine.yaml").write_text("extends: small-2d\ntrain: {epochs: 5}\n")
    assert load_recipe(tmp_path / "mine.yaml").name == "mine"
    (tmp_path / "named.yaml").write_text("extends: small-2d\nname: another\n")
    assert load_recipe(tmp_path / "named.yaml").name == "another"
