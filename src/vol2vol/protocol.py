"""What tasks, sampling, models and prediction agree on: the domains a task needs, the translations it leaves.

A *domain* is one kind of image, mask or label image; a *translation* is a network that reads some domains and makes
others. Both have names, and no room knows any of these names in advance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor, nn

from vol2vol.errors import BadInput

Kind = Literal["image", "mask", "labels"]
Network = Callable[[Tensor], Tensor]
"""A network as whoever asks it sees it: tensors (B, C, [Z,] Y, X) in and out."""
PAIR = {"forward": ("source", "target"), "backward": ("target", "source")}
"""What the two translations between two domains read and make."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """A domain that a task trains on: one entry of its batches, one domain of its models, one option of `train`."""

    name: str
    """`source`, `target`, or what the task calls it."""
    kind: Kind = "image"
    """`image`: grey values, mapped to the network's range; `mask`: 1 where a mask is foreground, else 0;
    `labels`: the stored numbers."""
    along: str | None = None
    """Drawn at the same place as this domain, volume by volume; None: drawn on its own."""
    optional: bool = False
    """Whether a training may do without."""
    like: str | None = None
    """Enters the network by this domain's intensities, such as another exposure of it; None: by its own."""


@dataclass(frozen=True, kw_only=True)
class OnePass:
    """Apply the network once: every voxel of the output is computed from the input alone."""

    name: Literal["one-pass"] = "one-pass"


Applied = OnePass
"""How a network is applied to a volume."""


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What a task leaves for prediction."""

    network: nn.Module
    reads: tuple[str, ...]
    """The input's domains, side by side along the channel axis."""
    makes: tuple[str, ...]
    """The output's domains, side by side along the channel axis."""
    applied: Applied = OnePass()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the network, as plain data."""
        return {"reads": list(self.reads), "makes": list(self.makes), "applied": asdict(self.applied)}


def between(networks: Mapping[str, nn.Module]) -> dict[str, Translation]:
    """Return networks between `source` and `target`, named `forward` or `backward`, as translations."""
    return {
        name: Translation(network=network, reads=PAIR[name][:1], makes=PAIR[name][1:])
        for name, network in networks.items()
    }


def only_read(translations: Mapping[str, Translation]) -> set[str]:
    """Return the domains that some translation reads and none makes."""
    made = {name for translation in translations.values() for name in translation.makes}
    return {name for translation in translations.values() for name in translation.reads} - made


def networks(translations: Mapping[str, Translation]) -> dict[str, nn.Module]:
    """Return the network of every translation."""
    return {name: translation.network for name, translation in translations.items()}


def aligned(needs: Iterable[Need]) -> list[tuple[Need, ...]]:
    """Return the domains grouped by what is drawn at one place, in their order; the first of a group leads it.

    Raises `BadInput` for a domain that lies along one that is not drawn on its own.
    """
    groups: dict[str, list[Need]] = {}
    for need in needs:
        if need.along is not None and need.along not in groups:
            raise BadInput(f"domain {need.name} lies along {need.along}, which is not drawn on its own")
        groups.setdefault(need.along or need.name, []).append(need)
    return [tuple(group) for group in groups.values()]


class MissingDomain(BadInput):
    """A domain that a task needs and that is not given."""

    def __init__(self, domain: str) -> None:
        super().__init__(f"the task needs the domain {domain}: give its volumes")
        self.domain = domain


def check_domains(needs: Iterable[Need], given: Iterable[str]) -> None:
    """Raise `MissingDomain` where a needed domain is not given, `BadInput` where a given one is not known."""
    known = {need.name: need for need in needs}
    if missing := [need.name for need in known.values() if not need.optional and need.name not in set(given)]:
        raise MissingDomain(missing[0])
    if strangers := [name for name in given if name not in known]:
        raise BadInput(f"the task does not know the domain {strangers[0]}: it takes {', '.join(known)}")
