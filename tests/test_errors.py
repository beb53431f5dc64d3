"""Messages suggest commands that a shell reads as they are meant."""

import shlex
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vol2vol.errors import quoted


@given(st.text(st.characters(exclude_characters="\0"), max_size=30))
def test_a_quoted_path_is_one_word_of_a_shell(text):
    assert shlex.split(f"vol2vol info {quoted(text)}") == ["vol2vol", "info", text]


def test_plain_paths_stay_without_quotes():
    assert quoted(Path("/data/rat_1.zarr")) == "/data/rat_1.zarr"
    assert quoted("s3://bucket/rat.zarr") == "s3://bucket/rat.zarr"
