"""Codec metadata of other programs in Zarr and N5: read if unambiguous, else refused with codec and cure."""

from __future__ import annotations

import json
import shutil

import numcodecs
import numpy as np
import pytest
import tensorstore as ts
import zarr
from zarr import codecs as zc

from vol2vol.cli import main
from vol2vol.errors import BadInput, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

ARRAY = np.random.default_rng(5).integers(0, 60000, (8, 9, 10)).astype(np.uint16)
WHOLE = Box.of(ARRAY.shape)
CHUNKS = (4, 5, 6)
UNCLEAN = pytest.mark.filterwarnings("ignore")


def read(path):
    volume = open_volume(path, voxel_size=(1, 1, 1))
    return volume.read(Box.of(volume.spatial))[0]


def write(path, version, array=ARRAY, **options):
    encoded = zarr.create_array(
        path, shape=array.shape, chunks=CHUNKS, dtype=array.dtype, zarr_format=version, **options
    )
    encoded[...] = array
    return path


def edit(path, **changes):
    """Change keys of the array's metadata; None in place of a value removes a key."""
    file = next(path / name for name in (".zarray", "zarr.json", "attributes.json") if (path / name).exists())
    meta = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in meta.items() if value is not ...}))
    return path


@pytest.mark.parametrize(
    ("compressor", "stored"),
    [
        (numcodecs.GZip(5), {"id": "gzip", "level": -1}),
        (numcodecs.Zlib(5), {"id": "zlib", "level": -1}),
        (numcodecs.BZ2(1), {"id": "bz2", "level": 0}),
        (numcodecs.Zstd(3), {"id": "zstd", "level": 3, "checksum": False}),
        (numcodecs.Zstd(3, checksum=True), {"id": "zstd", "level": 3, "checksum": True}),
        (numcodecs.Blosc("lz4", shuffle=1), {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "typesize": 2}),
        (numcodecs.Blosc("zstd"), {"id": "Blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "nthreads": 4}),
    ],
)
def test_settings_of_writers_keep_no_reader_out(tmp_path, compressor, stored):
    path = edit(write(tmp_path / "a.zarr", 2, compressors=compressor), compressor=stored)
    before = sorted(entry.read_bytes() for entry in path.iterdir())
    np.testing.assert_array_equal(read(path), ARRAY)
    assert sorted(entry.read_bytes() for entry in path.iterdir()) == before, "reading changes no metadata"


@pytest.mark.parametrize("compressor", ["auto", numcodecs.Zstd(level=3, checksum=True), None])
@pytest.mark.parametrize("order", ["C", "F"])
def test_zarr_2_as_zarr_python_writes_it(tmp_path, compressor, order):
    path = write(tmp_path / "a.zarr", 2, compressors=compressor, order=order)
    np.testing.assert_array_equal(read(path), zarr.open_array(path)[...])


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


@UNCLEAN
@pytest.mark.parametrize(
    ("compressor", "stored"),
    [
        (zc.GzipCodec(level=5), [BYTES, {"name": "gzip", "configuration": {"level": -1}}]),
        (zc.GzipCodec(level=5), [BYTES, {"name": "gzip"}]),
        (zc.GzipCodec(level=5), [BYTES, {"name": "numcodecs.gzip", "configuration": {"level": 5}}]),
        (zc.ZstdCodec(level=5), [BYTES, {"name": "numcodecs.zstd", "configuration": {"level": 5}}]),
        (zc.ZstdCodec(checksum=True), None),
        (
            zc.BloscCodec(cname="lz4", shuffle="shuffle"),
            [BYTES, {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}}],
        ),
        (
            zc.BloscCodec(cname="lz4", shuffle="shuffle"),
            [BYTES, {"name": "numcodecs.blosc", "configuration": {"cname": "lz4", "clevel": 5, "shuffle": 1}}],
        ),
        (None, [{"name": "endian", "configuration": {"endian": "little"}}]),
    ],
)
@pytest.mark.parametrize("shards", [None, (8, 10, 12)])
def test_zarr_3_codecs_under_other_names(tmp_path, compressor, stored, shards):
    path = write(tmp_path / "a.zarr", 3, compressors=compressor, shards=shards)
    if stored is not None and shards is None:
        edit(path, codecs=stored)
    elif stored is not None:
        outer = json.loads((path / "zarr.json").read_text())["codecs"]
        outer[0]["configuration"]["codecs"] = stored
        edit(path, codecs=outer)
    np.testing.assert_array_equal(read(path), ARRAY)


@UNCLEAN
@pytest.mark.parametrize("version", [2, 3])
def test_codecs_that_are_not_read_are_named_with_the_cure(tmp_path, version, capsys):
    import zarr.codecs.numcodecs as zn

    both = {2: (numcodecs.LZ4(), numcodecs.Delta(dtype="<u2")), 3: (zn.LZ4(), zn.Delta(dtype="<u2"))}
    lz4, delta = both[version]
    path = write(tmp_path / "lz4.zarr", version, compressors=[lz4])
    cure = r"open it in zarr-python and save it again with zstd, gzip or Blosc"
    with pytest.raises(Unreadable, match=rf"lz4\.zarr is stored with the codec (numcodecs\.)?lz4, .*{cure}"):
        open_volume(path, voxel_size=(1, 1, 1))
    assert main(["info", str(path), "--voxel-size", "1,1,1"]) == 2
    assert "codec" in (line := capsys.readouterr().err)
    assert "restore" not in line
    write(tmp_path / "cured.zarr", version, array=zarr.open_array(path)[...], compressors="auto")
    np.testing.assert_array_equal(read(tmp_path / "cured.zarr"), ARRAY)
    path = write(tmp_path / "delta.zarr", version, filters=[delta], compressors=None)
    with pytest.raises(Unreadable, match=r"delta\.zarr is stored with the (codec|filter) (numcodecs\.)?delta"):
        open_volume(path, voxel_size=(1, 1, 1))


def n5(path, compression):
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(path)}, "create": True}
    size = {"dimensions": ARRAY.shape[::-1], "blockSize": CHUNKS[::-1], "dataType": "uint16"}
    encoded = ts.open({**spec, "metadata": {**size, "compression": compression}}).result()
    encoded.write(ARRAY.transpose(2, 1, 0)).result()
    return path


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ({"type": "gzip"}, {"compression": {"type": "gzip", "useZlib": False, "level": -1}}),
        ({"type": "gzip"}, {"compression": ..., "compressionType": "gzip"}),
        ({"type": "zstd", "level": 3}, {"compression": {"type": "zstd", "level": 3, "nbWorkers": 0}}),
        (
            {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
            {"compression": {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "nthreads": 1}},
        ),
        ({"type": "raw"}, {"compression": "raw", "dataType": "UINT16"}),
    ],
)
def test_n5_as_java_writes_it(tmp_path, written, stored):
    np.testing.assert_array_equal(read(edit(n5(tmp_path / "a.n5", written), **stored)), ARRAY)


def test_a_codec_of_n5_that_is_not_read_is_named(tmp_path):
    path = edit(n5(tmp_path / "a.n5", {"type": "raw"}), compression={"type": "lz4", "blockSize": 65536})
    with pytest.raises(Unreadable, match=r"a\.n5 is stored with the codec lz4, .*: open it in Fiji"):
        open_volume(path, voxel_size=(1, 1, 1))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("kind", "fill", "value"),
    [
        ("f4", "NaN", np.nan),
        ("f4", "nan", np.nan),
        ("f4", float("nan"), np.nan),
        ("f4", "Infinity", np.inf),
        ("f4", "-Infinity", -np.inf),
        ("f4", "1.5", 1.5),
        ("f4", 2, 2),
        ("f4", "AAAgQA==", 2.5),
        ("u2", "7", 7),
        ("u2", "BwA=", 7),
        ("i2", "-5", -5),
        ("b1", "true", 1),
        ("b1", 1, 1),
        ("b1", 0, 0),
    ],
)
def test_fill_values_as_text(tmp_path, version, kind, fill, value):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(4, 4), chunks=(2, 2), dtype=kind, zarr_format=version, fill_value=0)[:2, :2] = 1
    found = read(edit(path, fill_value=fill))[0]
    np.testing.assert_array_equal(found[:2, :2], 1)
    np.testing.assert_array_equal(found[2:], np.full((2, 4), value, found.dtype))


@pytest.mark.parametrize(("kind", "fill"), [("f4", "0x7fc00000"), ("f4", ""), ("u2", "NaN"), ("u1", 256), ("u2", 1.5)])
def test_a_fill_value_of_another_type_is_refused(tmp_path, kind, fill):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(4, 4), chunks=(2, 2), dtype=kind, zarr_format=2)
    with pytest.raises(Unreadable, match=r"its fill value .* is not"):
        open_volume(edit(path, fill_value=fill), voxel_size=(1, 1))


def test_the_bits_of_a_fill_value_in_zarr_3(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(4, 4), chunks=(2, 2), dtype="f4", zarr_format=3)
    assert (read(edit(path, fill_value="0x3fc00000")) == 1.5).all()


@pytest.mark.parametrize("text", ["uint16", "u2", "|u2", "=u2", "<u2"])
def test_types_as_text(tmp_path, text):
    np.testing.assert_array_equal(read(edit(write(tmp_path / "a.zarr", 2), dtype=text)), ARRAY)
    for named in (text, {"name": "uint16"}):
        path = write(tmp_path / "b.zarr", 3, overwrite=True)
        np.testing.assert_array_equal(read(edit(path, data_type=named)), ARRAY)


@pytest.mark.parametrize("text", ["<c8", "|S4", "<M8[s]", [["a", "<u2"], ["b", "<u2"]]])
def test_types_that_are_no_numbers_are_named(tmp_path, text):
    with pytest.raises((BadInput, Unreadable), match="convert it to integers or floats"):
        open_volume(edit(write(tmp_path / "a.zarr", 2), dtype=text, fill_value=None), voxel_size=(1, 1, 1))


def test_nan_among_the_attributes_of_zarr_3(tmp_path):
    path = edit(write(tmp_path / "a.zarr", 3), attributes={"offset": float("nan")})
    np.testing.assert_array_equal(read(path), ARRAY)


def test_what_must_be_understood_stays_refused(tmp_path):
    path = write(tmp_path / "a.zarr", 3, compressors=zc.GzipCodec(level=5))
    edit(path, codecs=[BYTES, {"name": "gzip", "configuration": {"level": -1}}], mirrored={"must_understand": True})
    with pytest.raises(Unreadable, match="mirrored"):
        open_volume(path, voxel_size=(1, 1, 1))


def test_chunks_in_folders_that_no_metadata_mention(tmp_path):
    options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    path = edit(write(tmp_path / "a.zarr", 2, **options), dimension_separator=...)
    assert (path / "0" / "0" / "0").is_file()
    np.testing.assert_array_equal(read(path), ARRAY)
    shutil.rmtree(path / "0")
    assert not read(path)[:4].any()
