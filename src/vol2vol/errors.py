"""Mistakes a user can mend: one line each that says what, where and the cure.

The command line turns every `UserError` into that line and exit code 2. Each class also inherits the builtin a
caller of the Python API would catch. A programming mistake of ours is an ordinary exception or an assertion.
"""


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
