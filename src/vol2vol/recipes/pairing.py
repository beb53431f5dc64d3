"""Pair the volumes of aligned domains by the part of their names that differs within a domain."""

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
    """Return the volumes of every domain, with those of aligned domains in the same order.

    `cell1_IM.tif` is paired with `cell1_GT.tif`: the beginning and the end that all names of a domain have in common
    are ignored; if files of several folders have the same name, the folders count, too. If none of the names has a
    partner, volumes are paired by their order. Raises `BadInput`, listing the volumes, if some have a partner and
    others have none or two, and what `check_aligned` raises.
    """
    in_order = {name: list(opened) for name, opened in volumes.items()}
    for group in aligned(needs):
        lead, *others = [need.name for need in group if need.name in volumes]
        for other in others:
            in_order[other] = _like(lead, volumes[lead], other, volumes[other])
    check_aligned(needs, in_order)
    return in_order


def check_aligned(needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]]) -> None:
    """Raise `BadInput`, listing the volumes, if those of aligned domains differ in number, shape or voxel size.

    Aligned volumes have the same index in the lists of their domains. Warns if the planes of two stacks have different
    numbers in their file names.
    """
    for group in aligned(needs):
        lead, *others = [need.name for need in group if need.name in volumes]
        for other in others:
            if len(volumes[lead]) != len(volumes[other]):
                raise BadInput(
                    f"{_counted(lead, volumes[lead])} and {_counted(other, volumes[other])}: give as many of both, in "
                    "the same order or with matching names"
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
    """Return the number of volumes of a domain, with the first paths."""
    return f"{len(volumes)} {domain} volumes ({some_of([volume.path for volume in volumes], 3)})"


def _like(lead: str, leaders: Sequence[Volume], name: str, volumes: Sequence[Volume]) -> list[Volume]:
    """Return the volumes of a domain in the order of their partners in the leading domain."""
    if len(leaders) < 2 and len(volumes) < 2:
        return list(volumes)
    first, second = [volume.path for volume in leaders], [volume.path for volume in volumes]
    keys = [_keys([PurePosixPath(path).name for path in paths]) for paths in (_stems(first), _stems(second))]
    if any(len({*names}) < len(names) for names in keys):
        _check_doubles({lead: first, name: second})
        keys = [_keys(_stems(paths)) for paths in (first, second)]
    shared = {*keys[0]} & {*keys[1]}
    if not shared or any(len({*names}) < len(names) for names in keys):
        log.info("%s and %s volumes are paired by their order, because their names do not match", lead, name)
        return list(volumes)
    alone = [f"{path} ({lead})" for key, path in zip(keys[0], first, strict=True) if key not in shared]
    alone += [f"{path} ({name})" for key, path in zip(keys[1], second, strict=True) if key not in shared]
    if alone:
        raise BadInput(f"{some_of(alone)}: no partner has a matching name: leave them out, or add their partners")
    by_key = dict(zip(keys[1], volumes, strict=True))
    return [by_key[key] for key in keys[0]]


def _check_doubles(domains: Mapping[str, Sequence[str]]) -> None:
    """Raise `BadInput`, listing the files, if two of a folder differ in their suffix alone (`a.png` and `a.jpg`)."""
    doubles = []
    for domain, paths in domains.items():
        seen: dict[str, str] = {}
        for path, stem in zip(paths, _stems(paths), strict=True):
            if seen.setdefault(stem, path) != path:
                doubles.append(f"{seen[stem]} and {path} ({domain})")
    if doubles:
        raise BadInput(f"{some_of(doubles)} have the same name and fit the same partner: leave one out")


def _stems(paths: Sequence[str]) -> list[str]:
    """Return paths without their suffixes."""
    return [re.sub(r"(\.ome)?\.[^\W\d]\w*$", "", path.replace("\\", "/")) for path in paths]


def _keys(names: Sequence[str]) -> list[str]:
    """Return the part of each name that differs within a domain, in lower case if that is unique; words stay whole."""
    if len(names) > 1:
        before = re.sub(r"[^\W_]+$", "", _beginning(names))
        names = [name.removeprefix(before) for name in names]
        after = re.sub(r"^[^\W_]+", "", _beginning([name[::-1] for name in names])[::-1])
        names = [name.removesuffix(after) for name in names]
    small = [name.lower() for name in names]
    return small if len({*small}) == len(small) else list(names)


def _beginning(names: Sequence[str]) -> str:
    """Return the common prefix of all names."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def _warn_of_planes(first: Volume, second: Volume) -> None:
    """Warn if the planes of two aligned stacks have different numbers: one stack may lack its first plane."""
    numbers = [_numbers(volume.members) for volume in (first, second)]
    if len(numbers[0]) != len(numbers[1]) or any(len(row) != 1 for rows in numbers for row in rows):
        return
    for here, there, a, b in zip(first.members, second.members, *numbers, strict=True):
        if a != b:
            plane_paths = (first.path, here, second.path, there)
            log.warning("%s/%s and %s/%s are taken as the same plane, but their numbers differ", *plane_paths)
            return


def _numbers(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Return for each name the numbers in it that are not the same in all names."""
    rows = [tuple(int(digits) for digits in re.findall(r"[0-9]+", PurePosixPath(name).stem)) for name in names]
    columns = [column for column in zip(*rows, strict=False) if len({*column}) > 1]
    return list(zip(*columns, strict=True))
