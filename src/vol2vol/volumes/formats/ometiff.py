"""Read OME-TIFF with several files or images, and the names of channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from vol2vol.errors import BadInput, Unreadable, one_line
from vol2vol.files import DOCUMENT, read_text
from vol2vol.volumes.addresses import within
from vol2vol.volumes.display import RGB
from vol2vol.volumes.formats import ome

if TYPE_CHECKING:
    import tifffile


COMPANIONS = (".companion.ome", ".ome.xml")
"""Endings of the names of files that describe a set and hold no voxels."""


def member_of(companion: Path) -> Path:
    """Return the first file of the set in a companion; raise `BadInput` or `Unreadable` if there is none."""
    root = ome.parse_xml(str(companion), read_text(companion, DOCUMENT))
    names = [e.get("FileName", "") for e in root.iter() if str(e.tag).endswith("UUID") and e.get("FileName")]
    if not names:
        raise BadInput(f"{companion} describes no file: name a TIFF")
    member = Path(within(companion.parent, names[0], companion))
    if not member.is_file():
        raise Unreadable(
            f"{companion} describes {one_line(names[0], 100)}, which is missing: put it back into {companion.parent}"
        )
    return member


def elsewhere(path: Path, file: tifffile.TiffFile, *, alone: bool) -> Path | None:
    """Return the file in the same folder that describes this one, None if none is named or it is missing.

    Raises `BadInput` where it lies outside the folder, unless this one is to be read `alone`.
    """
    text = file.ome_metadata if file.is_ome else None
    if not text or "BinaryOnly" not in text:
        return None
    reference = ome.parse_xml(str(path), text).find("{*}BinaryOnly")
    name = reference.get("MetadataFile") if reference is not None else None
    if not name:
        return None
    try:
        description = Path(within(path.parent, name, path))
    except BadInput:
        if alone:
            return None
        raise
    return description if description.is_file() else None


def described(
    path: Path, file: tifffile.TiffFile, image: int | str | None, *, alone: bool
) -> tuple[ElementTree.Element | None, Sequence[tifffile.TiffPageSeries]]:
    """Return the OME-XML of a TIFF, None without, and its series; of several only the chosen `image`.

    `alone` reads a member of a set whose description lies in another file as a single TIFF. Where every image has a
    file of its own, the image in this file is returned.
    """
    root = ome.parse_xml(str(path), file.ome_metadata) if file.is_ome and file.ome_metadata else None
    if root is not None and alone and root.find("{*}BinaryOnly") is not None:
        root = None
    if root is not None:
        _check_set(path, root)
    series: Sequence[tifffile.TiffPageSeries] = file.series
    if image is not None:
        number = _number(path, series, image)
    elif len(series) > 1 and len(inside := _inside(path, series)) == 1:
        number = inside[0]
    else:
        return root, series
    return None if root is None else ome.only_image(root, number), series[number : number + 1]


def _inside(path: Path, series: Sequence[tifffile.TiffPageSeries]) -> list[int]:
    """Return the numbers of the images that lie at least partly in this file."""
    return [
        number
        for number, image in enumerate(series)
        if any(page is not None and Path(page.parent.filehandle.path).name == path.name for page in image.pages)
    ]


def _check_set(path: Path, root: ElementTree.Element) -> None:
    """Raise `BadInput` where OME-XML lies in another file or names one outside this folder.

    Raises `Unreadable` where a file of its set is missing.
    """
    if (elsewhere := root.find("{*}BinaryOnly")) is not None:
        name = one_line(elsewhere.get("MetadataFile") or "another file", 100)
        raise BadInput(
            f"{path} is one file of a set that {name} describes, which is missing: put it into {path.parent}, "
            "or give `axes` for the planes of this file, to read it alone"
        )
    parts = [e for e in root.iter() if str(e.tag).endswith("UUID") and e.get("FileName") and e.text != root.get("UUID")]
    names = list(
        dict.fromkeys(e.get("FileName", "") for e in parts if e.get("FileName", "").lower() != path.name.lower())
    )
    for name in names:
        within(path.parent, name, path)
    if lacking := [name for name in names if not (path.parent / name).is_file()]:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise Unreadable(
            f"{path} is one of a set of {len(names) + 1} files, of which {one_line(lacking[0], 100)}{more} is missing: "
            f"put it back into {path.parent}"
        )


def _number(path: Path, series: Sequence[tifffile.TiffPageSeries], choice: int | str) -> int:
    """Return the number of the image that a user chose by name or by number from 0; raise `BadInput`."""
    names = [image.name or "" for image in series]
    if names.count(str(choice)) == 1:
        return names.index(str(choice))
    if str(choice).isdecimal() and int(choice) < len(series):
        return int(choice)
    raise BadInput(f"{path} has no image {one_line(choice, 60)!r}: give `image` with one of {listed(series)}")


def listed(series: Sequence[tifffile.TiffPageSeries]) -> str:
    """Return numbers and names of the first images of a file, for messages."""
    labels = [f"{i} ({one_line(image.name, 40)})" if image.name else str(i) for i, image in enumerate(series)]
    return ", ".join(labels[:4]) + (f", ... {labels[-1]}" if len(labels) > 4 else "")


def channel_names(root: ElementTree.Element | None, page: tifffile.TiffPage, count: int) -> tuple[str, ...]:
    """Return the names of the channels of the first image, empty unless each has one."""
    if page.photometric == 2 and count == 3:
        return RGB
    channels = root.findall("{*}Image[1]/{*}Pixels/{*}Channel") if root is not None else []
    names = tuple(one_line(channel.get("Name") or "", 60) for channel in channels)
    return names if all(names) and len(names) == count else ()
