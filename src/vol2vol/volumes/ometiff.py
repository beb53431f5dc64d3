"""OME-TIFF beyond one image in one file: sets of files, several images, names of channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from vol2vol.errors import BadInput, Unreadable, one_line
from vol2vol.volumes import ome
from vol2vol.volumes.addresses import within

if TYPE_CHECKING:
    import tifffile


def described(
    path: Path, file: tifffile.TiffFile, image: int | str | None, *, alone: bool
) -> tuple[ElementTree.Element | None, Sequence[tifffile.TiffPageSeries]]:
    """Return the OME-XML of a TIFF, None without, and its series; of several only the `image` that is named.

    `alone` reads a member of a set whose description lies in another file as a TIFF of its own.
    """
    root = ome.parse_xml(str(path), file.ome_metadata) if file.is_ome and file.ome_metadata else None
    if root is not None and alone and root.find("{*}BinaryOnly") is not None:
        root = None
    if root is not None:
        _check_set(path, root)
    series: Sequence[tifffile.TiffPageSeries] = file.series
    if image is None:
        return root, series
    number = _number(path, series, image)
    return None if root is None else _only(root, number), series[number : number + 1]


def _check_set(path: Path, root: ElementTree.Element) -> None:
    """Raise `BadInput` where OME-XML lies in another file or names one outside the folder of this one as a part.

    Raises `Unreadable` where a file of its set is missing.
    """
    if (elsewhere := root.find("{*}BinaryOnly")) is not None:
        name = one_line(elsewhere.get("MetadataFile") or "another file", 100)
        raise BadInput(
            f"{path} is one file of a set that {name} describes: open {name} if it is a TIFF, or say with --axes "
            "what the planes of this file are, to read it alone"
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


def _number(path: Path, series: Sequence[tifffile.TiffPageSeries], wanted: int | str) -> int:
    """Return the number of the image that a user means by its name or its number from 0; raise `BadInput`."""
    names = [one.name or "" for one in series]
    if names.count(str(wanted)) == 1:
        return names.index(str(wanted))
    if str(wanted).isdecimal() and int(wanted) < len(series):
        return int(wanted)
    raise BadInput(f"{path} has no image {one_line(wanted, 60)!r}: give --image with one of {listed(series)}")


def listed(series: Sequence[tifffile.TiffPageSeries]) -> str:
    """Return numbers and names of the first images of a file, for messages."""
    says = [f"{i} ({one_line(one.name, 40)})" if one.name else str(i) for i, one in enumerate(series)]
    return ", ".join(says[:4]) + (f", ... {says[-1]}" if len(says) > 4 else "")


def _only(root: ElementTree.Element, number: int) -> ElementTree.Element:
    """Return an OME-XML document with one of its images, and all that concerns no image."""
    images = root.findall("{*}Image")
    made = ElementTree.Element(root.tag, root.attrib)
    made.extend(e for e in root if e not in images or (number < len(images) and e is images[number]))
    return made


def channel_names(root: ElementTree.Element | None, page: tifffile.TiffPage, count: int) -> tuple[str, ...]:
    """Return the names of the channels of the first image, none unless each has one."""
    if page.photometric == 2 and count == 3:
        return ("red", "green", "blue")
    found = root.findall("{*}Image[1]/{*}Pixels/{*}Channel") if root is not None else []
    names = tuple(one_line(channel.get("Name") or "", 60) for channel in found)
    return names if all(names) and len(names) == count else ()
