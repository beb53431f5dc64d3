"""Readers of other packages: found by suffix, read lazily like any other, and named with their package if broken."""

import numpy as np
import pytest

from vol2vol.errors import BadInput, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume
from vol2vol.volumes.readers import READERS

READER = """
import json
import numpy as np
from vol2vol.volumes.stored import Stored

reads = []

def open_raw(path):
    if path.is_dir():
        return None
    shape = json.loads(path.with_suffix(".json").read_text())
    if not shape:
        raise Lost("no shape")
    array = np.memmap(path, np.uint16, "r", shape=tuple(shape))
    def read(region):
        reads.append(region)
        return np.array(array[region])
    return Stored(path=str(path), format="raw", shape=array.shape, dtype=array.dtype, axes="zyx"[-array.ndim:],
                  chunks=array.shape, read=read, stamp=lambda: path.stat().st_mtime_ns, unit="nm",
                  voxel_size=dict.fromkeys("zyx"[-array.ndim:], 4.0))

class Lost(Exception): pass
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Install a package that offers readers of several suffixes."""
    folder = tmp_path / "site"
    about = folder / "raw_files-2.0.dist-info"
    about.mkdir(parents=True)
    (folder / "raw_files.py").write_text(READER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: raw-files\nVersion: 2.0\n")
    names = ("raw", "bin.raw", "gone", "tiff", "Big")
    lines = [f"{name} = raw_files:{'open_raw' if name != 'gone' else 'open_gone'}" for name in names]
    (about / "entry_points.txt").write_text("\n".join(["[vol2vol.readers]", *lines, ""]))
    monkeypatch.syspath_prepend(folder)
    _forget()
    yield
    _forget()


def _forget():
    vars(READERS).pop("_outside", None)
    READERS._loaded.clear()


@pytest.mark.parametrize("name", ["a.raw", "A.RAW", "a.b.raw", "a.bin.raw"])
@pytest.mark.parametrize("shape", [(5, 7, 1), (3, 4)])
@pytest.mark.usefixtures("site")
def test_a_volume_of_another_format_is_read_lazily(name, shape, tmp_path):
    array = np.random.default_rng(0).integers(0, 2**16, shape, dtype=np.uint16)
    array.tofile(tmp_path / name)
    (tmp_path / name).with_suffix(".json").write_text(str(list(shape)))
    with open_volume(tmp_path / name) as volume:
        import raw_files

        raw_files.reads.clear()
        assert (volume.spatial, volume.voxel_size[-1], volume.unit) == ((1, *shape)[-3:], 4.0, "nanometer")
        assert not raw_files.reads
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], array.reshape(volume.spatial))
        part = volume.read_padded(Box((0, -1, 0), (1, 2, 1)))
        np.testing.assert_array_equal(part[0, 0, 1:, 0], array.reshape(volume.spatial)[0, :2, 0])


@pytest.mark.parametrize(
    ("name", "shape", "error", "text"),
    [
        ("a.gone", "[1]", BadInput, "the reader 'gone' of the package raw-files 2.0 cannot be loaded"),
        ("a.raw", "[]", BadInput, "the reader 'raw' of the package raw-files 2.0 fails on"),
        ("a.raw", "[9]", Unreadable, "a.raw cannot be opened"),
        ("folder.raw", "", BadInput, "the reader 'raw' of the package raw-files 2.0 returns NoneType"),
        (
            "a.tiff",
            "[1]",
            BadInput,
            "the reader 'tiff' is offered by vol2vol and by raw-files 2.0: uninstall",
        ),
        ("a.unknown", "[1]", BadInput, "a.unknown has a format that cannot be read"),
    ],
)
@pytest.mark.usefixtures("site")
def test_what_cannot_be_read_is_named(name, shape, error, text, tmp_path):
    (tmp_path / "a.json").write_text(shape)
    (tmp_path / name).mkdir() if name == "folder.raw" else (tmp_path / name).write_bytes(b"\0\0")
    with pytest.raises(error) as caught:
        open_volume(tmp_path / name)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("site")
def test_a_suffix_is_written_small_and_flags_of_other_formats_are_refused(tmp_path):
    with pytest.raises(BadInput, match="in small letters without its first dot: big"):
        READERS["Big"]
    (tmp_path / "a.raw").write_bytes(bytes(8))
    (tmp_path / "a.json").write_text("[2, 2]")
    with pytest.raises(BadInput, match="leave out `level`"):
        open_volume(tmp_path / "a.raw", level=1)
    with pytest.raises(BadInput, match="leave out `image`"):
        open_volume(tmp_path / "a.raw", image=1)
