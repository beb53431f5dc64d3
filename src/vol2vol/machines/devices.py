"""Find devices by name, set their precision, and free or query their memory."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import cast

import torch

from vol2vol.errors import BadInput


def find_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is a GPU if there is one. Raise `BadInput` if there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in counts:
        raise BadInput(f"device {name!r} is unknown: use auto, cpu, cuda, cuda:1 or mps")
    if (device.index or 0) >= counts[device.type]:
        raise BadInput(f"device {name!r} does not exist on this machine: use `device` cpu")
    return device


def device_of(name: str, place: int) -> str:
    """Return the device of worker number `place`; several GPUs are assigned to workers in turn."""
    several = name in ("auto", "cuda") and torch.cuda.device_count() > 1
    return f"cuda:{place % torch.cuda.device_count()}" if several else name


def full_precision() -> None:
    """Make NVIDIA GPUs compute in float32 instead of TF32 (ten bits), and always with the same kernels."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def release(device: torch.device) -> None:
    """Return memory that allocators keep after tensors are deleted; called after the memory has run out."""
    trim()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def trim() -> None:
    """Return freed memory of this process to the system, if the C library can (glibc).

    Called after every few blocks: otherwise memory freed by several threads is fragmented, and a long-running process
    grows by a tenth. Not called more often, since allocating the memory again costs time.
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
    """Return the bytes of a GPU that a prediction may use now, leaving a fifth for kernels; None for the CPU."""
    return torch.cuda.mem_get_info(device)[0] * 4 // 5 if device.type == "cuda" else None
