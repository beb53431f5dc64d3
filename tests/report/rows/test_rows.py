"""The rows file: what was appended is read, whatever a crash or another version left in it."""

import numpy as np
import pytest

from vol2vol.errors import BadInput, NotFound
from vol2vol.report.rows.rows import ROWS, Row, Value, append_row, read_rows, read_sums


def row(trial, **more):
    return Row(trial=trial, source="rat", target="human", translator="cyclegan", **more)


def test_what_was_appended_is_read(tmp_path):
    sums = {"segmentation/unet/0/iou": np.arange(6.0).reshape(2, 3)}
    append_row(tmp_path, row("a", status="failed", reason="no disk"))
    append_row(tmp_path, row("b", values={"cost/seconds": Value(value=1.5), "x": Value(value=float("nan"), low=1)}))
    append_row(tmp_path, row("a", values={"é/ü": Value(value=2, low=1, high=3)}), sums)
    first, second = read_rows(tmp_path)
    assert (first.trial, first.status, first.number("é/ü")) == ("a", "done", 2)
    assert second.number("x") is None
    assert second.values["x"].low == 1
    assert second.number("absent") is None
    np.testing.assert_array_equal(read_sums(tmp_path, "a")["segmentation/unet/0/iou"], [[0, 1, 2], [3, 4, 5]])
    assert read_sums(tmp_path, "b") == {}


@pytest.mark.parametrize("cut", [1, 10, 50, -2])
def test_a_torn_line_is_not_done_and_the_next_one_is_whole(tmp_path, cut):
    append_row(tmp_path, row("a"))
    append_row(tmp_path, row("b"))
    whole = (tmp_path / ROWS).read_bytes()
    first = whole.index(b"\n") + 1
    (tmp_path / ROWS).write_bytes(whole[: first + cut if cut > 0 else cut])
    assert [r.trial for r in read_rows(tmp_path)] == ["a"]
    append_row(tmp_path, row("c"))
    assert [r.trial for r in read_rows(tmp_path)] == ["a", "c"]


def test_rows_of_another_version_and_damage_are_named(tmp_path):
    with pytest.raises(NotFound, match="run the study first"):
        read_rows(tmp_path)
    append_row(tmp_path, row("a"))
    text = (tmp_path / ROWS).read_text()
    (tmp_path / ROWS).write_text(text + text.replace('"schema": 1', '"schema": 9'))
    with pytest.raises(BadInput, match=r"line 2 was written by another version of vol2vol \(schema 9"):
        read_rows(tmp_path)
    (tmp_path / ROWS).write_text(text.replace('"translator"', '"translater"') + text)
    with pytest.raises(BadInput, match="line 1 is damaged"):
        read_rows(tmp_path)
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(BadInput, match="is damaged"):
        read_sums(tmp_path, "a")
    append_row(tmp_path, row("a"), {"iou": np.arange(6000.0).reshape(2000, 3)})
    whole = (tmp_path / "blocks" / "a.npz").read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:middle], whole[:middle] + bytes(64) + whole[middle + 64 :]):
        (tmp_path / "blocks" / "a.npz").write_bytes(damaged)
        with pytest.raises(BadInput, match="is damaged"):
            read_sums(tmp_path, "a")
