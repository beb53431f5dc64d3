"""Define the interface between tasks, sampling, models and prediction: domains that tasks need, and translations.

A *domain* is one kind of image, mask or label image; a *translation* is a network that reads some domains and makes
others. Both have names, and no room knows any of these names in advance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

from torch import Tensor, nn

from vol2vol.errors import BadInput, one_line
from vol2vol.schemas import FORBID, checked

Kind = Literal["image", "mask", "labels"]
Network = Callable[[Tensor], Tensor]
"""A network as a function of tensors (B, C, [Z,] Y, X)."""
PAIR = {"forward": ("source", "target"), "backward": ("target", "source")}
"""The domains that the two translations between two domains read and make."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """A domain that a task needs: one entry of its batches, one domain of its models, one option of `train`."""

    name: str
    """`source`, `target`, or another name that the task chooses."""
    kind: Kind = "image"
    """`image`: grey values, mapped to the network's range; `mask`: 1 where a mask is foreground, else 0;
    `labels`: the stored numbers."""
    along: str | None = None
    """Domain at whose positions patches are drawn, volume by volume; None: positions are drawn independently."""
    optional: bool = False
    """Whether training is possible without this domain."""
    like: str | None = None
    """Domain whose intensity map is used, for example of another exposure; None: the domain has its own."""


@dataclass(frozen=True, kw_only=True)
class OnePass:
    """Apply the network once: every voxel of the output is computed from the input alone."""

    __pydantic_config__ = FORBID

    name: Literal["one-pass"] = "one-pass"


@dataclass(frozen=True, kw_only=True)
class March:
    """Apply the network tile by tile: where tiles overlap, each is shown the output of earlier ones and continues it.

    The network was trained for this (Boehland et al. 2023); applied once, it translates like any other network.
    """

    __pydantic_config__ = FORBID

    share: tuple[float, float]
    """The narrowest and the widest overlap that training has shown, as shares of a tile's length, in (0, 1)."""
    offset: float = 0.0
    """What is added to output that is shown, in the network's range, so that it can be told from input; 0: nothing."""
    name: Literal["march"] = "march"

    def __post_init__(self) -> None:
        if not 0 < self.share[0] <= self.share[1] < 1:
            raise BadInput(f"share {self.share} is not the narrowest and the widest overlap: give two between 0 and 1")
        if not isfinite(self.offset):
            raise BadInput(f"offset {self.offset} is not finite")


Applied = OnePass | March
"""How a network is applied to a volume."""
APPLIED: dict[str, type[Applied]] = {"one-pass": OnePass, "march": March}


def applied_from(data: Any) -> Applied:
    """Return how a network is applied from plain data; raise `BadInput` where it is unknown or incomplete."""
    name = data.get("name") if isinstance(data, Mapping) else None
    if not isinstance(name, str) or name not in APPLIED:
        known = " and ".join(APPLIED)
        raise BadInput(f"the network is applied by {one_line(repr(name), 80)}, this vol2vol only knows {known}")
    return checked(APPLIED[name], data, "applied")


@dataclass(frozen=True, kw_only=True)
class Translation:
    """A network for prediction, which results from training a task."""

    network: nn.Module
    reads: tuple[str, ...]
    """Domains of the input, concatenated along the channel axis."""
    makes: tuple[str, ...]
    """Domains of the output, concatenated along the channel axis."""
    applied: Applied = OnePass()
    noise: int = 0
    """Channels of white noise, mean 0 and variance 1, that the network reads after those of its domains."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the network as plain data."""
        data = {"reads": list(self.reads), "makes": list(self.makes), "applied": asdict(self.applied)}
        return {**data, "noise": self.noise} if self.noise else data


def between(networks: Mapping[str, nn.Module], noise: int = 0) -> dict[str, Translation]:
    """Return networks between `source` and `target`, by the names `forward` and `backward`, as translations."""
    return {
        name: Translation(network=network, reads=PAIR[name][:1], makes=PAIR[name][1:], noise=noise)
        for name, network in networks.items()
    }


def only_read(translations: Mapping[str, Translation]) -> set[str]:
    """Return the domains that at least one translation reads and none makes."""
    produced = {name for translation in translations.values() for name in translation.makes}
    return {name for translation in translations.values() for name in translation.reads} - produced


def networks(translations: Mapping[str, Translation]) -> dict[str, nn.Module]:
    """Return the network of every translation."""
    return {name: translation.network for name, translation in translations.items()}


def aligned(needs: Iterable[Need]) -> list[tuple[Need, ...]]:
    """Return the domains in groups that are drawn at the same positions; the first of a group sets the positions.

    Raises `BadInput` for a domain along another that is not drawn independently.
    """
    groups: dict[str, list[Need]] = {}
    for need in needs:
        if need.along is not None and need.along not in groups:
            raise BadInput(f"domain {need.name} is drawn along {need.along}, which is not drawn independently")
        groups.setdefault(need.along or need.name, []).append(need)
    return [tuple(group) for group in groups.values()]


class MissingDomain(BadInput):
    """A domain that a task needs and that was not given."""

    def __init__(self, domain: str) -> None:
        super().__init__(f"the task needs the domain {domain}: give its volumes")
        self.domain = domain


def check_domains(needs: Iterable[Need], given: Iterable[str]) -> None:
    """Raise `MissingDomain` where a needed domain is not given, `BadInput` where a given one is not known."""
    known = {need.name: need for need in needs}
    if missing := [need.name for need in known.values() if not need.optional and need.name not in set(given)]:
        raise MissingDomain(missing[0])
    if unknown := [name for name in given if name not in known]:
        raise BadInput(f"the task does not know the domain {unknown[0]}: it takes {', '.join(known)}")
