"""Which volumes of several domains lie on each other: those whose names share what is not common to their domain."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import PurePosixPath

from vol2vol.errors import BadInput, some_of
from vol2vol.protocol import Need, aligned
from vol2vol.recipes.domains import warn_each
from vol2vol.sampling.aligned import unlike
from vol2vol.volumes import Volume
from vol2vol.volumes.places import apart

log = logging.getLogger(__name__)


def paired(needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]]) -> dict[str, list[Volume]]:
    """Return the volumes of every domain, those that lie on each other in one order.

    `cell1_IM.tif` goes with `cell1_GT.tif`: of each domain, the beginning and the end that all its names have in common
    are left aside; where files of several folders have one name, the folders count, too. Where no name has a partner,
    the order in which they were given counts. Raises `BadInput`, listing them, where some have a partner and others do
    not, or have two, and what `check_aligned` does.
    """
    in_order = {name: list(opened) for name, opened in volumes.items()}
    for group in aligned(needs):
        lead, *others = [need.name for need in group if need.name in volumes]
        for other in others:
            in_order[other] = _like(lead, volumes[lead], other, volumes[other])
    check_aligned(needs, in_order)
    return in_order


def check_aligned(needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]]) -> None:
    """Raise `BadInput`, listing them, where volumes that lie on each other differ in number, shape or voxel size.

    Those of one place stand at one place in the lists of their domains. Warns where the planes of two stacks have other
    numbers.
    """
    for group in aligned(needs):
        lead, *others = [need.name for need in group if need.name in volumes]
        for other in others:
            if len(volumes[lead]) != len(volumes[other]):
                raise BadInput(
                    f"{_counted(lead, volumes[lead])} and {_counted(other, volumes[other])}: give one for each, in the "
                    "same order, or name both alike"
                )
            pairs = list(zip(volumes[lead], volumes[other], strict=True))
            if differences := [difference for pair in pairs if (difference := unlike(*pair))]:
                count = f"{len(differences)} of {len(pairs)} pairs differ: " if len(differences) > 1 else ""
                what = some_of([what for what, _ in differences], between="; ")
                raise BadInput(f"{count}{what}: {'; '.join(dict.fromkeys(cure for _, cure in differences))}")
            warn_each("", [where for pair in pairs if (where := apart(*pair))], ": is it the same tissue?")
            for first, second in pairs:
                _warn_of_planes(first, second)


def _counted(domain: str, volumes: Sequence[Volume]) -> str:
    """Return how many volumes a domain has, and the first of their names."""
    return f"{len(volumes)} {domain} volumes ({some_of([volume.path for volume in volumes], 3)})"


def _like(lead: str, leaders: Sequence[Volume], name: str, volumes: Sequence[Volume]) -> list[Volume]:
    """Return the volumes of one domain in the order of another's."""
    if len(leaders) < 2 and len(volumes) < 2:
        return list(volumes)
    first, second = [volume.path for volume in leaders], [volume.path for volume in volumes]
    keys = [_keys([PurePosixPath(path).name for path in paths]) for paths in (_stems(first), _stems(second))]
    if any(len({*found}) < len(found) for found in keys):
        _check_doubles({lead: first, name: second})
        keys = [_keys(_stems(paths)) for paths in (first, second)]
    shared = {*keys[0]} & {*keys[1]}
    if not shared or any(len({*found}) < len(found) for found in keys):
        log.info("the names of %s and %s volumes do not say which belong together: their order does", lead, name)
        return list(volumes)
    alone = [f"{path} ({lead})" for key, path in zip(keys[0], first, strict=True) if key not in shared]
    alone += [f"{path} ({name})" for key, path in zip(keys[1], second, strict=True) if key not in shared]
    if alone:
        raise BadInput(f"no partner has a name like that of {some_of(alone)}: leave them out, or add what is missing")
    by_key = dict(zip(keys[1], volumes, strict=True))
    return [by_key[key] for key in keys[0]]


def _check_doubles(domains: Mapping[str, Sequence[str]]) -> None:
    """Raise `BadInput`, listing them, where two files of one folder have one name, such as `a.png` and `a.jpg`."""
    doubles = []
    for domain, paths in domains.items():
        seen: dict[str, str] = {}
        for path, stem in zip(paths, _stems(paths), strict=True):
            if seen.setdefault(stem, path) != path:
                doubles.append(f"{seen[stem]} and {path} ({domain})")
    if doubles:
        raise BadInput(f"{some_of(doubles)} have one name and fit the same partner: leave one out")


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
