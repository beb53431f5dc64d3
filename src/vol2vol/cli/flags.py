"""Print the settings that messages of the library name as options of the command line."""

from __future__ import annotations

import re

OTHERS = {"which": "checkpoint"}
"""Arguments in Python whose option has another name."""
_SETTING = re.compile(r"`([a-z]+(?:_[a-z]+)*)`")


def with_flags(text: str) -> str:
    """Return a message with options (`--voxel-size`) in place of the settings that it names in backticks."""
    return _SETTING.sub(lambda match: f"--{OTHERS.get(match[1], match[1]).replace('_', '-')}", text)
