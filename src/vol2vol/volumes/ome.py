"""OME metadata, read and written: NGFF multiscales of Zarr groups, and the OME-XML of TIFF files.

Source: OME-NGFF 0.4 and 0.5 (ngff.openmicroscopy.org), OME schema 2016-06.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any
from xml.etree import ElementTree

from vol2vol.errors import Unreadable, one_line
from vol2vol.volumes.axes import convert, known_unit

CREATOR = "_creator"
"""Attribute of a group that names the program that made it."""
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


def multiscale(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first multiscale image of a group's attributes (0.5 keeps it under `ome`), or None."""
    ome = attributes.get("ome")
    images = (ome if isinstance(ome, dict) else attributes).get("multiscales")
    return images[0] if isinstance(images, list) and images and isinstance(images[0], dict) else None


def version_of(attributes: Mapping[str, Any]) -> str:
    """Return the OME-Zarr version of a multiscale group; it was optional before 0.5."""
    ome = attributes.get("ome")
    return str((ome if isinstance(ome, dict) else multiscale(attributes) or {}).get("version") or "0.4")


def levels_of(image: Mapping[str, Any], axes: str) -> list[dict[str, Any]]:
    """Return path and voxel size (z, y, x) of every level, as plain data."""
    sizes = [scale_of(image, dataset, axes)[0] for dataset in image["datasets"]]
    return [
        {"path": dataset["path"], "voxel_size": [size.get(a, 1.0) for a in "zyx"]}
        for dataset, size in zip(image["datasets"], sizes, strict=True)
    ]


def axes_of(image: Mapping[str, Any], ndim: int) -> str:
    """Return the axis letters of a multiscale image; versions before 0.3 were always `tczyx`."""
    axes = image.get("axes")
    if not axes:
        return "tczyx" if ndim == 5 else "?" * ndim
    return "".join(_letter(axis) for axis in axes)


def _letter(axis: Mapping[str, Any] | str) -> str:
    if isinstance(axis, str):
        return axis[:1].lower()
    kind = str(axis.get("type") or "")
    return {"channel": "c", "time": "t"}.get(kind, str(axis.get("name", "?"))[:1].lower())


def scale_of(image: Mapping[str, Any], dataset: Mapping[str, Any], axes: str) -> tuple[Size, str]:
    """Return the voxel size of one level per axis letter, and its unit.

    Scales of the image and of the level multiply.
    """
    units = {a: known_unit(_unit(axis)) for a, axis in zip(axes, image.get("axes") or (), strict=False) if a in "zyx"}
    unit = units.get("x", "")
    whole, level = (_scale(d, len(axes)) for d in (image, dataset))
    if level is None:
        return {}, ""
    whole = whole or [1.0] * len(axes)
    spatial = [i for i, a in enumerate(axes) if a in "zyx"]
    size = {axes[i]: convert(whole[i] * level[i], units.get(axes[i], ""), unit) for i in spatial}
    return size, unit


def offset_of(image: Mapping[str, Any], dataset: Mapping[str, Any], axes: str) -> Size:
    """Return the place of the first voxel of one level per axis letter, in the unit of x.

    Translations and scales of the level come first, then those of the image, each list in its order.
    """
    steps = [step for holder in (dataset, image) for step in holder.get("coordinateTransformations") or ()]
    place = [0.0] * len(axes)
    for step in steps:
        values = step.get(step.get("type"))
        if not isinstance(values, list) or len(values) != len(axes):
            continue
        if step["type"] == "scale":
            place = [a * float(b) for a, b in zip(place, values, strict=True)]
        elif step["type"] == "translation":
            place = [a + float(b) for a, b in zip(place, values, strict=True)]
    units = {a: known_unit(_unit(axis)) for a, axis in zip(axes, image.get("axes") or (), strict=False)}
    found = {a: value for a, value in zip(axes, place, strict=True) if a in "zyx" and value}
    return {a: convert(value, units.get(a, ""), units.get("x", "")) for a, value in found.items()}


def _unit(axis: Mapping[str, Any] | str) -> str:
    return "" if isinstance(axis, str) else str(axis.get("unit") or "")


def _scale(holder: Mapping[str, Any], ndim: int) -> list[float] | None:
    for transform in holder.get("coordinateTransformations") or ():
        scale = transform.get("scale")
        if transform.get("type") == "scale" and isinstance(scale, list) and len(scale) == ndim:
            return [float(value) for value in scale]
    return None


def image_attributes(
    version: str,
    name: str,
    unit: str,
    scales: Sequence[Sequence[float]],
    *,
    offset: Sequence[float] = (0.0, 0.0, 0.0),
    channels: bool,
) -> dict[str, Any]:
    """Return the attributes of a group whose levels "0", "1", ... have these voxel sizes (z, y, x).

    `offset` is the place of the first voxel of level "0". The centre of a coarse voxel lies half a voxel difference
    behind that of a fine one, hence the translations.
    """
    axes: list[dict[str, str]] = [{"name": a, "type": "space", **({"unit": unit} if unit else {})} for a in "zyx"]
    lead = [{"name": "c", "type": "channel"}] if channels else []
    datasets = []
    for level, scale in enumerate(scales):
        shift = [o + (a - b) / 2 for o, a, b in zip(offset, scale, scales[0], strict=True)]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0] * channels + list(scale)}]
        if any(shift):
            steps.append({"type": "translation", "translation": [0.0] * channels + shift})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    image: dict[str, Any] = {"name": name, "axes": lead + axes, "datasets": datasets}
    if len(scales) > 1:
        image |= {"type": "mean", "metadata": {"method": "block-wise mean"}}
    if version == "0.4":
        return {"multiscales": [{"version": "0.4", **image}]}
    return {"ome": {"version": version, "multiscales": [image]}}


def parse_xml(path: str, text: str) -> ElementTree.Element:
    """Parse OME-XML; a document type (the way to entity bombs) is refused, broken XML too, with `Unreadable`."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Unreadable(f"{path}: its OME-XML declares entities, which image files never need: re-save the file")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Unreadable(f"{path}: its OME-XML is damaged ({one_line(error, 300)}): re-save the file") from error


def size_from_xml(root: ElementTree.Element) -> tuple[Size, str]:
    """Return the voxel size of the first image of an OME-XML document, per axis letter, in the unit of x."""
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return {}, ""
    units = {a: known_unit(pixels.get(f"PhysicalSize{a.upper()}Unit", "um")) for a in "zyx"}
    found = {a: float(value) for a in "zyx" if (value := pixels.get(f"PhysicalSize{a.upper()}"))}
    return {a: convert(value, units[a], units["x"]) for a, value in found.items() if value > 0}, units["x"]


def offset_from_xml(root: ElementTree.Element, into: str) -> Size:
    """Return the place of the first plane of an OME-XML document per axis letter, in the unit `into`.

    Positions in no unit of length ("reference frame", the default) are those of a stage and say nothing of the image.
    """
    plane = root.find("{*}Image/{*}Pixels/{*}Plane[@TheC='0'][@TheZ='0'][@TheT='0']")
    if plane is None:
        return {}
    place = {}
    for axis in "zyx":
        text, symbol = plane.get(f"Position{axis.upper()}"), plane.get(f"Position{axis.upper()}Unit", "")
        if text and (known_unit(symbol) or symbol == SYMBOLS[into]):
            place[axis] = convert(float(text), known_unit(symbol), into)
    return {axis: value for axis, value in place.items() if isfinite(value) and value}


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
    """Return the attributes kept in an OME-XML document by `xml_with_attrs`."""
    for note in root.iterfind(f"{{*}}StructuredAnnotations/*[@Namespace='{NAMESPACE}']"):
        try:
            value = json.loads(note.findtext("{*}Value", "{}"))
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {}
    return {}


def says_ours(text: str) -> bool:
    """Say whether an OME-XML document holds attributes kept by `xml_with_attrs`, without reading them."""
    return f'Namespace="{NAMESPACE}"' in text


def xml_with_attrs(root: ElementTree.Element, attrs: Mapping[str, Any]) -> str:
    """Return the document with these attributes as its one annotation of ours, as text."""
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
