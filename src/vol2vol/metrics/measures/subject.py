"""What measures are taken of: a volume, and what they may ask about it; whoever makes a subject provides it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.measures.settings import Judging
from vol2vol.metrics.seams.grid import Grid
from vol2vol.volumes import Volume

Need = Literal[
    "source",
    "truth",
    "target",
    "mask",
    "grids",
    "network",
    "features",
    "segmentations",
    "target_range",
    "spent",
]
Change = Callable[[Box, np.ndarray], np.ndarray]
"""A box of a volume and its voxels `(C, Z, Y, X)` to other voxels of that shape."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What a segmenter made of the volume."""

    name: str
    """`segmenter/seed`."""
    probability: Volume
    threshold: float
    """From which a voxel is foreground; chosen on the segmenter's own domain."""
    foreground: float
    """Share of foreground in the segmenter's own domain."""
    first: Volume | None = None
    """The same segmenter's probabilities of the first strategy's volume, where this is not it."""


class FeatureSets(Protocol):
    """What feature networks see in the volume and in those that it is compared with."""

    networks: Sequence[str]
    planes: Sequence[str]
    resamples: int
    """Draws of intervals; 0: none are drawn."""

    def __call__(self, which: Literal["source", "volume", "target", "first"], network: str, plane: str) -> Features:
        """Return the patches of a volume, those of the first three cut at the same places of their volumes."""
        ...

    @property
    def has_first(self) -> bool:
        """Whether there is a volume of the study's first strategy to compare with."""
        ...


class Agreement(Protocol):
    """How far tiles of a network agree, in standard deviations of the output; see `certify`."""

    @property
    def sentence(self) -> str:
        """What it comes to."""
        ...

    @property
    def mismatch(self) -> Any:
        """Border by distance, disparity, invariance and aliasing, with the tile and the number of places."""
        ...


class Network(Protocol):
    """The network that made the volume, to be asked further."""

    def agreement(self) -> Agreement:
        """Return how far its tiles agree."""
        ...

    def moved(self) -> tuple[float, float]:
        """Return mean and largest change of the volume when its tiles are moved by one period, over its deviation."""
        ...

    def returned(self, change: Change | None = None) -> AbstractContextManager[Volume]:
        """Give the volume translated back to the source without seams, changed before; it is removed afterwards.

        Raises `BadInput` where the model has no translation back.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A volume to be measured. What takes time is made when it is first asked for, once."""

    volume: Volume
    block: Shape | None = None
    """Sums are kept for blocks of so many voxels Z, Y, X; None: of a size that fits."""
    judging: Judging = field(default_factory=Judging)
    """How measures are taken."""
    provide: Mapping[Need, Callable[[], Any]] = field(default_factory=dict)
    """Makers of all that there is besides the volume."""
    _ready: dict[Need, Any] = field(default_factory=dict, init=False, repr=False)

    def has(self, needs: Iterable[Need]) -> bool:
        """Say whether all of this is there."""
        return all(need in self.provide for need in needs)

    def asked(self, need: Need) -> bool:
        """Say whether this was asked for."""
        return need in self._ready

    def make(self, needs: Iterable[Need]) -> None:
        """Make all of this, unless it is ready; raises what the makers raise."""
        for need in needs:
            if need not in self._ready:
                self._ready[need] = self.provide[need]()

    def _get(self, need: Need) -> Any:
        self.make([need])
        return self._ready[need]

    @property
    def source(self) -> Volume:
        """What was translated, of the volume's shape."""
        source: Volume = self._get("source")
        return source

    @property
    def truth(self) -> Volume:
        """The known answer, of the volume's shape."""
        truth: Volume = self._get("truth")
        return truth

    @property
    def target(self) -> Volume:
        """A volume of the domain whose look the volume was given; other tissue."""
        target: Volume = self._get("target")
        return target

    @property
    def mask(self) -> Volume:
        """What segmentations of the volume should find, of the volume's shape; 0 is background."""
        mask: Volume = self._get("mask")
        return mask

    @property
    def grids(self) -> Sequence[Grid]:
        """Where tiles of the volume meet, one grid per pass that differs; empty where nothing says so."""
        grids: Sequence[Grid] = self._get("grids")
        return grids

    @property
    def network(self) -> Network:
        """What made the volume."""
        network: Network = self._get("network")
        return network

    @property
    def features(self) -> FeatureSets:
        """What feature networks see."""
        features: FeatureSets = self._get("features")
        return features

    @property
    def segmentations(self) -> Sequence[Segmentation]:
        """What segmenters see."""
        segmentations: Sequence[Segmentation] = self._get("segmentations")
        return segmentations

    @property
    def target_range(self) -> tuple[float, float]:
        """Smallest and largest grey value of the target."""
        target_range: tuple[float, float] = self._get("target_range")
        return target_range

    @property
    def spent(self) -> Mapping[str, float | None]:
        """What it cost to train the network and to make the volume, by the keys of the measure `cost`."""
        spent: Mapping[str, float | None] = self._get("spent")
        return spent
