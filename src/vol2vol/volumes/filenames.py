"""Interpret the file names of a folder: which number counts planes, and which channels, time points or positions."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vol2vol.errors import BadInput, quoted
from vol2vol.volumes.axes import natural

log = logging.getLogger(__name__)

_WORDS = {
    "channels": "c ch chan channel channels wavelength",
    "time points": "t time timepoint tp",
    "positions": "pos position positions xy field fov series scene well site tile",
    "planes": "z slice slices plane sec section zslice",
}
TAGS = {word: kind for kind, words in _WORDS.items() for word in words.split()}
"""Words before a number that say what it counts."""
_VAGUE = {"s": "positions", "f": "positions", "p": "positions", "m": "positions", "w": "channels"}
"""Letters that mean this next to another tag, but alone may count planes (s is series or slice)."""
LETTERS = {"channels": "c", "time points": "t"}
_HOLE = re.compile(r"(\{[^{}]*\}|\*|\?)")


@dataclass(frozen=True)
class _Number:
    """One of the numbers in names that are alike but for their numbers."""

    kind: str
    """What it counts, "" where the word before it does not say."""
    vague: str
    texts: tuple[str, ...]
    """As written, one for each file."""

    @property
    def values(self) -> list[int]:
        return [int(text) for text in self.texts]

    @property
    def varies(self) -> bool:
        return len(set(self.values)) > 1

    @property
    def unique(self) -> bool:
        return len(set(self.values)) == len(self.texts)


def alike(names: Sequence[str]) -> bool:
    """Say whether names differ in nothing but their numbers."""
    return len({tuple(text.lower() for text in re.split(r"\d+", Path(name).stem)) for name in names}) < 2


def in_order(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the planes of one stack in their order.

    Raises `BadInput` where the names say that they are not the planes of one stack (channels, positions, time points,
    texts that differ), where a plane occurs twice or is missing; the message gives a `--pattern` as cure.
    """
    if len(names) == 1:
        return list(names)
    names = sorted(names, key=natural)
    parts = [re.split(r"(\d+)", Path(name).stem) for name in names]
    if not alike(names):
        raise _differing(folder, names, parts)
    numbers = [
        _Number(*_meaning(parts[0][: 2 * i + 1]), tuple(part[2 * i + 1] for part in parts))
        for i in range(len(parts[0]) // 2)
    ]
    plane = _plane(folder, names, numbers)
    pattern = _pattern(names[0], numbers, {plane: "{z}"})
    order = sorted(range(len(names)), key=lambda i: numbers[plane].values[i])
    check_gaps(folder, [numbers[plane].values[i] for i in order], pattern.replace("{z}", "*"))
    return [names[i] for i in order]


def _meaning(before: Sequence[str]) -> tuple[str, str]:
    """Return what a number counts by the word before it, and what it may count by an ambiguous letter."""
    word = re.search(r"([A-Z]+|[A-Z]?[a-z]+)[\W_]*$", before[-1])
    text = word[1].lower() if word else ""
    return TAGS.get(text, ""), _VAGUE.get(text, "")


def _plane(folder: Path, names: Sequence[str], numbers: Sequence[_Number]) -> int:
    """Return which number counts the planes; raise `BadInput` where none does, or where a second number varies."""
    varying = [i for i, number in enumerate(numbers) if number.varies]
    if not varying:
        raise BadInput(f"{folder} holds {names[0]} and {names[1]}, twice the same plane: move one out of the folder")
    tagged = any(number.kind for number in numbers) or sum(bool(number.vague) for number in numbers) > 1
    kinds = {i: numbers[i].kind or (numbers[i].vague if tagged or len(varying) > 1 else "") for i in varying}
    planes = [i for i in varying if kinds[i] == "planes"]
    others = [i for i in varying if kinds[i] not in ("", "planes")]
    unnamed = [i for i in varying if not kinds[i]]
    candidates = [
        *(i for i in planes if numbers[i].unique),
        *planes[::-1],
        *(i for i in unnamed if numbers[i].unique),
        *unnamed[::-1],
    ]
    plane = candidates[0] if candidates else None
    if plane is not None and not others and numbers[plane].unique:
        if numbers[plane].vague:
            log.warning(
                "%s: %s to %s are taken as the planes of one stack; if they are %s, name one file instead",
                *(folder, names[0], names[-1], numbers[plane].vague),
            )
        return plane
    if plane is not None and not others and len(varying) == 1:
        raise _doubled(folder, names, numbers[plane])
    raise _several(folder, names, numbers, kinds, plane)


def _doubled(folder: Path, names: Sequence[str], plane: _Number) -> BadInput:
    values = plane.values
    second = next(i for i, value in enumerate(values) if value in values[:i])
    first = names[values.index(values[second])]
    return BadInput(
        f"{folder} holds plane {values[second]} twice, {first} and {names[second]}: move one out of the folder"
    )


def _several(
    folder: Path, names: Sequence[str], numbers: Sequence[_Number], kinds: Mapping[int, str], plane: int | None
) -> BadInput:
    """Return the error that lists what the names count besides planes, and how to choose."""
    other = next((i for i in kinds if i != plane and kinds[i]), next(i for i in kinds if i != plane))
    kind = kinds[other] if kinds[other] not in ("", "planes") else "values of a second number"
    texts = list(dict.fromkeys(numbers[other].texts))
    listed = ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")
    marks = {} if plane is None else {plane: "{z}"}
    problem = f"{folder} holds {len(texts)} {kind} ({listed}, as in {names[0]}), not the planes of one stack: "
    letter = LETTERS.get(kind, "")
    ways = []
    if letter:
        choice = " and `time` N" if letter == "t" else ""
        pattern = _pattern(names[0], numbers, {**marks, other: f"{{{letter}}}"})
        ways.append(f"`pattern` {quoted(pattern)}{choice} to read all")
    if plane is not None:
        ways.append(f"`pattern` {quoted(_pattern(names[0], numbers, marks))} for one of them")
    else:
        ways.append(f"`pattern` {quoted(_pattern(names[0], numbers, {other: '{z}'}))} if they are planes")
    return BadInput(f"{problem}give {', or '.join(ways)}, or name a single file")


def _differing(folder: Path, names: Sequence[str], parts: Sequence[Sequence[str]]) -> BadInput:
    """Return the error for names that differ in more than their numbers; it names two with the same number, if any."""
    texts = [[text.lower() for text in part[::2]] for part in parts]
    seen: dict[int, int] = {}
    first, second = 0, next(i for i, text in enumerate(texts) if text != texts[0])
    difference = "whose names differ in more than a number"
    for i, part in enumerate(parts):
        if len(part) > 1 and seen.setdefault(int(part[-2]), i) != i:
            first, second, difference = seen[int(part[-2])], i, f"both number {int(part[-2])}"
            break
    stem, suffix = parts[first], Path(names[first]).suffix
    alike = [*stem[:-2], "{z}", stem[-1]] if len(stem) > 1 else []
    option = f"`pattern` {quoted(''.join([*alike, suffix]))} for those like the first, " if alike else ""
    return BadInput(
        f"{folder} holds {names[first]} and {names[second]}, {difference}: "
        f"give {option}`pattern` '*' to take all as the planes of one stack in this order, or name a single file"
    )


def _pattern(name: str, numbers: Sequence[_Number], marks: Mapping[int, str]) -> str:
    """Return a name as a pattern: marks in place of some numbers, the others as they are."""
    parts = re.split(r"(\d+)", Path(name).stem)
    for i, mark in marks.items():
        parts[2 * i + 1] = mark
    return "".join(parts) + Path(name).suffix


def check_gaps(folder: Path, numbers: Sequence[int], pattern: str) -> None:
    """Raise `BadInput`, naming the first missing number, unless ascending numbers are evenly spaced."""
    steps = [b - a for a, b in pairwise(numbers)]
    if len(set(steps)) < 2:
        return
    step = min(steps)
    last = next(a for a, b in pairwise(numbers) if b - a != step)
    lacking = sum(s // step - 1 for s in steps)
    more = f" and {lacking - 1} more" if lacking > 1 else ""
    cure = f", or give `pattern` {quoted(pattern)} to close the gap" if pattern else ""
    raise BadInput(f"{folder} lacks plane {last + step}{more}, and every later plane would move up: put it back{cure}")


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """The files of a folder as a grid of images."""

    axes: str
    """Letters of the axes that run over files, in order; some of `tcz`."""
    shape: tuple[int, ...]
    names: list[str]
    """Row by row: the last axis fastest."""
    channels: tuple[str, ...] = ()
    """The texts in place of {c}."""


def arranged(folder: Path, names: Sequence[str], pattern: str) -> Arranged:
    """Return the files that match a pattern: `{z}`, `{c}` and `{t}` stand for planes, channels and time points.

    `*` stands for anything and `?` for one character; without braces, all files that match are planes in natural order,
    whatever their numbers. Raises `BadInput` where no file matches, where two files are the same plane and where one
    is missing.
    """
    rule, letters = _rule(pattern)
    fitting = [(name, match) for name in sorted(names, key=natural) if (match := rule.fullmatch(name))]
    if not fitting:
        examples = ", ".join(sorted(names, key=natural)[:3])
        raise BadInput(f"{folder} holds no image that fits `pattern` '{pattern}': it holds {examples}")
    if not letters:
        return Arranged(axes="z", shape=(len(fitting),), names=[name for name, _ in fitting])
    axes = [a for a in "tcz" if a in letters]
    files: dict[tuple[int | str, ...], str] = {}
    for name, match in fitting:
        place = tuple(match[a] if a == "c" else int(match[a]) for a in axes)
        if place in files:
            place_text = ", ".join(f"{a} = {value}" for a, value in zip(axes, place, strict=True))
            raise BadInput(
                f"{folder} holds {files[place]} and {name}, both {place_text}: give a `pattern` that fits one"
            )
        files[place] = name
    values = [sorted({place[i] for place in files}, key=lambda v: natural(str(v))) for i in range(len(axes))]
    for place in _grid(values):
        if place not in files:
            place_text = ", ".join(f"{a} = {value}" for a, value in zip(axes, place, strict=True))
            raise BadInput(f"{folder} lacks the image of {place_text}: put it back, or give a `pattern` without it")
    if "z" in axes:
        planes = [int(value) for value in values[axes.index("z")]]
        check_gaps(folder, planes, pattern.replace("{z}", "*") if axes == ["z"] else "")
    return Arranged(
        axes="".join(axes),
        shape=tuple(len(column) for column in values),
        names=[files[place] for place in _grid(values)],
        channels=tuple(str(value) for value in values[axes.index("c")]) if "c" in axes else (),
    )


def _grid(values: Sequence[Sequence[int | str]]) -> list[tuple[int | str, ...]]:
    places: list[tuple[int | str, ...]] = [()]
    for column in values:
        places = [(*place, value) for place in places for value in column]
    return places


def _rule(pattern: str) -> tuple[re.Pattern[str], list[str]]:
    """Return a pattern as an expression with named groups, and the letters in its braces."""
    if "/" in pattern or "\\" in pattern:
        raise BadInput(
            f"`pattern` '{pattern}' names a folder: name the folder before it, and only files in the pattern"
        )
    parts, letters = [], []
    for part in _HOLE.split(pattern):
        if part in ("*", "?"):
            parts.append(".*" if part == "*" else ".")
        elif part in ("{z}", "{t}", "{c}"):
            letters.append(part[1])
            parts.append(f"(?P<{part[1]}>{'.+?' if part == '{c}' else '[0-9]+'})")
        elif _HOLE.fullmatch(part):
            raise BadInput(
                f"`pattern` '{pattern}' holds {part}: write {{z}}, {{c}} or {{t}} for numbers, * for anything"
            )
        else:
            parts.append(re.escape(part))
    if len(set(letters)) < len(letters):
        raise BadInput(f"`pattern` '{pattern}' holds {{{letters[0]}}} twice: write * in one of the places")
    return re.compile("".join(parts), re.DOTALL), letters
