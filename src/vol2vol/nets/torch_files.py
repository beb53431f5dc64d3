"""Files of PyTorch (`.pth`, `.ckpt`, states of runs): plain tensors and plain data, nothing executed."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vol2vol.errors import Unreadable, one_line
from vol2vol.files import check_zip

DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What PyTorch raises for damaged and for hostile files."""


def load_tensors(path: str | Path, cure: str) -> Any:
    """Return what a file of PyTorch holds, on the CPU.

    Raises `Unreadable` ending in `cure` where the file is damaged, expands far beyond its size, or holds tensors that
    are not plain: sparse or quantised ones, and those that claim more values than the file has.
    """
    try:
        check_zip(path)
        with warnings.catch_warnings():  # torch warns of pickles of strangers before it refuses them
            warnings.simplefilter("ignore")
            held = torch.load(path, map_location="cpu", weights_only=True)
        strange = _strange(held)
    except Unreadable:
        raise
    except pickle.UnpicklingError:  # whose text advises to execute what is in the file
        raise Unreadable(f"{path} is not a PyTorch file of plain tensors: {cure}") from None
    except DAMAGED as error:
        raise Unreadable(f"{path} is not a PyTorch file of plain tensors ({one_line(error, 120)}): {cure}") from None
    if strange:
        raise Unreadable(f"{path} holds a tensor that is {strange}: {cure}")
    return held


def _strange(held: Any) -> str:
    """Say what the first tensor is that is not plain, nothing where all are; nested data is searched."""
    waiting = [held]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_quantized or value.is_nested:
                return "sparse, quantised or nested"
            if value.device.type != "cpu" or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                return "larger than what the file holds of it"
    return ""
