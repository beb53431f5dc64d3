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
    are left aside; where files of several folders have one name, the folders count, too. Where no name has a partner,
    the order in which they were given counts. Raises `BadInput`, listing them, where some have a partner and others do
    not, or have two, and where partners differ in size. Warns where the planes of two paired stacks have other numbers.
    """
    sorted_out = {name: list(opened) for name, opened in volumes.items()}
    for group in aligned(needs):
        lead, *others = [need.name for need in group if need.name in volumes]
        for other in others:
            sorted_out[other] = _like(lead, volumes[lead], other, volumes[other])
            for first, second in zip(volumes[lead], sorted_out[other], strict=False):
                check_alike(first, second)
                _warn_of_planes(first, second)
    return sorted_out


def _like(lead: str, leaders: Sequence[Volume], name: str, volumes: Sequence[Volume]) -> list[Volume]:
    """Return the volumes of one domain in the order of another's."""
    if len(leaders) < 2 and len(volumes) < 2:
        return list(volumes)
    first, second = [volume.path for volume in leaders], [volume.path for volume in volumes]
    keys = [_keys([PurePosixPath(path).name for path in paths]) for paths in (_stems(first), _stems(second))]
    if any(len({*found}) < len(found) for found in keys):
        _check_doubles(lead, first)
        _check_doubles(name, second)
        keys = [_keys(_stems(paths)) for paths in (first, second)]
    shared = {*keys[0]} & {*keys[1]}
    if not shared or any(len({*found}) < len(found) for found in keys):
        log.info("the names of %s and %s volumes do not say which belong together: their order does", lead, name)
        return list(volumes)
    alone = [f"{path} ({lead})" for key, path in zip(keys[0], first, strict=True) if key not in shared]
    alone += [f"{path} ({name})" for key, path in zip(keys[1], second, strict=True) if key not in shared]
    if alone:
        more = f" and {len(alone) - MOST} more" if len(alone) > MOST else ""
        names = ", ".join(alone[:MOST])
        raise BadInput(f"no partner has a name like that of {names}{more}: leave them out, or add what is missing")
    by_key = dict(zip(keys[1], volumes, strict=True))
    return [by_key[key] for key in keys[0]]


def _check_doubles(domain: str, paths: Sequence[str]) -> None:
    """Raise `BadInput` where two files of one folder have one name, such as `a.png` and `a.jpg`."""
    seen: dict[str, str] = {}
    for path, stem in zip(paths, _stems(paths), strict=True):
        if seen.setdefault(stem, path) != path:
            raise BadInput(f"{seen[stem]} and {path} ({domain}) have one name and fit the same partner: leave one out")


def _stems(paths: Sequence[str]) -> list[str]:
    """Return paths without their suffixes."""
    return [re.sub(r"(\.ome)?\.[^\W\d]\w*$", "", path.replace("\\", "/")) for path in paths]


def _keys(names: Sequence[str]) -> list[str]:
    """Return what tells the names of a domain apart, in small letters where these do; digits and words kept whole."""
    if len(names) > 1:
        before = re.sub(r"[^\W_]+$", "", _beginning(names))
        names = [name.removeprefix(before) for name in names]
        after = re.sub(r"^[^\W_]+", "", _beginning([name[::-1] for name in names])[::-1])
        names = [name.removesuffix(after) for name in names]
    small = [name.lower() for name in names]
    return small if len({*small}) == len(small) else list(names)


def _beginning(names: Sequence[str]) -> str:
    """Return the letters that all names begin with."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def _warn_of_planes(first: Volume, second: Volume) -> None:
    """Warn where the planes of two folders that lie on each other have other numbers: one may lack its first plane."""
    numbers = [_numbers(volume.members) for volume in (first, second)]
    if len(numbers[0]) != len(numbers[1]) or any(len(row) != 1 for rows in numbers for row in rows):
        return
    for here, there, a, b in zip(first.members, second.members, *numbers, strict=True):
        if a != b:
            said = (first.path, here, second.path, there)
            log.warning("%s/%s and %s/%s are taken as the same plane, but their numbers differ", *said)
            return


def _numbers(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Return of each name the numbers that differ among the names."""
    rows = [tuple(int(digits) for digits in re.findall(r"[0-9]+", PurePosixPath(name).stem)) for name in names]
    columns = [column for column in zip(*rows, strict=False) if len({*column}) > 1]
    return list(zip(*columns, strict=True))
