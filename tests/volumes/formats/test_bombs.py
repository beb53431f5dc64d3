"""Chunks and segments that decompress to far more than their size: refused in one line, within the memory of one chunk.

Each holds 64 MiB where some kilobytes belong, and is read in a process that can have 48 MiB more than it has.
"""

import json
import struct
import subprocess
import sys
import zlib

import google_crc32c
import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec

from vol2vol.errors import Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume
from vol2vol.volumes.formats.coded_images import announced

MANY = np.zeros(64 << 20, np.uint8)
SIDE = (16, 16, 16)
READ = """
import resource, sys
from vol2vol.errors import UserError
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume
for path in sys.argv[2:]:
    with open_volume(sys.argv[1]) as small:
        small.read(Box.of(small.spatial))
    try:
        volume = open_volume(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = int(volume.read(Box.of(volume.spatial)).sum())
    except UserError as error:
        said = str(error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, said)
"""


def read_all(small, *paths):
    """Return, by path, the memory in MiB that reading it took beyond reading a small volume, and what came of it."""
    command = [sys.executable, "-c", READ, *map(str, (small, *paths))]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pairs = [line.split(" ", 1) for line in lines]
    return {path: (int(grown) / 1024, outcome) for path, (grown, outcome) in zip(paths, pairs, strict=True)}


COMPRESSORS = {
    "blosc": (
        lambda: imagecodecs.blosc_encode(MANY, compressor="lz4", typesize=1),
        {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
    ),
    "gzip": (lambda: zlib.compress(MANY, wbits=31), {"id": "gzip", "level": 5}),
    "zstd": (lambda: imagecodecs.zstd_encode(MANY, level=1), {"id": "zstd", "level": 3}),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A sound volume, of whose reading the libraries' own memory comes."""
    path = tmp_path_factory.mktemp("small") / "small.zarr"
    zarr.create_array(path, shape=SIDE, chunks=SIDE, dtype="u1")[:] = 1
    return path


@pytest.mark.parametrize("name", COMPRESSORS)
def test_chunks_of_zarr_and_n5(name, small, tmp_path):
    encode, compressor = COMPRESSORS[name]
    bomb, (two, three, shards, n5) = encode(), (tmp_path / f"{kind}.zarr" for kind in ("2", "3", "s", "5"))
    zarr.create_array(two, shape=SIDE, chunks=SIDE, dtype="u1", zarr_format=2, compressors=None)[:] = 1
    about = json.loads((two / ".zarray").read_text())
    (two / ".zarray").write_text(json.dumps({**about, "compressor": compressor}))
    (two / "0.0.0").write_bytes(bomb)
    options = {key: value for key, value in compressor.items() if key != "id"} | {"typesize": 1, "shuffle": "shuffle"}
    kept = {"blosc": list(options), "gzip": ["level"], "zstd": ["level"]}[name]
    codec = {"name": name, "configuration": {key: options[key] for key in kept}}
    chain = [{"name": "bytes"}, codec]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    inner = {"chunk_shape": SIDE, "codecs": chain, "index_codecs": index, "index_location": "end"}
    for path, codecs in ((three, chain), (shards, [{"name": "sharding_indexed", "configuration": inner}])):
        zarr.create_array(path, shape=SIDE, chunks=SIDE, dtype="u1", compressors=None)[:] = 1
        about = json.loads((path / "zarr.json").read_text())
        (path / "zarr.json").write_text(json.dumps({**about, "codecs": codecs}))
    (three / "c" / "0" / "0" / "0").write_bytes(bomb)
    ends = struct.pack("<QQ", 0, len(bomb))
    (shards / "c" / "0" / "0" / "0").write_bytes(bomb + ends + struct.pack("<I", google_crc32c.value(ends)))
    (n5 / "0" / "0").mkdir(parents=True)
    compression = {("type" if key == "id" else key): value for key, value in compressor.items()}
    about = {"dimensions": SIDE, "blockSize": SIDE, "dataType": "uint8", "compression": compression}
    (n5 / "attributes.json").write_text(json.dumps(about))
    (n5 / "0" / "0" / "0").write_bytes(struct.pack(">HHIII", 0, 3, *SIDE) + bomb)
    for path, (grown, outcome) in read_all(small, two, three, shards, n5).items():
        assert f"{path}: box 0:16, 0:16, 0:16 cannot be read" in outcome
        assert grown < 48, outcome


def test_chunks_of_hdf5(small, tmp_path):
    """Also those of Imaris and behind a filter that shuffles bytes; one that is as long as it may be is read."""
    path, paths = tmp_path / "bombs.h5", {}
    with h5py.File(path, "w") as file:
        for name, more in (("plain", {}), ("shuffled", {"shuffle": True}), ("summed", {"fletcher32": True})):
            data = file.create_dataset(name, SIDE, "u1", chunks=SIDE, compression="gzip", **more)
            data.id.write_direct_chunk((0, 0, 0), zlib.compress(MANY))
            paths[name] = f"{path}:/{name}"
        noise = np.random.default_rng(0).integers(0, 256, SIDE, np.uint8)
        data = file.create_dataset("noise", SIDE, "u1", chunks=SIDE, compression="gzip", fletcher32=True)
        data[:] = noise
        assert data.id.get_chunk_info(0).size > noise.size
    for found, (grown, outcome) in read_all(small, *paths.values()).items():
        assert outcome.startswith(
            f"{found}: box 0:16, 0:16, 0:16 cannot be read (the chunk at (0, 0, 0) inflates to more"
        )
        assert grown < 48
    with open_volume(f"{path}:/noise") as volume:
        np.testing.assert_array_equal(volume.read(Box.of(SIDE))[0], noise)


def test_a_chunk_that_is_deflated_twice(tmp_path):
    path = tmp_path / "twice.h5"
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(SIDE)
    for _ in range(2):
        settings.set_deflate(1)
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"twice", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple(SIDE), settings)
    with open_volume(path) as volume, pytest.raises(Unreadable, match="it is deflated twice"):
        volume.read(Box.of(SIDE))


def png(kind, bits):
    """A PNG of 16 x 16 pixels with the data of many more."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 16, 16, bits, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(MANY)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(path, compression, data):
    """A TIFF of 16 x 16 pixels whose only strip is compressed data."""
    tags = [
        *((256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, compression), (262, 3, 1)),
        *((273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 4, 16), (279, 4, len(data))),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data)
    return path


def test_pixels_of_png_and_segments_of_tiff(small, tmp_path):
    """Where a decoder stops when its room is full, that is as good as an error."""
    photo, paths = np.zeros((8192, 8192), np.uint8), []
    for kind, bits in ((0, 8), (0, 16), (2, 16)):
        (tmp_path / f"{kind}-{bits}.png").write_bytes(png(kind, bits))
        paths.append(tmp_path / f"{kind}-{bits}.png")
    coded = {
        8: zlib.compress(MANY),
        5: imagecodecs.lzw_encode(MANY),
        50000: imagecodecs.zstd_encode(MANY),
        34925: imagecodecs.lzma_encode(MANY, level=0),
        32773: b"\x81\0" * (MANY.size // 128),
        7: imagecodecs.jpeg_encode(photo),
        34712: imagecodecs.jpeg2k_encode(photo),
    }
    paths += [tiff(tmp_path / f"{number}.tif", number, data) for number, data in coded.items()]
    results = read_all(small, *paths)
    assert max(grown for grown, _ in results.values()) < 48
    for path, (_, outcome) in results.items():
        assert outcome == "0" or f"{path}: box 0:1, 0:16, 0:16 cannot be read" in outcome
    assert "is an image of 67108864 pixels" in results[tmp_path / "7.tif"][1]
    assert "is an image of 67108864 pixels" in results[tmp_path / "34712.tif"][1]


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (300, 17)])
def test_sizes_that_images_announce(shape):
    image = np.zeros(shape, np.uint8)
    for encode in (imagecodecs.jpeg_encode, imagecodecs.jpeg2k_encode, imagecodecs.png_encode):
        assert announced(encode(image)) == image.size
        assert [announced(encode(image)[:length]) for length in range(16)] == [0] * 16
    assert announced(imagecodecs.jpeg2k_encode(image, codecformat="jp2")) == image.size
    assert announced(b"anything else") == 0


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "png"])
def test_sound_images_in_tiff_are_read(compression, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, compression=compression, tile=(32, 32), photometric="minisblack")
    with open_volume(tmp_path / "a.tif") as volume:
        np.testing.assert_array_equal(volume.read(Box.of((1, 40, 50)))[0, 0], tifffile.imread(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("version", "separator", "shards"),
    [(2, ".", None), (2, "/", None), (3, "/", None), (3, ".", None), (3, "/", (8, 8, 16))],
)
def test_sound_blosc_is_read(version, separator, shards, tmp_path):
    """Whatever chunks are called, at borders, and where some were never written."""
    shape, kind = (11, 13, 17), {"name": "v2" if version == 2 else "default", "separator": separator}
    codec = BloscCodec(cname="zstd") if version == 3 else Blosc(cname="zstd")
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=shape,
        chunks=(4, 4, 8),
        shards=shards,
        dtype="u2",
        zarr_format=version,
        compressors=codec,
        chunk_key_encoding=kind,
    )
    values = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    values[4:8, :8] = 0
    array[:4], array[8:] = values[:4], values[8:]
    array[4:8, 8:] = values[4:8, 8:]
    with open_volume(tmp_path / "a.zarr") as volume:
        for box in (Box.of(shape), Box((3, 2, 7), (5, 9, 17)), Box((10, 12, 16), shape)):
            np.testing.assert_array_equal(volume.read(box)[0], values[box.slices])
