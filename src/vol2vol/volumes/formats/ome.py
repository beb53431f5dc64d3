"""Read and write the OME-XML of TIFF files, and write the NGFF attributes of groups.

NGFF is read in `ngff`. Source: OME-NGFF 0.4 and 0.5 (ngff.openmicroscopy.org), OME schema 2016-06.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any
from xml.etree import ElementTree

from vol2vol.errors import Unreadable, one_line
from vol2vol.files import parse_json
from vol2vol.volumes.axes import convert, known_unit, tidy

CREATOR = "_creator"
"""Attribute of a group that names the program that made it."""
MARK = {CREATOR: {"name": "vol2vol"}}
"""Attribute of every image written by vol2vol."""
RESERVED = ("ome", "multiscales", "omero", "labels", "plate", "well", "bioformats2raw.layout", CREATOR)
"""Attributes of a group that belong to the format."""
SYMBOLS = {
    "picometer": "pm",
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "\N{MICRO SIGN}m",
    "millimeter": "mm",
    "centimeter": "cm",
    "inch": "in",
    "meter": "m",
    "": "pixel",
}
NAMESPACE = "vol2vol"
Size = dict[str, float]


def image_attributes(
    version: str,
    name: str,
    unit: str,
    scales: Sequence[Sequence[float]],
    *,
    offset: Sequence[float] | None,
    axes: str,
    omero: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the attributes of a group whose levels "0", "1", ... have these voxel sizes (z, y, x) and `axes`.

    `offset` is the place of the first voxel of level "0", None where it is not known. The translations of
    coarser levels are half the difference in voxel size, the shift of the centre of the first voxel. `omero` states how
    viewers show the image.
    """
    space = {"type": "space", **({"unit": unit} if unit else {})}
    named = [{"name": a, **(space if a in "zyx" else {"type": "channel"})} for a in axes]
    datasets = []
    for level, scale in enumerate(scales):
        shift = [tidy(o + (a - b) / 2) for o, a, b in zip(offset or (0.0,) * 3, scale, scales[0], strict=True)]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": _along(axes, scale, 1.0)}]
        if any(shift) or offset is not None:
            steps.append({"type": "translation", "translation": _along(axes, shift, 0.0)})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    image: dict[str, Any] = {"name": name, "axes": named, "datasets": datasets}
    if len(scales) > 1:
        image |= {"type": "mean", "metadata": {"method": "block-wise mean"}}
    if version == "0.4":
        return {"multiscales": [{"version": "0.4", **image}], "omero": omero}
    return {"ome": {"version": version, "multiscales": [image], "omero": omero}}


def _along(axes: str, lengths: Sequence[float], other: float) -> list[float]:
    """Return lengths along z, y, x as a list for stored axes, `other` along channels."""
    return [lengths["zyx".index(a)] if a in "zyx" else other for a in axes]


def parse_xml(path: str, text: str) -> ElementTree.Element:
    """Parse OME-XML; raise `Unreadable` for broken XML and for document types, which allow entity bombs."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Unreadable(f"{path}: its OME-XML declares entities, which image files never need: re-save the file")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Unreadable(f"{path}: its OME-XML is damaged ({one_line(error, 300)}): re-save the file") from error


def only_image(root: ElementTree.Element, number: int) -> ElementTree.Element:
    """Return an OME-XML document reduced to one of its images, other elements kept."""
    images = root.findall("{*}Image")
    kept = ElementTree.Element(root.tag, root.attrib)
    kept.extend(e for e in root if e not in images or (number < len(images) and e is images[number]))
    return kept


def size_from_xml(root: ElementTree.Element) -> tuple[Size, str]:
    """Return the voxel size of the first image of an OME-XML document, per axis letter, in the unit of x."""
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return {}, ""
    units = {a: known_unit(pixels.get(f"PhysicalSize{a.upper()}Unit", "um")) for a in "zyx"}
    sizes = {a: float(value) for a in "zyx" if (value := pixels.get(f"PhysicalSize{a.upper()}"))}
    return {a: convert(value, units[a], units["x"]) for a, value in sizes.items() if value > 0}, units["x"]


def offset_from_xml(root: ElementTree.Element, into: str) -> Size:
    """Return the place of the first plane of an OME-XML document per axis letter, in the unit `into`.

    Positions in no unit of length ("reference frame", the default) are stage positions and do not place the image.
    """
    plane = root.find("{*}Image/{*}Pixels/{*}Plane[@TheC='0'][@TheZ='0'][@TheT='0']")
    if plane is None:
        return {}
    place = {}
    for axis in "zyx":
        text, symbol = plane.get(f"Position{axis.upper()}"), plane.get(f"Position{axis.upper()}Unit", "")
        if text and (known_unit(symbol) or symbol == SYMBOLS[into]):
            place[axis] = convert(float(text), known_unit(symbol), into)
    return {axis: value for axis, value in place.items() if isfinite(value)}


def place_in_xml(root: ElementTree.Element, offset: Sequence[float], unit: str) -> None:
    """Add the place of the first plane (z, y, x, in `unit`) to the first image of an OME-XML document."""
    pixels = root.find("{*}Image/{*}Pixels")
    assert pixels is not None, "an image has pixels"
    plane = ElementTree.SubElement(
        pixels, pixels.tag.partition("}")[0] + "}Plane", {"TheC": "0", "TheZ": "0", "TheT": "0"}
    )
    for axis, value in zip("ZYX", offset, strict=True):
        plane.set(f"Position{axis}", repr(float(value)))
        plane.set(f"Position{axis}Unit", SYMBOLS[unit])


def attrs_from_xml(root: ElementTree.Element) -> dict[str, Any]:
    """Return the attributes stored in an OME-XML document by `xml_with_attrs`."""
    for note in root.iterfind(f"{{*}}StructuredAnnotations/*[@Namespace='{NAMESPACE}']"):
        try:
            value = parse_json(note.findtext("{*}Value", "{}"))
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {}
    return {}


def says_ours(text: str) -> bool:
    """Say whether an OME-XML document holds attributes stored by `xml_with_attrs`, without reading them."""
    return f'Namespace="{NAMESPACE}"' in text


def xml_with_attrs(root: ElementTree.Element, attrs: Mapping[str, Any]) -> str:
    """Return the document as text, with these attributes as its only vol2vol annotation."""
    space = root.tag.partition("}")[0] + "}"
    ElementTree.register_namespace("", space[1:-1])
    notes = root.find(f"{space}StructuredAnnotations")
    if notes is None:
        notes = ElementTree.SubElement(root, f"{space}StructuredAnnotations")
    for old in notes.findall(f"*[@Namespace='{NAMESPACE}']"):
        notes.remove(old)
    label = {"ID": "Annotation:vol2vol", "Namespace": NAMESPACE}
    note = ElementTree.SubElement(notes, f"{space}CommentAnnotation", label)
    ElementTree.SubElement(note, f"{space}Value").text = json.dumps(dict(attrs), allow_nan=False)
    return ElementTree.tostring(root, encoding="unicode")
