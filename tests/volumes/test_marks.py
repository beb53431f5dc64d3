"""Marks of blocks: appended and followed in any order of writers, also after one is killed."""

import itertools
import threading
from pathlib import Path

import pytest

from vol2vol.errors import Mismatch, Unreadable
from vol2vol.volumes import marks as marks_module
from vol2vol.volumes.ledger import Ledger
from vol2vol.volumes.marks import Marks


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "out.zarr").mkdir()
    return Ledger.of(str(tmp_path / "out.zarr"))


def logs(ledger):
    return sorted(Path(ledger.folder, "done").iterdir())


def test_marks_are_followed_and_read_once(ledger, monkeypatch):
    begun = ledger.begin({})
    writer, reader = ledger.marks(begun), ledger.marks(begun)
    for number in range(20):
        writer.mark(f"{number}.0.0", number)
        assert reader.refresh() == {f"{number}.0.0"}
    assert reader.refresh() == set()
    assert reader.done == writer.done == {f"{number}.0.0" for number in range(20)}
    assert reader.checksum("7.0.0") == 7
    assert reader.checksum("20.0.0") is None
    sizes = []
    tail = Marks._tail
    monkeypatch.setattr(Marks, "_tail", lambda self, key: (text := tail(self, key), sizes.append(len(text)))[0])
    writer.mark("20.0.0", 20)
    reader.refresh()
    assert sizes == [len(logs(ledger)[0].read_bytes().split(b"\n")[-2]) + 1]
    assert len(logs(ledger)) == 1


def test_the_last_word_about_a_block_counts_in_any_order_of_reading(ledger):
    begun = ledger.begin({})
    first, second, third = (Marks(ledger.folder, begun) for _ in range(3))
    first.mark("a", 1)
    second.refresh()
    second.unmark("a")
    third.refresh()
    third.mark("a", 3)
    texts = [path.read_bytes() for path in logs(ledger)]
    for order in itertools.permutations(range(3)):
        for number, path in enumerate(logs(ledger)):
            path.write_bytes(texts[order[number]])
        marks = Marks(ledger.folder, begun)
        marks.refresh()
        assert marks.checksum("a") == 3
    first.mark("a", 1)  # it does not know better: what it wrote is the old mark, once more
    assert ledger.marks(begun).checksum("a") == 3


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_line_that_was_cut_short_is_no_mark_and_the_next_one_is(ledger, cut):
    begun = ledger.begin({})
    killed, next_one = Marks(ledger.folder, begun), Marks(ledger.folder, begun)
    killed.mark("64.0.0", 0xDEADBEEF)
    path = logs(ledger)[0]
    path.write_bytes(path.read_bytes()[:-cut])
    next_one.mark("128.0.0", 5)
    marks = ledger.marks(begun)
    assert marks.done == {"128.0.0"}
    with path.open("ab") as file:  # a line that follows on half a line is lost, and no other
        file.write(b"0.0.0 1 00000001 00000000\n")
    assert marks.refresh() == set()


def test_what_another_beginning_marked_does_not_count(ledger):
    old = ledger.begin({})
    ledger.marks(old).mark("a", 1)
    new = ledger.begin({})
    assert ledger.marks(new).done == set()
    assert ledger.marks(old).done == {"a"}


def test_threads_share_a_log(ledger):
    begun = ledger.begin({})
    marks = ledger.marks(begun)
    threads = [threading.Thread(target=lambda k=k: [marks.mark(f"{k}.{i}.0", i) for i in range(200)]) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.marks(begun).done) == 800
    assert len(logs(ledger)) == 1


def test_a_removed_ledger_is_not_made_again(ledger):
    begun = ledger.begin({})
    marks = ledger.marks(begun)
    ledger.remove()
    with pytest.raises(Mismatch, match="removed by another process"):
        marks.mark("a", 1)
    assert ledger.marks(begun).done == set()
    assert not Path(ledger.folder).exists()


def test_where_nothing_can_be_appended_to_logs_are_short(ledger, monkeypatch):
    monkeypatch.setattr(marks_module, "is_remote", lambda folder: True)
    monkeypatch.setattr(marks_module, "SEGMENT", 8)
    begun = ledger.begin({})
    writer, reader = Marks(ledger.folder, begun), Marks(ledger.folder, begun)
    read = []
    monkeypatch.setattr(
        marks_module,
        "read_key",
        lambda folder, key, read_key=marks_module.read_key: read.append(key) or read_key(folder, key),
    )
    for number in range(20):
        writer.mark(f"{number}.0.0", number)
        assert reader.refresh() == {f"{number}.0.0"}
    assert len(logs(ledger)) == 3
    read.clear()
    reader.refresh()
    assert len(read) == 1, "logs that are full are not read again"
    assert Marks(ledger.folder, begun).refresh() == writer.done


def test_a_ledger_of_another_version_is_refused(ledger, monkeypatch):
    monkeypatch.setattr("vol2vol.volumes.ledger.FORMAT", 1)
    ledger.begin({})
    monkeypatch.undo()
    with pytest.raises(Unreadable, match="another version of vol2vol: start again with `overwrite`"):
        ledger.plan()


def test_the_plan_is_read_again_only_where_it_is_another(ledger, monkeypatch):
    begun = ledger.begin({})
    ledger.check(begun)
    monkeypatch.setattr(Ledger, "plan", lambda self: pytest.fail("read again"))
    ledger.check(begun)
    monkeypatch.undo()
    with pytest.raises(Mismatch, match="changed while"):
        ledger.spoil("it was changed while it was read")
    with pytest.raises(Mismatch, match="changed while"):
        ledger.check(begun)
    Path(ledger.folder, "spoiled").unlink()
    ledger.check(begun)
    ledger.begin({})
    with pytest.raises(Mismatch, match="started again"):
        ledger.check(begun)
    ledger.remove()
    with pytest.raises(Mismatch, match="finished"):
        ledger.check(begun)
