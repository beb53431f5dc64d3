"""Read voxel sizes from the XML of BigDataViewer next to an HDF5 or N5 container.

Each setup (channel, angle, tile) and time point has arrays of its own. Registrations in the XML are not applied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vol2vol.errors import BadInput, UserError
from vol2vol.files import DOCUMENT, check_regular, read_bytes
from vol2vol.volumes.calibration import Calibration, lengths
from vol2vol.volumes.formats import ome

CELLS = re.compile(r"t(?P<time>\d{5,})/s(?P<setup>\d{2,})/(?P<level>\d+)/cells")
"""Names of image arrays in an HDF5 container; `time` and `setup` are the numbers in its XML."""
N5_LEVEL = re.compile(r"(?P<container>.*)/setup(?P<setup>\d+)/timepoint\d+/s(?P<level>\d+)", re.DOTALL)
_MOST = 200
"""Maximum number of XML files of a folder that are read."""


def find_xml(container: Path) -> tuple[str, ElementTree.Element] | None:
    """Return the path and content of the XML in a container's folder that names it, None if there is none."""
    folder = container.parent
    own = [container.with_suffix(".xml"), folder / f"{container.name}.xml"]
    others = sorted(islice(folder.glob("*.xml"), _MOST))
    for path in [p for p in own if p.is_file()] + [p for p in others if p not in own]:
        if not _starts(path):
            continue
        text = read_bytes(path, DOCUMENT)
        root = ome.parse_xml(str(path), text.decode(errors="replace"))
        if container.name in _named(root):
            return str(path), root
    return None


def _starts(path: Path) -> bool:
    """Say whether a file starts like an XML of BigDataViewer."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            return b"<SpimData" in file.read(4096)
    except (UserError, OSError):
        return False


def _named(root: ElementTree.Element) -> set[str]:
    """Return the names of the containers that an XML describes, without their folders."""
    loader = root.find("SequenceDescription/ImageLoader")
    texts = [child.text or "" for child in loader] if loader is not None else []
    return {text.strip().replace("\\", "/").rpartition("/")[2] for text in texts}


def calibrate(container: Path, setup: int, *, factors: Sequence[float], shape: Sequence[int]) -> list[Calibration]:
    """Return the statements about a level of a setup in the XML next to a container.

    `factors` (x, y, z) are the length of its voxels in voxels of the finest level, `shape` (z, y, x) is that of the
    level. Raises `BadInput` where the XML gives another number of voxels.
    """
    if (description := find_xml(container)) is None:
        return []
    path, root = description
    views = root.iterfind("SequenceDescription/ViewSetups/ViewSetup")
    view = next((v for v in views if (v.findtext("id") or "").strip() == str(setup)), None)
    if view is None:
        return []
    counts = (view.findtext("size") or "").split()
    if counts and set(factors) == {1} and counts != [str(n) for n in shape[::-1]]:
        raise BadInput(
            f"{container}: setup {setup} has {' x '.join(map(str, shape[::-1]))} voxels, "
            f"but {' x '.join(counts)} by {path}: correct one of them"
        )
    numbers = [float(n) for n in (view.findtext("voxelSize/size") or "").split()]
    if len(numbers) != 3 or min(numbers) <= 0:
        return []
    units = dict.fromkeys("xyz", (view.findtext("voxelSize/unit") or "").strip())
    sizes = {a: n * f for a, n, f in zip("xyz", numbers, factors, strict=True)}
    size, unit = lengths(sizes, units)
    shifts = {a: n * (f - 1) / 2 for a, n, f in zip("xyz", numbers, factors, strict=True) if f != 1}
    place, _ = lengths(shifts, units)
    return [Calibration(source=path, voxel_size=size, offset=place, unit=unit)]


def factors_of(file: Any, setup: str, level: int) -> tuple[float, ...] | None:
    """Return the factors (x, y, z) of a level in an HDF5 container, None where it does not list them."""
    import h5py

    listed = file.get(f"s{setup}/resolutions")
    if not isinstance(listed, h5py.Dataset) or listed.ndim != 2 or listed.shape[1] != 3 or level >= len(listed):
        return (1.0, 1.0, 1.0) if level == 0 else None
    return tuple(float(n) for n in listed[level])
