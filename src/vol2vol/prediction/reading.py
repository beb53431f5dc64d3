"""Read the input of a prediction in the network's range, and refuse inputs that do not fit or hold NaN."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.finite import nonfinite
from vol2vol.geometry import Box, Shape, reflect
from vol2vol.intensity import Intensity, SideBySide
from vol2vol.intensity.affine import beyond_float32
from vol2vol.prediction.gather import Read
from vol2vol.prediction.settings import PredictSettings
from vol2vol.protocol import Applied, March, Translation
from vol2vol.volumes import Volume

log = logging.getLogger(__name__)
AGAIN = " and predict again, with `overwrite` where an output was begun"
"""What to do after mending the input."""


def check_outputs(settings: PredictSettings, translation: Translation) -> None:
    """Raise `BadInput` if `outputs` names a domain twice or one that the translation does not make."""
    names, makes = settings.outputs, ", ".join(translation.makes)
    if unknown := [name for name in names if name not in translation.makes]:
        raise BadInput(f"{settings.direction} does not make the domain {unknown[0]}: it makes {makes}")
    if len(set(names)) < len(names):
        raise BadInput(f"outputs {', '.join(names)} name a domain twice: name each once, of {makes}")


def select_domains(
    array: np.ndarray, domains: Sequence[str], wanted: Sequence[str], channels: Mapping[str, int]
) -> np.ndarray:
    """Return the `wanted` domains, in this order, of an array `(C, ...)` with the channels of `domains`."""
    if tuple(wanted) == tuple(domains):
        return array
    ends = np.cumsum([channels[name] for name in domains])[:-1]
    parts = dict(zip(domains, np.split(array, ends), strict=True))
    return np.concatenate([parts[name] for name in wanted])


def check_channels(source: Volume, needed: int) -> None:
    """Raise `BadInput` unless a volume has as many channels as the model reads."""
    if source.channels == needed:
        return
    numbers = ",".join(str(number) for number in range(needed))
    cure = f"pick {needed} with `channels`, such as `channels` {numbers}"
    if source.channels < needed:
        cure = f"give a volume of {needed} channels, or train a model on volumes like this one"
    channels = f"{source.channels} channel{'s' if source.channels > 1 else ''}"
    raise BadInput(f"{source.path} has {channels}, the model reads {needed}: {cure}")


def check_march(settings: PredictSettings, translation: Translation, channels: Mapping[str, int]) -> None:
    """Raise `BadInput` unless a network can be shown what it makes, if `settings` ask for a march."""
    if settings.strategy != "march":
        return
    if settings.outputs and settings.outputs != translation.makes:
        raise BadInput("a march shows every tile all that earlier ones made: leave out `outputs`")
    network: Any = translation.network
    read, made = (sum(channels[name] for name in names) for names in (translation.reads, translation.makes))
    if not {read, made} <= {1, network.in_channels}:
        raise BadInput(
            f"the network reads {network.in_channels} channels and makes {made}, so a march cannot show it what it "
            "made: use another `strategy`, or train with stitching"
        )


def warn_untrained_march(settings: PredictSettings, applied: Applied) -> None:
    """Warn if a march is asked of a model that has never been shown its own output."""
    if settings.strategy == "march" and not isinstance(applied, March):
        log.warning(
            "this model was trained without stitching: it takes the output that a march shows it for input, so expect "
            "objects at the borders of tiles to change twice; `strategy` exact or average suits it better"
        )


def reader(source: Volume, intensity: Intensity | SideBySide) -> Read:
    """Return a function that reads a box of a volume in the network's range, mirrored outside the volume.

    The function raises `BadInput`, naming the first such voxel, if a voxel is not finite, and warns once about values
    that single precision cannot represent.
    """
    warned: list[Box] = []

    def read(box: Box) -> np.ndarray:
        values = source.read_padded(box)
        if not warned and beyond_float32(values):
            warned.append(box)
            log.warning("%s holds values beyond 2^24, which are rounded: networks compute in float32", source.path)
        if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
            position = _first(~finite.all(axis=0), box, source.spatial)
            raise nonfinite(source.path, position, then=AGAIN)
        return intensity.to_network(values)

    return read


def _first(bad: np.ndarray, box: Box, spatial: Shape) -> Shape:
    """Return the index, in the volume, of the first bad voxel of a box (Z, Y, X) that may reach outside it."""
    position = []
    for start, size in zip(box.start, spatial, strict=True):
        shown = np.array([reflect(start + i, size) for i in range(len(bad))])
        position.append(int(shown[bad.any(axis=tuple(range(1, bad.ndim)))].min()))
        bad = bad[shown == position[-1]].any(axis=0)
    return tuple(position)
