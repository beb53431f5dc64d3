"""YAML of strangers: what aliases may do, and one kind of error for everything that cannot be read."""

from importlib.resources import files

import pytest
import yaml

from vol2vol import plainyaml


def bomb(first, part):
    """Return a short document of which every line holds the one before it nine times."""
    lines = [f"a: &a {first}"]
    lines += [
        f"{new}: &{new} {part.format(', '.join([f'*{old}'] * 9))}"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "\n".join(lines)


BOMBS = {
    "lists": bomb("[x, x]", "[{}]"),
    "merged keys": bomb("{x: 1}", "{{<<: [{}]}}"),
    "keys": bomb("[x]", "{{k: [{}]}}"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_document_that_aliases_blow_up_is_refused_before_it_is_made(name, monkeypatch):
    assert len(BOMBS[name]) < 1000
    monkeypatch.setattr(yaml.SafeLoader, "construct_document", lambda *_: pytest.fail("it was made"))
    with pytest.raises(yaml.YAMLError, match="aliases add more than 100000 nodes"):
        plainyaml.load(BOMBS[name])


def test_nodes_are_counted_as_often_as_they_would_be_written():
    known = {}
    node = yaml.compose("a: &a [x, y]\nb: &b [*a, *a]\nc: {k: *b}", yaml.SafeLoader)
    assert plainyaml._size(node, known) == 1 + (1 + 3) + (1 + 7) + (1 + 9)
    assert len(known) == 1 + (1 + 3) + (1 + 1) + (1 + 2)


def test_aliases_up_to_the_bound_are_followed(monkeypatch):
    text = "a: &a {x: 1, y: 2}\nb: [*a, *a]\nc: {<<: *a, y: 3}"
    assert plainyaml.load(text)["c"] == {"x": 1, "y": 3}
    assert plainyaml.load(text) == yaml.safe_load(text)
    monkeypatch.setattr(plainyaml, "MAX_NODES", 3 * 5)
    plainyaml.load(text)
    monkeypatch.setattr(plainyaml, "MAX_NODES", 3 * 5 - 1)
    with pytest.raises(yaml.YAMLError, match="aliases"):
        plainyaml.load(text)


def test_a_long_document_without_aliases_is_read(monkeypatch):
    monkeypatch.setattr(plainyaml, "MAX_NODES", 0)
    assert plainyaml.load(str(list(range(50)))) == list(range(50))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "[" * 1000,
        "!!int x",
        "!!int ''",
        "!!bool maybe",
        "!!timestamp today",
        "!!float ''",
        "2001-99-99",
        "9" * 5000,
        "0x" + "f" * 9999,
        "? [a]\n: b",
        "!!python/object/apply:os.system ['true']",
        "a: [1",
        "\x00",
    ],
)
def test_whatever_cannot_be_read_is_one_kind_of_error(text):
    with pytest.raises(yaml.YAMLError):
        plainyaml.load(text)


def test_what_is_shipped_reads_as_ever():
    shipped = [
        file
        for room, folder in (("recipes", "presets"), ("recipes", "preparations"), ("study", "studies"))
        for file in (files(f"vol2vol.{room}") / folder).iterdir()
    ]
    texts = [file.read_text(encoding="utf-8") for file in shipped if file.name.endswith(".yaml")]
    assert sum("&" in text and "<<" in text for text in texts) >= 1
    for text in texts:
        assert plainyaml.load(text) == yaml.safe_load(text)
