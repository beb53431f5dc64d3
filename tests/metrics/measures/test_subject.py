"""A subject provides what measures need when it is first asked for, and once."""

import ast
import inspect

import pytest

from vol2vol.metrics.measures import MEASURES, Subject


def test_what_is_needed_is_made_once_and_only_when_asked_for():
    calls = []
    subject = Subject(
        volume="v", provide={need: lambda need=need: calls.append(need) or need for need in ("source", "mask")}
    )
    assert subject.has(["source", "mask"])
    assert subject.has([])
    assert not subject.has(["source", "truth"])
    assert not calls
    assert not subject.asked("source")
    subject.make(["source"])
    assert (subject.source, subject.source, subject.volume) == ("source", "source", "v")
    assert calls == ["source"]
    assert subject.asked("source")
    assert not subject.asked("mask")


def test_what_could_not_be_made_is_tried_again():
    def fail():
        raise MemoryError

    subject = Subject(volume="v", provide={"mask": fail})
    for _ in range(2):
        with pytest.raises(MemoryError):
            subject.make(["mask"])
    assert not subject.asked("mask")


@pytest.mark.parametrize("name", MEASURES.own)
def test_a_measure_asks_for_nothing_that_it_does_not_name(name):
    measure = MEASURES[name]
    tree = ast.parse(inspect.getsource(inspect.getmodule(measure.take)))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    read = {node.attr for node in attributes if ast.unparse(node.value) == "subject"}
    assert read
    assert read <= {"volume", "block", "judging", *measure.needs}
