"""Define the subject of measures: a volume, and what measures need besides it."""

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
"""Maps a box of a volume and its voxels `(C, Z, Y, X)` to other voxels of the same shape."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A segmentation of the volume by one segmenter."""

    name: str
    """`segmenter/seed`."""
    probability: Volume
    threshold: float
    """Minimum probability of foreground, chosen on the segmenter's own domain."""
    foreground: float
    """Fraction of foreground in the segmenter's own domain."""
    first: Volume | None = None
    """Probabilities by the same segmenter for the first strategy's volume; None if this is that volume."""


class FeatureSets(Protocol):
    """Features of the volume, and of the volumes that it is compared with."""

    networks: Sequence[str]
    planes: Sequence[str]
    resamples: int
    """Number of draws for intervals; 0 for no intervals."""

    def __call__(self, which: Literal["source", "volume", "target", "first"], network: str, plane: str) -> Features:
        """Return the features of patches; those of source, volume and first strategy are from the same places."""
        ...

    @property
    def has_first(self) -> bool:
        """Whether a volume of the study's first strategy exists."""
        ...


class Agreement(Protocol):
    """Agreement between tiles of a network, in standard deviations of the output; see `certify`."""

    @property
    def sentence(self) -> str:
        """Summary in one sentence."""
        ...

    @property
    def mismatch(self) -> Any:
        """Difference by distance from the border, disparity, invariance, aliasing, tile and number of places."""
        ...


class Network(Protocol):
    """The network that translated the volume."""

    def agreement(self) -> Agreement:
        """Return the agreement between its tiles."""
        ...

    def moved(self) -> tuple[float, float]:
        """Return the mean and largest change of the volume when its tiles are shifted by one period.

        Both are in standard deviations of the volume.
        """
        ...

    def returned(self, change: Change | None = None) -> AbstractContextManager[Volume]:
        """Provide the volume, after `change`, translated back to the source without seams; it is deleted at exit.

        Raises `BadInput` if the model has no translation back.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A volume to be measured. Each need is computed once, on first use."""

    volume: Volume
    block: Shape | None = None
    """Size of the blocks for which sums are kept, in voxels `(Z, Y, X)`; None for a default."""
    judging: Judging = field(default_factory=Judging)
    """Settings of the measures."""
    provide: Mapping[Need, Callable[[], Any]] = field(default_factory=dict)
    """Functions that return what is available besides the volume, by need."""
    _ready: dict[Need, Any] = field(default_factory=dict, init=False, repr=False)

    def has(self, needs: Iterable[Need]) -> bool:
        """Return whether all these needs are available."""
        return all(need in self.provide for need in needs)

    def asked(self, need: Need) -> bool:
        """Return whether this need was computed."""
        return need in self._ready

    def make(self, needs: Iterable[Need]) -> None:
        """Compute these needs unless they are ready; raises what their functions raise."""
        for need in needs:
            if need not in self._ready:
                self._ready[need] = self.provide[need]()

    def _get(self, need: Need) -> Any:
        self.make([need])
        return self._ready[need]

    @property
    def source(self) -> Volume:
        """The volume that was translated; it has the shape of the translation."""
        source: Volume = self._get("source")
        return source

    @property
    def truth(self) -> Volume:
        """The known answer; it has the shape of the volume."""
        truth: Volume = self._get("truth")
        return truth

    @property
    def target(self) -> Volume:
        """A volume of the target domain, of other tissue."""
        target: Volume = self._get("target")
        return target

    @property
    def mask(self) -> Volume:
        """The true mask of the volume, of its shape; 0 is background."""
        mask: Volume = self._get("mask")
        return mask

    @property
    def grids(self) -> Sequence[Grid]:
        """The grids at which tiles of the volume meet, one per different pass; empty if they are unknown."""
        grids: Sequence[Grid] = self._get("grids")
        return grids

    @property
    def network(self) -> Network:
        """The network that translated the volume."""
        network: Network = self._get("network")
        return network

    @property
    def features(self) -> FeatureSets:
        """Features of the volume and of those that it is compared with."""
        features: FeatureSets = self._get("features")
        return features

    @property
    def segmentations(self) -> Sequence[Segmentation]:
        """Segmentations of the volume."""
        segmentations: Sequence[Segmentation] = self._get("segmentations")
        return segmentations

    @property
    def target_range(self) -> tuple[float, float]:
        """Smallest and largest grey value of the target."""
        target_range: tuple[float, float] = self._get("target_range")
        return target_range

    @property
    def spent(self) -> Mapping[str, float | None]:
        """The cost of training the network and of translating the volume, by the keys of the measure `cost`."""
        spent: Mapping[str, float | None] = self._get("spent")
        return spent
