"""Mistakes a user can mend: one line each that says what, where and the cure.

The command line turns every `UserError` into that line and exit code 2. Each class also inherits the builtin a
caller of the Python API would catch. A programming mistake of ours is an ordinary exception or an assertion.
`one_line` is the one place where text from outside (paths, attributes, messages of libraries) is made fit to print.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


class UserError(Exception):
    """A wrong input, named so that its owner can mend it."""


class BadInput(UserError, ValueError):
    """A value, shape, dtype, key or file content that does not fit."""


class NotFound(UserError, FileNotFoundError):
    """A file, data set or model that is not where it was said to be."""


class AlreadyExists(UserError, FileExistsError):
    """An output that would be overwritten without having been told so."""


class CannotWrite(UserError, OSError):
    """A full disk, a missing permission, a store that refuses."""


class Unreadable(UserError, OSError):
    """A file or chunk that is there but cannot be decoded."""


class Mismatch(BadInput):
    """A second start that does not match the first: another model, input or plan."""


class WorkerLost(UserError, RuntimeError):
    """A process that was killed, or failed, again and again on the same piece of work."""


class Stopped(KeyboardInterrupt):
    """A signal asked for a stop and what was done is saved; says where, and what the same command does.

    It is a `KeyboardInterrupt`, so that nothing that handles errors takes it for one.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = int(signal)


LINE = 2000
"""Letters of a line on the terminal; what is longer is cut in its middle."""
_BLANK = {"MemoryError": "the memory ran out", "RecursionError": "it is nested too deeply"}
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the reading direction around, so that a line shows something else than it holds."""


def one_line(what: object, most: int = LINE) -> str:
    """Return a text, or what an exception says, as one line that does nothing to a terminal.

    Control characters, line breaks, changes of the reading direction and undecodable bytes are written as escapes
    (`\\x1b`, `\\n`, `\\u202e`); of more than `most` letters the middle is left out. An exception is put into words:
    those it has, with runs of white space as one space, or else those of its name.
    """
    text = _words(what) if isinstance(what, BaseException) else str(what)
    head, tail = text[: most + 1], text[-most:]  # escaping a text of gigabytes would take long
    line = "".join(map(_escaped, head))
    if len(text) <= most and len(line) <= most:
        return line
    left = (most - 5) * 2 // 3
    return f"{line[:left]} ... {''.join(map(_escaped, tail))[-(most - 5 - left) :]}"


def some_of(items: Sequence[str], most: int = 5, *, between: str = ", ") -> str:
    """Return the first of several items, and how many more there are: `a, b and 7 more`."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def _escaped(letter: str) -> str:
    """Return a letter as it is where it prints as itself."""
    plain = letter.isprintable() or (letter.isspace() and letter not in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")
    if plain and letter not in _BIDI:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def _words(error: BaseException) -> str:
    """Return what an exception says, never its bare name."""
    name = type(error).__name__
    if isinstance(error, KeyError) and not isinstance(error, UserError) and error.args:
        return f"{error.args[0]!r} is missing"
    if isinstance(error, OSError) and not isinstance(error, UserError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if text := " ".join(str(error).split()):
        return text
    return _BLANK.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
