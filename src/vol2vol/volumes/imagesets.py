"""List the images that one path names: those matching a pattern, or those of a folder that is not one stack."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vol2vol.errors import BadInput, NotFound
from vol2vol.volumes.addresses import is_remote
from vol2vol.volumes.axes import natural
from vol2vol.volumes.filenames import alike, in_order
from vol2vol.volumes.formats import pictures, slices, tiff
from vol2vol.volumes.formats.nodes import read_node

log = logging.getLogger(__name__)


def images_under(path: str, pattern: str | None) -> Sequence[str]:
    """Return the volumes that the path of a domain names, in natural order: usually the path itself.

    `photos/*.png` names every file that matches, each a volume of its own. So does a folder whose images differ in size
    or in more than a number of their names, or have several pages; one whose images are alike is a stack, and so is any
    with a `pattern`. Raises `NotFound` where no file matches, `BadInput` where a folder could be either.
    """
    if is_remote(path):
        return [path]
    where = Path(path)
    if any(letter in where.name for letter in "*?") and not where.exists():
        return _fitting(where)
    if pattern is not None or not where.is_dir() or read_node(path) is not None:
        return [path]
    files = slices.image_files(where)
    if len(files) < 2:
        return [path]
    if not alike([file.name for file in files]) or _differ(files):
        log.info("%s: %d images, each a volume of its own (%s, ...)", where, len(files), files[0].name)
        return [str(file) for file in files]
    try:
        in_order(where, [file.name for file in files])
    except BadInput as error:
        raise BadInput(f"{error}; or '{where / '*'}' for all of them as images of their own") from None
    return [path]


def _fitting(where: Path) -> list[str]:
    """Return the entries of a folder whose names match the last part of a path, without hidden ones."""
    entries = list(where.parent.iterdir()) if where.parent.is_dir() else []
    matches = [p for p in entries if fnmatchcase(p.name, where.name.replace("[", "[[]")) and not p.name.startswith(".")]
    if where.name == "*":
        known = [suffix for family in slices.FAMILIES for suffix in family]
        matches = [p for p in matches if p.is_dir() or p.suffix.lower() in known] or matches
    if not matches:
        raise NotFound(f"{where} fits no file: check the folder and the pattern")
    return [str(p) for p in sorted(matches, key=lambda p: natural(p.name))]


def _differ(files: Sequence[Path]) -> bool:
    """Say whether images differ in size, colours or type, or have several pages."""
    first: Any = None
    for file in files:
        if file.suffix.lower() in pictures.SUFFIXES:
            picture = pictures.look(file)
            kind: Any = picture.shape, picture.dtype
        else:
            with tiff.open_tags(file) as tags:
                if len(tags.pages) != 1:
                    return True
                kind = tuple(tags.pages.first.shape), tags.pages.first.dtype
        if (first := first or kind) != kind:
            return True
    return False
