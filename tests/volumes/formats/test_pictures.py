"""PNG and JPEG of cameras, scanners and scripts, compared with Pillow and imagecodecs."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps

from vol2vol.errors import BadInput, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.formats import pictures

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 255, (23, 17), np.uint8)
COLOURS = RNG.integers(0, 255, (23, 17, 3), np.uint8)
DEEP = RNG.integers(0, 65535, (23, 17, 3), np.uint16)


def read(path, **stated):
    with open_volume(path, **{"voxel_size": (1, 1), **stated}) as volume:
        return volume.read(Box.of(volume.spatial))


def opaque(pixels):
    top = np.full((*pixels.shape[:2], 1), np.iinfo(pixels.dtype).max, pixels.dtype)
    return np.concatenate([pixels.reshape(*pixels.shape[:2], -1), top], axis=2)


def png(path, pixels, **options):
    Image.fromarray(pixels).save(path, "PNG", **options)
    return path


@pytest.mark.parametrize(
    ("write", "right"),
    [
        (lambda path: png(path, GREY), GREY[None]),
        (lambda path: png(path, COLOURS), COLOURS.transpose(2, 0, 1)),
        (lambda path: png(path, opaque(GREY)), GREY[None]),
        (lambda path: png(path, opaque(COLOURS)), COLOURS.transpose(2, 0, 1)),
        (lambda path: png(path, GREY > 99), (GREY[None] > 99).astype(np.uint8)),
        (lambda path: png(path, DEEP[..., 0]), DEEP[None, ..., 0]),
        (lambda path: path.write_bytes(imagecodecs.png_encode(DEEP)), DEEP.transpose(2, 0, 1)),
        (lambda path: path.write_bytes(imagecodecs.png_encode(opaque(DEEP))), DEEP.transpose(2, 0, 1)),
        (lambda path: path.write_bytes(imagecodecs.png_encode(opaque(DEEP[..., 0]))), DEEP[None, ..., 0]),
    ],
    ids=["grey", "rgb", "grey+alpha", "rgba", "1-bit", "16-bit", "16-bit rgb", "16-bit rgba", "16-bit grey+alpha"],
)
def test_every_kind_of_png(tmp_path, write, right):
    write(tmp_path / "a.png")
    made = read(tmp_path / "a.png")
    assert made.dtype == right.dtype
    np.testing.assert_array_equal(made[:, 0], right)
    with open_volume(tmp_path / "a.png", voxel_size=(2, 3)) as volume:
        assert volume.is_2d
        assert volume.channel_names == (("red", "green", "blue") if len(right) == 3 else ())
        np.testing.assert_array_equal(volume.read(Box((0, 3, 2), (1, 11, 9)))[:, 0], right[:, 3:11, 2:9])


def test_palettes_are_the_colours_that_viewers_show(tmp_path):
    labels = GREY % 4
    image = Image.fromarray(labels).convert("P")
    image.putpalette([0, 0, 0, 200, 30, 7, 1, 2, 3, 9, 9, 9])
    image.save(tmp_path / "colours.png")
    right = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(read(tmp_path / "colours.png")[:, 0], right)
    image.putpalette([0, 0, 0, 80, 80, 80, 160, 160, 160, 255, 255, 255])
    image.save(tmp_path / "greys.png")
    np.testing.assert_array_equal(read(tmp_path / "greys.png")[0, 0], np.array([0, 80, 160, 255])[labels])


@pytest.mark.parametrize("pixels", [GREY, COLOURS])
def test_jpeg(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.JPG", "JPEG", quality=90)
    with Image.open(tmp_path / "a.JPG") as image:
        right = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(read(tmp_path / "a.JPG")[:, 0], right)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_orientation_of_the_camera_is_applied(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"photo.{kind.lower()}"
    Image.fromarray(COLOURS).save(path, kind, exif=exif)
    with Image.open(path) as image:
        right = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    made = read(path)
    assert made.shape[2:] == ((23, 17) if orientation < 5 else (17, 23))
    np.testing.assert_array_equal(made[:, 0], right)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: png(path, np.dstack([COLOURS, GREY])),
        lambda path: png(path, np.dstack([GREY, GREY])),
        lambda path: png(path, GREY, transparency=int(GREY[4, 5])),
        lambda path: path.write_bytes(imagecodecs.png_encode(np.dstack([DEEP, DEEP[..., 0]]))),
    ],
    ids=["rgba", "grey+alpha", "transparent grey", "16-bit"],
)
def test_transparency_is_never_dropped_without_a_word(tmp_path, write):
    write(tmp_path / "a.png")
    with pytest.raises(BadInput, match=r"a\.png is transparent in places"):
        read(tmp_path / "a.png")


def test_the_colours_of_printers_are_refused(tmp_path):
    Image.fromarray(np.dstack([COLOURS, GREY]), "CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(BadInput, match=r"a\.jpg has the colour space CMYK.*convert it to RGB"):
        read(tmp_path / "a.jpg")


def declared(width, height):
    """Return a PNG of a few bytes that claims a size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "bomb.png").write_bytes(declared(60_000, 60_000))
    with pytest.raises(BadInput, match=r"bomb\.png has 60000 x 60000 pixels, 10\.1 GiB.*up to 1 GiB: convert"):
        open_volume(tmp_path / "bomb.png", voxel_size=(1, 1))


def test_large_photographs_are_within_the_bound(tmp_path):
    (tmp_path / "slide.png").write_bytes(declared(18_000, 15_000))  # beyond what Pillow lets pass by itself
    before = Image.MAX_IMAGE_PIXELS
    with open_volume(tmp_path / "slide.png", voxel_size=(1, 1)) as volume:
        assert volume.shape == (3, 1, 15_000, 18_000)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello" * 99, b"\xff\xd8\xff\xe0"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_files_that_are_no_images(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unreadable, match=rf"{name[:1]}\{name[1:]} is not a readable PNG or JPEG"):
        read(tmp_path / name)


@pytest.mark.parametrize("pixels", [COLOURS, DEEP])
def test_images_that_are_cut_off_are_named(tmp_path, pixels):
    whole = imagecodecs.png_encode(pixels)
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match=r"a\.png (cannot be read|is not a readable PNG) .*restore"):
        read(tmp_path / "a.png")


def test_animations_are_refused(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(BadInput, match=r"a\.png is an animation of 2 images"):
        read(tmp_path / "a.png")


def test_decoded_images_are_kept_within_bounds_and_follow_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "CACHE_BYTES", 2 * GREY.nbytes)
    kept = pictures._Cache()
    monkeypatch.setattr(pictures, "_CACHE", kept)
    for number in range(4):
        png(tmp_path / f"{number}.png", GREY + number)
        np.testing.assert_array_equal(read(tmp_path / f"{number}.png")[0, 0], GREY + number)
    assert len(kept._images) == 2
    png(tmp_path / "3.png", GREY[::-1].copy(), compress_level=0)
    np.testing.assert_array_equal(read(tmp_path / "3.png")[0, 0], GREY[::-1])
    read(tmp_path / "3.png")[:] = 0
    np.testing.assert_array_equal(read(tmp_path / "3.png")[0, 0], GREY[::-1])


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.JPEG"])
def test_images_are_no_output(tmp_path, name):
    with pytest.raises(BadInput, match=rf"{name[:3]}\{name[3:]} cannot be written.*\.zarr.*\.tif"):
        create_volume(tmp_path / name, shape=(1, 1, 4, 4), dtype="u1", voxel_size=(1, 1, 1), unit="")
    assert not (tmp_path / name).exists()


def test_bytes_are_read_without_looking_at_the_name(tmp_path):
    data = io.BytesIO()
    Image.fromarray(GREY).save(data, "PNG")
    (tmp_path / "image").write_bytes(data.getvalue())
    np.testing.assert_array_equal(read(tmp_path / "image")[0, 0], GREY)
