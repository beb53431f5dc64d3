import os

import pytest

from vol2vol.errors import BadInput, CannotWrite
from vol2vol.files import write_text, written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["note.yaml", "note"])
def test_a_file_takes_its_place_when_it_is_whole(tmp_path, name):
    path = tmp_path / "deep" / name
    for text in ("first", "second"):
        with written_whole(path) as partial:
            partial.write_text(text)
            assert partial.suffix == (path.suffix or ".partial")
            assert path.exists() == (text == "second")
        assert path.read_text() == text
    assert names(path.parent) == [name]


def test_a_folder_replaces_a_folder(tmp_path):
    for content in ("a", "b"):
        with written_whole(tmp_path / "model") as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["b"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(28, "No space left on device"), CannotWrite),
        (RuntimeError("the archive\nis broken"), CannotWrite),
        (KeyError("x"), KeyError),
        (BadInput("no"), BadInput),
    ],
)
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, error, raised):
    path = write_text(tmp_path / "state.txt", "old")

    def write():
        with written_whole(path, RuntimeError) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(raised) as caught:
        write()
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["state.txt"]


def test_what_a_kill_left_is_removed(tmp_path):
    path = tmp_path / "model"
    (tmp_path / ".model.partial").mkdir()
    (tmp_path / ".model.partial" / "weights").write_text("half")
    with written_whole(path) as partial:
        partial.mkdir()
        (partial / "weights").write_text("whole")
    assert names(tmp_path) == ["model"]
    assert (path / "weights").read_text() == "whole"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotWrite, match="Permission denied"):
        write_text(tmp_path / "note", "x")
