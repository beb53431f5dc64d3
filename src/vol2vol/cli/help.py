"""Write the help of a verb from its parser: arguments, options in groups, defaults in words."""

from __future__ import annotations

import re
import shutil
import warnings
from argparse import Action
from collections.abc import Callable, Iterator
from textwrap import wrap
from typing import Any

import tyro

COLUMN = 26
"""Column in which the descriptions of options start."""
_DEFAULT = re.compile(r"\s*\(default: ((?:(?!\(default: ).)*)\)$", re.DOTALL)
"""The default that the parser adds; a description may state a default of its own before it."""
_REQUIRED = " (required)"
_HIDDEN_DEFAULTS = ("None", "False", "True", "", "''")
"""Defaults that are not shown; where they matter, the description states them."""


def parser_of(verb: Callable[..., Any], name: str) -> Any:
    """Return the parser of a verb's arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parser: Any = tyro.extras.get_parser(verb, prog=f"vol2vol {name}", config=(tyro.conf.FlagCreatePairsOff,))
    return parser


def help_of(verb: Callable[..., Any], name: str) -> str:
    """Return the help of a verb: usage, description, arguments, options in groups."""
    parser, width = parser_of(verb, name), min(shutil.get_terminal_size().columns, 100)
    groups = {group.title or "": group for group in parser._action_groups}
    positional = groups.pop("positional arguments", None)
    arguments = [
        action for action in (positional._group_actions if positional else ()) if re.search(r"\w", _values(action))
    ]
    usage = " ".join([f"usage: vol2vol {name}", *(_values(action) for action in arguments), "[options]"])
    lines = [usage, "", *_wrapped(parser.description or "", width)]
    if arguments:
        lines += ["", "arguments:", *(line for action in arguments for line in _entry(action, width))]
    for title, group in groups.items():
        heading = group.description.strip().rstrip(".") if group.description else title
        actions = [action for action in group._group_actions if action.dest != "help"]
        if actions:
            lines += ["", f"{heading}:", *(line for action in actions for line in _entry(action, width))]
    return "\n".join(lines)


def _entry(action: Action, width: int) -> Iterator[str]:
    """Yield the lines of an argument: its name and values, then its description."""
    name = " ".join([*action.option_strings[:1], _values(action)]).strip()
    lines = _wrapped(_description(action), width - COLUMN)
    if len(name) + 4 > COLUMN:
        yield f"  {name}"
    else:
        yield f"  {name:{COLUMN - 2}}{lines.pop(0) if lines else ''}".rstrip()
    yield from (" " * COLUMN + line for line in lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Return lines that break at spaces only, so that options and names are not split."""
    return wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)


def _values(action: Action) -> str:
    """Return the name of an argument's values: `PATH ...` where there may be several, `[NAME]` where it is optional."""
    metavar = action.dest.upper() if action.metavar == "PATH" and not action.option_strings else action.metavar
    words = " ".join(metavar) if isinstance(metavar, tuple) else metavar or ""
    words = words.replace("{None}|", "").replace("{None,", "{")
    if action.nargs == "?" and not action.option_strings:
        return f"[{words}]"
    several = re.fullmatch(r"\[(\S+) \[\1 \.\.\.\]\]", words)
    return f"{several[1]} ..." if several else words


def _description(action: Action) -> str:
    """Return the description of an argument, with its default."""
    text = " ".join((action.help or "").split()).replace(". (repeatable)", "")
    required, default = text.endswith(_REQUIRED), _DEFAULT.search(text)
    text = _DEFAULT.sub("", text).removesuffix(_REQUIRED).rstrip(".")
    if text[1:2].islower():
        text = text[:1].lower() + text[1:]
    if any(option.startswith("--no-") for option in action.option_strings):
        text = f"do not {text}"
    if required and action.option_strings:
        return f"{text} (required)"
    if default is not None and default[1] not in _HIDDEN_DEFAULTS:
        return f"{text} (default: {default[1]})"
    return text
