"""Messages about recipes that do not fit their schema."""

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
