"""Which device a name means, and what it has left."""

from __future__ import annotations

import torch

from vol2vol.errors import BadInput


def find_device(name: str) -> torch.device:
    """Return the device of this name, `auto` being a GPU where there is one; raise `BadInput` where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput(f"device {name!r} is unknown: use auto, cpu, cuda, cuda:1 or mps") from None
    absent = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if absent.get(device.type, False):
        raise BadInput(f"device {name!r} is not there: use --device cpu")
    return device


def release(device: torch.device) -> None:
    """Give back what a GPU's allocator keeps of tensors that are gone, after the memory has run out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a prediction may take of a GPU now, a fifth left for kernels; None for the host."""
    return torch.cuda.mem_get_info(device)[0] * 4 // 5 if device.type == "cuda" else None
