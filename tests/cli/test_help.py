"""Tests of `--help`: every verb has it, it names every option, and it uses words."""

import re

import pytest
from tests.cli.test_verbs import KINDS_OF_VERBS

from vol2vol.cli import VERBS, main


def test_help_names_every_verb(capsys):
    for words in ([], ["--help"], ["-h"]):
        assert main(words) == 0
        printed = capsys.readouterr().out
        assert all(f"  {verb} " in printed for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb, capsys):
    assert main([verb, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: vol2vol {verb}")
    assert not err


@pytest.mark.parametrize(("verb", "argument"), [("recipes", "NAME"), ("study", "STUDY")])
def test_help_shows_which_argument_is_optional(verb, argument, capsys):
    assert main([verb]) == 0  # it lists what there is
    capsys.readouterr()
    main([verb, "--help"])
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage == f"usage: vol2vol {verb} [{argument}] [KEY=VALUE ...] [options]"
    assert any(line.startswith(f"  [{argument}] ") for line in lines)
    assert main(["predict", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: vol2vol predict MODEL INPUT ... OUTPUT [options]\n")


@pytest.mark.parametrize("verb", [*VERBS, *KINDS_OF_VERBS])
def test_help_states_a_default_once_and_brackets_once(verb, capsys):
    if verb in ("evaluate", "phantom"):
        return
    main([*verb.split(), "--help"])
    out = capsys.readouterr().out
    entries = re.split(r"\n  (?=\S)", out)
    assert not [entry for entry in entries if entry.count("(default: ") > 1]
    assert "[[" not in out
    assert not re.search(r"\S  \S", out.partition("\narguments:")[0].partition("\noptions:")[0])


def test_help_describes_every_flag(capsys):
    main(["predict", "--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("--strategy {exact,printed,disjoint,average,blend", "seamless", "--roi", "--dry-run", "--raw"):
        assert words in printed, words
    assert "--no-overwrite" not in printed


@pytest.mark.parametrize("verb", [*VERBS, *KINDS_OF_VERBS])
def test_help_speaks_in_words(verb, capsys):
    """Headings are not names of fields, defaults such as None are not shown, and values have different names."""
    if verb in ("evaluate", "phantom"):
        return
    assert main([*verb.split(), "--help"]) == 0
    out = capsys.readouterr().out
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert not [line for line in headings if re.fullmatch(r"\w+ options:", line)]
    assert "arguments:" in headings or " [options]" in out
    for words in ("default: None", "default: False", "default: )", "default: ''", "{None", "PATH PATH", " . ", ". ("):
        assert words not in out.replace(" ...", ""), words
    for flag in re.findall(r"^  --no-[^\n]*\n?[^\n]*", out, re.MULTILINE):
        assert "do not " in flag
    usage = out.splitlines()[0]
    assert len(set(re.findall(r"[A-Z]{2,}", usage))) == len(re.findall(r"[A-Z]{2,}", usage))
