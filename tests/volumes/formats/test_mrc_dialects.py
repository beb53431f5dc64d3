"""MRC of IMOD, SerialEM and other programs: signed bytes, odd headers, suffixes."""

from __future__ import annotations

import struct

import mrcfile
import numpy as np
import pytest

from vol2vol.errors import Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

STACK = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7) - 50
BYTES = np.arange(210, dtype=np.uint8).reshape(5, 6, 7) + 46
"""46 to 255."""
STAMP = 1146047817


def write(path, array, *, at=()):
    """Write a file with voxels of 2 Angstrom; `at` are offsets and bytes that are put there."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(array.view(np.int8) if array.dtype == np.uint8 else array)
        file.voxel_size = 2
        file.set_volume()
    raw = bytearray(path.read_bytes())
    for offset, text in at:
        raw[offset : offset + len(text)] = text
    path.write_bytes(raw)
    return path


def read(path):
    with open_volume(path) as volume:
        assert volume.voxel_size == (2, 2, 2)
        return volume.read(Box.of(volume.spatial))[0]


def stamped(flags, order="<"):
    return (152, struct.pack(f"{order}2i", STAMP, flags))


def statistics(least, most):
    return (76, struct.pack("<3f", least, most, (least + most) / 2))


OLD = (108, bytes(4))
"""A header that names no version of the standard."""
ABSENT = statistics(0, -1)


@pytest.mark.parametrize(
    ("at", "meant"),
    [
        ([stamped(0)], BYTES),
        ([stamped(1)], BYTES ^ 128),
        ([stamped(1 | 8), statistics(0, 255)], BYTES ^ 128),
        ([stamped(0), statistics(-128, 127)], BYTES),
        ([statistics(0, 255)], BYTES),
        ([OLD, statistics(46, 255)], BYTES),
        ([], BYTES.view(np.int8)),
        ([ABSENT], BYTES.view(np.int8)),
        ([OLD, statistics(-128, 127)], BYTES.view(np.int8)),
        ([OLD, statistics(-3, 200)], BYTES.view(np.int8)),
    ],
    ids=[
        "imod",
        "imod-signed",
        "imod-flags",
        "imod-wins",
        "statistics",
        "old-statistics",
        "standard",
        "no-statistics",
        "old",
        "both",
    ],
)
def test_what_bytes_mean(tmp_path, caplog, at, meant):
    opened = read(write(tmp_path / "a.mrc", BYTES, at=at))
    assert opened.dtype == meant.dtype
    np.testing.assert_array_equal(opened, meant)
    assert not caplog.text


def test_bytes_of_which_nothing_tells_the_sign_are_signed_and_said_to_be(tmp_path, caplog):
    opened = read(write(tmp_path / "a.mrc", BYTES, at=[OLD, ABSENT]))
    np.testing.assert_array_equal(opened, BYTES.view(np.int8))
    assert "a.mrc does not say whether its bytes are signed" in caplog.text


def test_a_mask_of_imod_is_0_and_1(tmp_path):
    mask = (STACK > 0).astype(np.uint8)
    opened = read(write(tmp_path / "a.mrc", mask ^ np.uint8(128), at=[stamped(1)]))
    np.testing.assert_array_equal(opened, mask)


@pytest.mark.parametrize("suffix", [".mrc", ".map", ".rec", ".mrcs", ".st", ".ali", ".preali", ".ccp4", ".MRC"])
def test_suffixes(tmp_path, suffix):
    np.testing.assert_array_equal(read(write(tmp_path / f"a{suffix}", STACK)), STACK)


@pytest.mark.parametrize("kind", ["i2", "f4", "f2", "u2", ">f4", ">i2"])
@pytest.mark.parametrize(
    ("at", "said"),
    [
        ([(208, b"MAP\0")], ""),
        ([(208, b"\0\0\0\0")], 'does not say "MAP "'),
        ([(212, b"\0\0\0\0")], "machine stamp"),
        ([(212, b"\x44\x20\x20\x20")], "machine stamp"),
        ([(212, b"\x44\x44\0\0")], None),
        ([(212, b"\x11\x11\0\0")], None),
        ([(208, bytes(8))], 'does not say "MAP "'),
    ],
    ids=["map0", "no-map", "no-stamp", "odd-stamp", "little", "big", "neither"],
)
def test_odd_headers_are_read_with_a_warning(tmp_path, caplog, recwarn, kind, at, said):
    array = STACK.astype(kind) if kind != "u2" else STACK.view(np.uint16)
    opened = read(write(tmp_path / "a.mrc", array, at=at))
    np.testing.assert_array_equal(opened, array)
    if said is not None:
        assert (said in caplog.text) if said else not caplog.text
    assert not recwarn.list


def test_bytes_of_big_machines_without_a_stamp(tmp_path, caplog):
    path = write(tmp_path / "a.mrc", STACK.astype(">f4"), at=[(212, bytes(4))])
    raw = bytearray(path.read_bytes()[: 1024 + BYTES.size])
    raw[12:16] = bytes(4)
    raw[1024:] = BYTES.tobytes()
    raw[152:160] = stamped(0, ">")[1]
    path.write_bytes(raw)
    np.testing.assert_array_equal(read(path), BYTES)
    assert "does not fit its byte order" in caplog.text


def test_extended_headers(tmp_path, caplog):
    plain = write(tmp_path / "a.mrc", STACK).read_bytes()
    long = bytearray(plain[:1024] + b"x" * 2048 + plain[1024:])
    long[92:96] = struct.pack("<i", 2048)
    (tmp_path / "b.mrc").write_bytes(long)
    np.testing.assert_array_equal(read(tmp_path / "b.mrc"), STACK)
    assert not caplog.text
    long[92:96] = struct.pack("<i", 1024)
    (tmp_path / "b.mrc").write_bytes(long)
    read(tmp_path / "b.mrc")
    assert "1024 bytes more than its header counts: look at its first plane" in caplog.text
    for wrong in (4096, -4):
        long[92:96] = struct.pack("<i", wrong)
        (tmp_path / "b.mrc").write_bytes(long)
        with pytest.raises(Unreadable, match=r"b\.mrc is not a readable MRC file"):
            open_volume(tmp_path / "b.mrc")


@pytest.mark.parametrize("kept", [0, 500, 1024, 1400])
@pytest.mark.parametrize("at", [[], [(208, bytes(8))]])
def test_files_that_are_cut_off_are_refused(tmp_path, kept, at):
    path = write(tmp_path / "a.st", STACK, at=at)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Unreadable, match=r"a\.st is not a readable MRC file: .* bytes: restore it"):
        open_volume(path)


@pytest.mark.parametrize("mode", [3, 16, 101, 999, -1])
def test_other_files_and_modes_are_refused(tmp_path, mode):
    path = write(tmp_path / "a.map", STACK, at=[(12, struct.pack("<i", mode))])
    with pytest.raises(Unreadable, match=rf"not a readable MRC file \(mode {mode}\)"):
        open_volume(path)
    path.write_text('{"version":3,"sources":["a.ts"]}' * 99)
    with pytest.raises(Unreadable, match="not a readable MRC file"):
        open_volume(path)


@pytest.mark.parametrize("at", [(28, bytes(12)), (40, bytes(12)), (28, b"\xff" * 4), (40, struct.pack("<f", np.nan))])
def test_a_voxel_size_that_makes_no_sense_counts_as_not_stated(tmp_path, recwarn, at):
    path = write(tmp_path / "a.mrc", STACK, at=[at])
    assert not open_volume(path).sized
    np.testing.assert_array_equal(open_volume(path, voxel_size=(1, 1, 1)).read(Box.of(STACK.shape))[0], STACK)
    assert not recwarn.list
