"""Which volumes of several domains lie on each other: those whose names share what is not common to their domain."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import PurePosixPath

from vol2vol.errors import BadInput
from vol2vol.protocol import Need, aligned
from vol2vol.sampling.aligned import check_alike
from vol2vol.volumes import Volume

log = logging.getLogger(__name__)
MOST = 5
"""Names that a message lists."""


def paired(needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]]) -> dict[str, list[Volume]]:
    """Return the volumes of every domain, those that lie on each other in one order.

    `cell1_IM.tif` goes with `cell1_GT.tif`: of each domain, the beginning and the end that all its names have in common
    are left aside. Where no name has a partner, or several are equal, the order in which they were given counts. Raises
    `BadInput`, listing them, where some have a partner and others do not, and where partners differ in size.
    """
    sorted_out = {name: list(opened) for name, opened in volumes.items()}
    for group in aligned(needs):
        lead, *others = [need.name for need in group if need.name in volumes]
        for other in others:
            sorted_out[other] = _like(lead, volumes[lead], other, volumes[other])
            for one, two in zip(volumes[lead], sorted_out[other], strict=False):
                check_alike(one, two)
    return sorted_out


def _like(lead: str, leaders: Sequence[Volume], name: str, volumes: Sequence[Volume]) -> list[Volume]:
    """Return the volumes of one domain in the order of another's."""
    if len(leaders) < 2 and len(volumes) < 2:
        return list(volumes)
    first, second = _keys(leaders), _keys(volumes)
    shared = {*first} & {*second}
    if not shared or len({*first}) < len(first) or len({*second}) < len(second):
        log.info("the names of %s and %s volumes do not say which belong together: their order does", lead, name)
        return list(volumes)
    alone = [f"{volume.path} ({lead})" for key, volume in zip(first, leaders, strict=True) if key not in shared]
    alone += [f"{volume.path} ({name})" for key, volume in zip(second, volumes, strict=True) if key not in shared]
    if alone:
        more = f" and {len(alone) - MOST} more" if len(alone) > MOST else ""
        raise BadInput(f"no partner has a name like that of {', '.join(alone[:MOST])}{more}: leave them out or add it")
    by_key = dict(zip(second, volumes, strict=True))
    return [by_key[key] for key in first]


def _keys(volumes: Sequence[Volume]) -> list[str]:
    """Return what tells the names of a domain's volumes apart, digits and words kept whole."""
    names = [re.sub(r"(\.ome)?\.\w+$", "", PurePosixPath(volume.path.replace("\\", "/")).name) for volume in volumes]
    if len(names) < 2:
        return names
    before = re.sub(r"[^\W_]+$", "", _beginning(names))
    rest = [name.removeprefix(before) for name in names]
    after = re.sub(r"^[^\W_]+", "", _beginning([name[::-1] for name in rest])[::-1])
    return [name.removesuffix(after).lower() if after else name.lower() for name in rest]


def _beginning(names: Sequence[str]) -> str:
    """Return the letters that all names begin with."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)
