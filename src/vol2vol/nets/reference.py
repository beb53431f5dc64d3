"""Read the U-Net generators of the public reference code of the stitching paper.

Its blocks are nested: block i is inside block i-1 as `model.3` (`model.1` in the outermost) and holds its own
convolution, norm, inner block, transposed convolution and norm under fixed numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vol2vol.errors import BadInput, NotFound
from vol2vol.nets.torch_files import load_tensors
from vol2vol.nets.unet import UNet

_COUNTER = "num_batches_tracked"


def load_reference(path: str | Path, dims: int) -> UNet:
    """Read a generator's `.pth` of the reference code; tensors only, nothing in the file is executed.

    Raises `NotFound`, `Unreadable` where the file is not a PyTorch file of tensors, and as `from_reference` does.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"{path} is not a file: give the .pth of one generator, such as latest_net_G_A.pth")
    return from_reference(load_tensors(path, "give the .pth of one generator"), dims)


def from_reference(state: Mapping[str, Any], dims: int) -> UNet:
    """Build the U-Net of these weights, norm "tracked", in eval mode; keys and shapes must match exactly.

    Width, levels and channels are inferred. Its input is value/255, its output the raw tanh. Raises `BadInput`,
    naming the entry, for anything missing, unexpected, of another shape or not finite, and for other architectures.
    """
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput("this is not a state dictionary of one generator: give a file such as latest_net_G_A.pth")
    entries = {str(key).removeprefix("module."): value for key, value in state.items()}
    net = _like(entries, dims)
    expected, own = _keys(net.arguments["levels"]), net.state_dict()
    required = {key for key in expected if expected[key] in own}
    _check_keys(required, {key for key in entries if not key.endswith(_COUNTER)})
    for key in sorted(required):
        _check_entry(key, entries[key], own[expected[key]].shape)
    net.load_state_dict({expected[key]: entries[key].float() for key in required})
    return net.eval()


def _like(entries: Mapping[str, Tensor], dims: int) -> UNet:
    """Build a U-Net with the width, depth and channels of these weights."""
    first = entries.get("model.model.0.weight")
    if first is None:
        if any(key.startswith("model.1.") for key in entries):
            raise BadInput("this looks like a ResNet generator or a critic: only the U-Net generators can be read")
        raise BadInput(
            "this state dictionary has no entry 'model.model.0.weight': it is not a U-Net of the reference code"
        )
    if first.ndim - 2 != dims:
        raise BadInput(f"these weights are of a {first.ndim - 2}D network, not {dims}D: use dims {first.ndim - 2}")
    levels = 1
    while f"{_block(levels)}1.weight" in entries:
        levels += 1
    last = entries.get("model.model.3.weight")
    if levels < 2 or last is None or last.ndim < 2:
        raise BadInput("this U-Net is not complete: 'model.model.3.weight' or its inner blocks are missing")
    with torch.random.fork_rng(devices=[]):
        return UNet(
            dims,
            in_channels=first.shape[1],
            out_channels=last.shape[1],
            width=first.shape[0],
            levels=levels,
            norm="tracked",
        )


def _block(level: int) -> str:
    """Return the prefix of the entries of a block; level 0 is the outermost."""
    return "model.model." if level == 0 else "model.model.1.model." + "3.model." * (level - 1)


def _keys(levels: int) -> dict[str, str]:
    """Return, by entry of a reference generator of this depth, the name of the entry in `UNet`."""
    keys: dict[str, str] = {}
    for level in range(levels):
        block, innermost = _block(level), level == levels - 1
        down, up = ("0", "3") if level == 0 else ("1", "3" if innermost else "5")
        step = f"decoder.{levels - 1 - level}"
        for part in ("weight", "bias"):
            keys[f"{block}{down}.{part}"] = f"encoder.{level}.conv.{part}"
            keys[f"{block}{up}.{part}"] = f"{step}.conv.{part}"
        norms = {"2": f"encoder.{level}.norm", "4" if innermost else "6": f"{step}.norm"}
        for number, name in norms.items():
            keys[f"{block}{number}.running_mean"] = f"{name}.mean"
            keys[f"{block}{number}.running_var"] = f"{name}.variance"
    return keys


def _check_keys(required: set[str], entries: set[str]) -> None:
    cure = "only U-Nets with norm 'instance' without learnt scale, as in the paper, can be read"
    if missing := sorted(required - entries):
        raise BadInput(f"entry {missing[0]!r} is missing ({len(missing)} in all): {cure}")
    if unexpected := sorted(entries - required):
        raise BadInput(f"entry {unexpected[0]!r} is not expected ({len(unexpected)} in all): {cure}")


def _check_entry(key: str, value: Tensor, shape: torch.Size) -> None:
    if value.shape != shape:
        raise BadInput(
            f"entry {key!r} has shape {tuple(value.shape)} where {tuple(shape)} is expected: another network"
        )
    if not value.is_floating_point() or not torch.isfinite(value).all():
        raise BadInput(f"entry {key!r} holds values that are not finite numbers: the file is damaged")
