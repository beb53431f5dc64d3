"""The full state of a run in one file: tensors and plain data, replaced whole, loaded without executing anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from vol2vol.errors import BadInput, CannotWrite, one_line
from vol2vol.nets.stored import load_tensors

SCHEMA = 1


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace the state on disk; the old one stays until the new one is whole. Raises `CannotWrite`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save({"schema": SCHEMA, **state}, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise CannotWrite(f"{path} cannot be written ({one_line(error, 300)}): free space and start again") from None


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the state on disk, on the CPU, or None where there is none yet.

    Raises `Unreadable` where the file is damaged, `BadInput` where a newer version wrote it.
    """
    if not path.exists():
        return None
    state = load_tensors(path, "allow overwriting to start again; its models still predict")
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise BadInput(f"{path} is not a state this vol2vol reads: use the version that began the run")
    return state
