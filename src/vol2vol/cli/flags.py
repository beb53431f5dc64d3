"""The names of settings in messages of the library, as flags of the command line."""

from __future__ import annotations

import re

OTHERS = {"which": "checkpoint"}
"""Arguments in Python whose flag has another name."""
_SETTING = re.compile(r"`([a-z]+(?:_[a-z]+)*)`")


def with_flags(text: str) -> str:
    """Return a message with flags (`--voxel-size`) in place of the settings that it names in backticks."""
    return _SETTING.sub(lambda match: f"--{OTHERS.get(match[1], match[1]).replace('_', '-')}", text)
