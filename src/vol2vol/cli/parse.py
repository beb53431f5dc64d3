"""Words of a command line to the call of a verb; a mistake becomes one line like every other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial, wraps
from inspect import signature
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vol2vol.cli import show
from vol2vol.cli.help import help_of
from vol2vol.errors import BadInput, some_of

if TYPE_CHECKING:
    from vol2vol.volumes import Stated

Stored = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
Axes = Annotated[str | None, tyro.conf.arg(metavar="ZYX")]
VoxelSize = Annotated[str | None, tyro.conf.arg(metavar="Z,Y,X")]
Channels = Annotated[str | None, tyro.conf.arg(metavar="C[,C...]")]
Text = Annotated[str | None, tyro.conf.arg(metavar="STR")]
Paths = Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH ...")]
Domains = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=PATH")]
Overrides = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[KEY=VALUE ...]")]


@dataclass(frozen=True)
class Metadata:
    """Metadata that is missing from a volume's file."""

    axes: Axes = None
    """order of the array's axes, such as zyx or cyx."""
    voxel_size: VoxelSize = None
    """voxel size; Y,X for an image."""
    unit: Text = None
    """unit of the voxel size, such as nanometer."""
    time: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """which of several time points, counted from 0."""
    channels: Channels = None
    """which channels, by name or by number from 0, such as 0,2 or DAPI."""
    pattern: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """which files of a folder of images are one stack: {z}, {c} and {t} stand for the numbers of plane, channel and
    time point, * for anything, such as 'cell_z{z}_c{c}.tif'."""
    image: Annotated[str | None, tyro.conf.arg(metavar="IMAGE")] = None
    """which image of a TIFF that holds several, by name or by number from 0."""

    def keywords(self) -> Stated:
        """Return the keywords by which verbs take it."""
        size = show.numbers(self.voxel_size, "--voxel-size")
        return {
            "axes": self.axes,
            "voxel_size": size,
            "unit": self.unit,
            "time": self.time,
            "channels": channels(self.channels),
            "pattern": self.pattern,
            "image": self.image,
        }


def channels(text: str | None) -> list[str] | None:
    """Return the channels of a flag, names or numbers, None where it is not given."""
    return None if text is None else [name.strip() for name in text.split(",")]


About = tyro.conf.OmitArgPrefixes[Metadata]
SAID = Metadata()
"""The file says it all."""

_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.[\w*-]+)*=")
"""How a change to a recipe begins, wherever it stands among the words."""
_RULE = re.compile(r"\A.*\n *-{3,} *$|^(?:[╭╰]|│\s*─{3}).*$|^ *-{3,} *$", re.MULTILINE)
"""Lines of the parser's box that say nothing: its heading and its rules, drawn in ASCII where that is the locale."""
_NOISE = (
    (re.compile(r"\d+ validation errors? for \w+\s*"), ""),
    (re.compile(r"(Value|Assertion) error, "), ""),
    (re.compile(r"\[type=.*?input_type=\w+\]"), ""),
    (re.compile(r"For further information visit \S+"), ""),
)
_VALUES = (
    (
        re.compile(r"Error parsing (--\S+): .*invalid literal for int\(\) with base 10: (.*)"),
        r"\1 is a whole number, not \2",
    ),
    (re.compile(r"Error parsing (--\S+): .*could not convert string to float: (.*)"), r"\1 is a number, not \2"),
    (
        re.compile(r"Error parsing settings: (\w+) Input should be (.*)"),
        lambda match: f"--{match[1].replace('_', '-')} must be {match[2]}",
    ),
)
"""What the parser says about values, and the same in words."""
_BESIDE = ("For full helptext", "Argument helptext")


def call(verb: Callable[..., None], words: Sequence[str], name: str) -> None:
    """Parse the words after a verb's name and call its function; raise `BadInput` for words that do not fit."""
    if {"-h", "--help"} & set(words):
        print(help_of(verb, name))
        return
    words, overrides = _parted(verb, words)
    said = StringIO()
    try:
        with redirect_stderr(said):
            parsed: Any = tyro.cli(
                _later(verb, overrides), args=words, prog=f"vol2vol {name}", config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit:
        raise BadInput(f"{_one_line(said.getvalue())}: see vol2vol {name} --help") from None
    with show.step_progress():
        parsed()


def _parted(verb: Callable[..., None], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words without changes to a recipe, and these, of a verb that takes them.

    They may stand anywhere, also after an option that takes several values; the word right after an option is its
    value, and what names a file is a file.
    """
    if "overrides" not in signature(verb).parameters:
        return list(words), []
    kept: list[str] = []
    overrides: list[str] = []
    for before, word in zip(("", *words), words, strict=False):
        change = _OVERRIDE.match(word) and not before.startswith("--") and not Path(word).exists()
        (overrides if change else kept).append(word)
    return kept, overrides


def _later(verb: Callable[..., None], overrides: Sequence[str]) -> Callable[..., Callable[[], None]]:
    """Make a verb return its call instead of doing it, so that its own messages are not taken for the parser's."""

    @wraps(verb)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], None]:
        bound = signature(verb).bind(*args, **kwargs)
        if overrides:
            bound.arguments["overrides"] = (*overrides, *bound.arguments.get("overrides", ()))
        return partial(verb, *bound.args, **bound.kwargs)

    return bind


def _one_line(box: str) -> str:
    """Return what the parser's box says, without the box and without the help it repeats."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    if missing := _missing(text):
        return f"{some_of(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    parts = [" ".join(part.replace("│", " ").split()) for part in _RULE.split(text)]
    said = "; ".join(part for part in parts if part and not part.startswith(_BESIDE))
    for pattern, instead in (*_NOISE, *_VALUES):
        said = pattern.sub(instead, said)
    return " ".join(said.split()).rstrip(".:")


def _missing(box: str) -> list[str]:
    """Return the names of what is missing: they stand below such a heading, their help further to the right."""
    lines = [line.replace("│", " ").rstrip() for line in box.splitlines()]
    start = next((number for number, line in enumerate(lines, start=1) if "Missing from" in line), len(lines))
    named = list(takewhile(lambda line: line.strip(" -─"), lines[start:]))
    indents = [len(line) - len(line.lstrip()) for line in named]
    return [line.split()[0] for line, indent in zip(named, indents, strict=True) if indent == min(indents)]
