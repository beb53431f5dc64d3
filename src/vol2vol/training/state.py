"""Keep the full state of a run in one file of tensors and plain data, which is read without executing any code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vol2vol.errors import BadInput
from vol2vol.files import written_whole
from vol2vol.nets.torch_files import load_tensors

SCHEMA = 2


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace the state on disk once the new state is complete. Raises `CannotWrite`."""
    with written_whole(path, RuntimeError) as partial:
        torch.save({"schema": SCHEMA, **state}, partial)


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the state on disk, on the CPU, or None if there is no file yet.

    Raises `Unreadable` if the file is damaged, `BadInput` if another version wrote it.
    """
    if not path.exists():
        return None
    state = load_tensors(path, "`overwrite` starts again; the models in the run can still predict")
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise BadInput(f"{path} is not a state that this vol2vol reads: use the version that started the run")
    return state


def random_state() -> dict[str, Any]:
    """Return the state of torch's random number generators in this process."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what `random_state` returned; the state of GPUs only if their number is the same."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
