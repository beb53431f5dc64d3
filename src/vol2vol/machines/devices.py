"""Which device a name means, and what it has left."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import cast

import torch

from vol2vol.errors import BadInput


def find_device(name: str) -> torch.device:
    """Return the device of this name, `auto` being a GPU where there is one; raise `BadInput` where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in there:
        raise BadInput(f"device {name!r} is unknown: use auto, cpu, cuda, cuda:1 or mps")
    if (device.index or 0) >= there[device.type]:
        raise BadInput(f"device {name!r} is not there: use --device cpu")
    return device


def device_of(name: str, place: int) -> str:
    """Return the device of one of several workers, given its number: of several GPUs each takes one in turn."""
    several = name in ("auto", "cuda") and torch.cuda.device_count() > 1
    return f"cuda:{place % torch.cuda.device_count()}" if several else name


def full_precision() -> None:
    """Let NVIDIA GPUs compute float32 as float32, not as TF32 with its ten bits, and choose the same kernels always."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def release(device: torch.device) -> None:
    """Give back what allocators keep of tensors that are gone, after the memory has run out."""
    trim()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def trim() -> None:
    """Give freed memory of this process back to the system, where the C library can be told to (glibc).

    Called after every few blocks: otherwise what threads free in turns lies scattered, and a process that goes on for
    long grows by a tenth. Memory that has been given back costs time when it is had again.
    """
    if (trimming := _trimming()) is not None:
        trimming(0)


@functools.cache
def _trimming() -> Callable[[int], int] | None:
    try:
        return cast(Callable[[int], int], ctypes.CDLL(None).malloc_trim)
    except (AttributeError, OSError, TypeError):
        return None


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a prediction may take of a GPU now, a fifth left for kernels; None for the host."""
    return torch.cuda.mem_get_info(device)[0] * 4 // 5 if device.type == "cuda" else None
