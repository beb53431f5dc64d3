"""A network, a loss, a task, a measure and a file format that vol2vol finds when this package is installed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import softplus

from vol2vol.losses import Paired
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.measures import Measure, Quantity, Subject, Taken
from vol2vol.metrics.similarity.volume_pairs import blocks_of
from vol2vol.nets.layer_types import conv
from vol2vol.tasks import NetworkSettings
from vol2vol.tasks.regress import Regress, RegressSettings
from vol2vol.volumes.stored import Stored


class HelloNet(nn.Module):
    """Two convolutions (B, C, [Z,] Y, X); how far the network sees is read off its layers."""

    def __init__(self, dims: int, *, in_channels: int = 1, out_channels: int = 1, width: int = 8) -> None:
        self.arguments = {"dims": dims, "in_channels": in_channels, "out_channels": out_channels, "width": width}
        super().__init__()
        self.dims, self.in_channels = dims, in_channels
        first, last = conv(dims, in_channels, width, 3, padding=1), conv(dims, width, out_channels, 3, padding=1)
        self.layers = nn.Sequential(first, nn.ReLU(), last)

    def describe(self) -> dict[str, Any]:
        """Return the name and arguments that rebuild this network from a model's file."""
        return {"name": "hello", "arguments": self.arguments}

    def forward(self, x: Tensor) -> Tensor:
        """Translate a patch or a tile."""
        return self.layers(x)


def log_cosh(output: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of log(cosh(difference)): squared for small differences, linear for large ones."""
    difference = (output - truth).float()
    return (difference + softplus(-2 * difference)).mean() - np.log(2)


class HelloSettings(RegressSettings):
    """What the task takes from a recipe: all that a regression takes, with other defaults."""

    name: Literal["hello"] = "hello"
    network: NetworkSettings = NetworkSettings(name="hello")
    loss: Mapping[Paired, float] = {"hello": 1.0}


class Hello(Regress):
    """A regression with a network and a loss of its own."""

    Settings = HelloSettings


def brightness(subject: Subject) -> Taken:
    """Compare how bright a volume is with its source; sums per block give the interval."""
    boxes, pair = blocks_of(subject.volume, subject.block), (subject.volume, subject.source)
    sums = np.array([[volume.read(box).sum(dtype=float) for volume in pair] for box in boxes])
    return Taken(values={"ratio": Blockwise(name="ratio", sums=sums, combine=lambda s: s[..., 0] / s[..., 1])})


RATIO = Quantity(key="ratio", sense="nearer 1", title="Brightness", about="mean grey value over the source's", digits=2)
MEASURE = Measure(name="hello", about="how bright a volume is", needs=("source",), quantities=(RATIO,), take=brightness)


def open_npy(path: Path) -> Stored:
    """Open a numpy array of a plane (Y, X) or a stack (Z, Y, X); parts are read as they are needed."""
    array = np.load(path, mmap_mode="r")
    about: Any = {"shape": array.shape, "dtype": array.dtype, "axes": "zyx"[-array.ndim :], "chunks": array.shape}
    read, stamp = lambda region: np.array(array[region]), lambda: path.stat().st_mtime_ns
    return Stored(path=str(path), format="NPY", read=read, stamp=stamp, **about)
