"""Parse the words of a command line and call the function of a verb; an error of the user becomes one line."""

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
Name = Annotated[str, tyro.conf.arg(metavar="NAME")]
Folder = Annotated[str, tyro.conf.arg(metavar="FOLDER")]
OptionalFolder = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]
File = Annotated[str | None, tyro.conf.arg(metavar="FILE")]
Volume = Annotated[str | None, tyro.conf.arg(metavar="VOLUME")]
Model = Annotated[str | None, tyro.conf.arg(metavar="MODEL")]
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
    unit: Annotated[str | None, tyro.conf.arg(metavar="UNIT")] = None
    """unit of the voxel size, such as nanometer."""
    time: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """the time point to use, counted from 0, if there are several."""
    channels: Channels = None
    """the channels to use, by name or by number from 0, such as 0,2 or DAPI."""
    pattern: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """the files of a folder that form one stack: {z}, {c} and {t} stand for the numbers of plane, channel and time
    point, * for anything, such as 'cell_z{z}_c{c}.tif'."""
    image: Annotated[str | None, tyro.conf.arg(metavar="IMAGE")] = None
    """the image of a TIFF that holds several, by name or by number from 0."""

    def keywords(self) -> Stated:
        """Return the metadata as keywords of the functions that open volumes."""
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
    """Return the channels of an option, names or numbers; None without the option."""
    return None if text is None else [name.strip() for name in text.split(",")]


MetadataOptions = tyro.conf.OmitArgPrefixes[Metadata]
NO_METADATA = Metadata()
"""The volume files state all metadata."""

_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.[\w*-]+)*=")
"""The beginning of a `key.sub=value` change to a recipe."""
_RULE = re.compile(r"\A.*\n *-{3,} *$|^(?:[╭╰]|│\s*─{3}).*$|^ *-{3,} *$", re.MULTILINE)
"""Heading and rules of the parser's box, in Unicode or ASCII."""
_NOISE = (
    (re.compile(r"\d+ validation errors? for \w+\s*"), ""),
    (re.compile(r"(Value|Assertion) error, "), ""),
    (re.compile(r"\[type=.*?input_type=\w+\]"), ""),
    (re.compile(r"For further information visit \S+"), ""),
)
_VALUES = (
    (
        re.compile(r"Error parsing (--\S+): .*invalid literal for int\(\) with base 10: (.*)"),
        r"\1 must be a whole number, not \2",
    ),
    (re.compile(r"Error parsing (--\S+): .*could not convert string to float: (.*)"), r"\1 must be a number, not \2"),
    (
        re.compile(r"Error parsing settings: (\w+) Input should be (.*)"),
        lambda match: f"--{match[1].replace('_', '-')} must be {match[2]}",
    ),
)
"""Messages of the parser about values, and their replacements."""
_REPEATED_HELP = ("For full helptext", "Argument helptext")
"""Beginnings of lines in which the parser repeats its help."""


def call(verb: Callable[..., None], words: Sequence[str], name: str) -> None:
    """Parse the words after a verb's name and call its function; raise `BadInput` for words that do not fit."""
    if {"-h", "--help"} & set(words):
        print(help_of(verb, name))
        return
    words, overrides = _parted(verb, words)
    errors = StringIO()
    try:
        with redirect_stderr(errors):
            parsed: Any = tyro.cli(
                _later(verb, overrides), args=words, prog=f"vol2vol {name}", config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit:
        raise BadInput(f"{_one_line(errors.getvalue())}: see vol2vol {name} --help") from None
    with show.step_progress():
        parsed()


def _parted(verb: Callable[..., None], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of a verb without `key.sub=value` changes to a recipe, and these changes.

    Changes may stand anywhere, also after an option with several values. The word right after an option is always its
    value, and the name of an existing file is never a change.
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
    """Return a function that binds the arguments of a verb without calling it, so that its output is not captured."""

    @wraps(verb)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], None]:
        bound = signature(verb).bind(*args, **kwargs)
        if overrides:
            bound.arguments["overrides"] = (*overrides, *bound.arguments.get("overrides", ()))
        return partial(verb, *bound.args, **bound.kwargs)

    return bind


def _one_line(box: str) -> str:
    """Return the text of the parser's box, without its frame and without the help that it repeats."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    if missing := _missing(text):
        return f"{some_of(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    parts = [" ".join(part.replace("│", " ").split()) for part in _RULE.split(text)]
    message = "; ".join(part for part in parts if part and not part.startswith(_REPEATED_HELP))
    for pattern, instead in (*_NOISE, *_VALUES):
        message = pattern.sub(instead, message)
    return " ".join(message.split()).rstrip(".:")


def _missing(box: str) -> list[str]:
    """Return the missing arguments that the parser lists below a heading; their help is indented further."""
    lines = [line.replace("│", " ").rstrip() for line in box.splitlines()]
    start = next((number for number, line in enumerate(lines, start=1) if "Missing from" in line), len(lines))
    named = list(takewhile(lambda line: line.strip(" -─"), lines[start:]))
    indents = [len(line) - len(line.lstrip()) for line in named]
    return [line.split()[0] for line, indent in zip(named, indents, strict=True) if indent == min(indents)]
