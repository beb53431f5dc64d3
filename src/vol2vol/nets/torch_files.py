"""Read PyTorch files (`.pth`, `.ckpt`, states of runs) safely: plain tensors and data, without executing code."""

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
"""Exceptions that PyTorch raises for damaged and malicious files."""


def load_tensors(path: str | Path, cure: str) -> Any:
    """Return the data of a PyTorch file, on the CPU.

    Raises `Unreadable`, ending in `cure`, where the file is damaged, would expand far beyond its size, or has tensors
    that are not plain: sparse, quantised or nested ones, and those that claim more values than the file has.
    """
    try:
        check_zip(path)
        with warnings.catch_warnings():  # torch warns about untrusted pickles before it refuses them
            warnings.simplefilter("ignore")
            data = torch.load(path, map_location="cpu", weights_only=True)
        problem = _problem(data)
    except Unreadable:
        raise
    except pickle.UnpicklingError:  # its message advises to execute the code in the file
        raise Unreadable(f"{path} is not a PyTorch file of plain tensors: {cure}") from None
    except DAMAGED as error:
        raise Unreadable(f"{path} is not a PyTorch file of plain tensors ({one_line(error, 120)}): {cure}") from None
    if problem:
        raise Unreadable(f"{path} has a tensor that is {problem}: {cure}")
    return data


def _problem(data: Any) -> str:
    """Return what is wrong with the first tensor in nested data that is not plain; empty where all are plain."""
    waiting = [data]
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
                return "larger than its data in the file"
    return ""
