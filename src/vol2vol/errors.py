"""Define the errors that a user can correct: each message is one line that says what is wrong, where, and the cure.

A cure names settings and arguments in backticks, as Python takes them: `voxel_size`. The command line prints the line
with its own flags instead (`cli/flags.py`) and exits with code 2. Each class also inherits the builtin exception that a
caller of the Python API would catch. Programming errors are ordinary exceptions or assertions. `one_line` escapes text
from outside (paths, attributes, messages of libraries) for the terminal, `quoted` writes a path so that a command which
a message suggests can be pasted into a shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from os import PathLike


class UserError(Exception):
    """An error that the user can correct."""


class BadInput(UserError, ValueError):
    """A value, shape, dtype, key or file content that is not valid."""


class NotFound(UserError, FileNotFoundError):
    """A file, data set or model that does not exist at the given path."""


class AlreadyExists(UserError, FileExistsError):
    """An output that exists and may not be overwritten."""


class CannotWrite(UserError, OSError):
    """A full disk, a missing permission, a store that refuses."""


class Unreadable(UserError, OSError):
    """A file or chunk that exists but cannot be decoded."""


class Mismatch(BadInput):
    """A second start with another model, input or plan than the first."""


class WorkerLost(UserError, RuntimeError):
    """A process that was killed, or failed, repeatedly on the same piece of work."""


class Stopped(KeyboardInterrupt):
    """A stop on request of a signal, after the work so far was saved; the message says where, and how to continue.

    It is a `KeyboardInterrupt`, so that code that handles errors does not catch it.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = int(signal)


LINE = 2000
"""Maximum length of a line on the terminal; longer lines are shortened in the middle."""
_BLANK = {"MemoryError": "the memory ran out", "RecursionError": "it is nested too deeply"}
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the reading direction, so that a terminal shows another text than the line contains."""


def one_line(what: object, most: int = LINE) -> str:
    """Return a text, or the message of an exception, as one line that is safe to print on a terminal.

    Control characters, line breaks, changes of the reading direction and undecodable bytes are written as escapes
    (`\\x1b`, `\\n`, `\\u202e`); a line of more than `most` characters is shortened in the middle. In messages of
    exceptions, runs of white space become one space; an exception without a message is described by its name.
    """
    text = _words(what) if isinstance(what, BaseException) else str(what)
    head, tail = text[: most + 1], text[-most:]  # escaping a text of gigabytes would take long
    line = "".join(map(_escaped, head))
    if len(text) <= most and len(line) <= most:
        return line
    left = (most - 5) * 2 // 3
    return f"{line[:left]} ... {''.join(map(_escaped, tail))[-(most - 5 - left) :]}"


def quoted(word: str | PathLike[str]) -> str:
    """Return a path or pattern as a word of a command that a message suggests: in quotes where a shell needs them."""
    return shlex.quote(str(word))


def some_of(items: Sequence[str], most: int = 5, *, between: str = ", ") -> str:
    """Return the first `most` items and the number of the others: `a, b and 7 more`."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def _escaped(letter: str) -> str:
    """Return a character unchanged where it is printable, otherwise its escape."""
    plain = letter.isprintable() or (letter.isspace() and letter not in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")
    if plain and letter not in _BIDI:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def _words(error: BaseException) -> str:
    """Return the message of an exception; its name in words where it has none."""
    name = type(error).__name__
    if isinstance(error, KeyError) and not isinstance(error, UserError) and error.args:
        return f"{error.args[0]!r} is missing"
    if isinstance(error, OSError) and not isinstance(error, UserError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if text := " ".join(str(error).split()):
        return text
    return _BLANK.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
