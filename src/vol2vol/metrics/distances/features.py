"""Extract features from patches of volumes: one row per patch, with the patch's position.

All sets to be compared go through the same intensity map, that of the target. A feature network is any `nn.Module` from
images `(B, C, Y, X)` (cubes: `(B, C, Z, Y, X)`) in 0..1, rounded to 1/255, to `(B, d)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.intensity import Intensity, measure
from vol2vol.metrics.distances.cut_patches import SPANS, Cutting, cut, positions
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.progress import counted
from vol2vol.volumes import Volume

Item = TypeVar("Item")


def grey_map(target: Volume, percentiles: tuple[float, float] = (0.1, 99.9)) -> Intensity:
    """Return the intensity map for all sets: percentiles of the whole target to 0..255."""
    return measure([target], "percentile", percentiles=percentiles, network=(0.0, 255.0))


def extract(
    volume: Volume,
    network: nn.Module,
    grey: Intensity,
    cutting: Cutting | None = None,
    *,
    channel: int | None = None,
    batch: int = 32,
    device: str = "cpu",
    name: str | None = None,
    places: np.ndarray | None = None,
) -> Features:
    """Return the features of patches of a volume.

    `places` are those of another volume of the same shape, to compare both patch by patch; by default `cutting` draws
    them, which depends on the chunks in large volumes. `channel` selects one of several; without it, one channel or
    three (RGB) are used. Raises `BadInput` if patches do not fit, a channel must be chosen, or the network does not
    return `(B, d)`.
    """
    cutting = cutting or Cutting()
    _check_channel(volume, channel)
    places = positions(volume, cutting) if places is None else places
    network = network.to(device).eval()
    rows = []
    with torch.inference_mode():
        batches = read_ahead(_batches(volume, places, cutting, grey, channel=channel, batch=batch))
        for images in counted(batches, "extracting features", -(-len(places) // batch)):
            output = network(images.to(device))
            if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[:2].numel() != output.numel():
                shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise BadInput(f"the feature network returns {shape} for {len(images)} patches: it must return (B, d)")
            rows.append(output.flatten(1).float().cpu().numpy())
    return Features(
        values=np.concatenate(rows),
        places=places,
        cutting=cutting,
        volume=volume.path,
        spatial=volume.spatial,
        network=name or type(network).__name__,
    )


def _check_channel(volume: Volume, channel: int | None) -> None:
    if channel is None and volume.channels not in (1, 3):
        raise BadInput(f"{volume.path} has {volume.channels} channels: choose one with channel=0..")
    if channel is not None and not 0 <= channel < volume.channels:
        raise BadInput(f"{volume.path} has no channel {channel}: choose 0 to {volume.channels - 1}")


def _batches(
    volume: Volume, places: np.ndarray, cutting: Cutting, grey: Intensity, *, channel: int | None, batch: int
) -> Iterator[Tensor]:
    """Yield images in 0..1, float32 `(B, C, Y, X)`, cubes with Z."""
    patches = cut(volume, places, cutting)
    while stack := list(islice(patches, batch)):
        yield images_of(np.stack(stack), cutting, grey, channel)


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items; the next one is computed in a thread while the current one is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        pending: Future[Any] = pool.submit(next, items, end)
        while (item := pending.result()) is not end:
            pending = pool.submit(next, items, end)
            yield item


def images_of(patches: np.ndarray, cutting: Cutting, grey: Intensity, channel: int | None = None) -> Tensor:
    """Return stored patches `(B, C, Z, Y, X)` as images in 0..1 in steps of 1/255, without their thin axis."""
    mapped = grey.to_network(np.moveaxis(patches, 1, 0))
    if channel is not None:
        mapped = mapped[channel : channel + 1]
    images = np.moveaxis(np.rint(need_finite(mapped, "a volume from which patches are cut")), 0, 1) / np.float32(255)
    if cutting.axis != "xyz":
        images = images.squeeze(2 + SPANS[cutting.axis].index(0))
    return torch.from_numpy(np.ascontiguousarray(images, np.float32))
