"""Read PNG and JPEG: one 2D image per file, grey or RGB, decoded whole and cached."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vol2vol.errors import BadInput, NotFound, Unreadable, one_line
from vol2vol.files import check_regular
from vol2vol.geometry import Shape
from vol2vol.volumes.display import RGB
from vol2vol.volumes.formats.tiff import stamp
from vol2vol.volumes.stored import READ_ERRORS, Slices, Stored

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MAGIC = (b"\x89PNG", b"\xff\xd8\xff")
"""First bytes of a PNG and a JPEG."""
LARGEST = 1 << 30
"""Bytes of a decoded image up to which it is read: a small file may declare any size."""
CACHE_BYTES = 128 << 20
"""Bytes of decoded images cached per process."""
_GREY = {"1": bool, "L": np.uint8, "LA": np.uint8}
_COLOUR = ("RGB", "RGBA")
_ORIENTATION = 274
"""The EXIF tag of the orientation."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG or JPEG whose header has been read; shape and voxels are upright, as viewers show it."""

    path: Path
    shape: Shape
    """Y, X, and 3 where it is RGB."""
    dtype: np.dtype
    deep: bool
    """Whether it is a PNG of 16 bits per sample, which Pillow would reduce to 8 if it has colours or alpha."""
    orientation: int
    """EXIF: 1 upright, 2 to 8 mirrored or turned."""

    @property
    def axes(self) -> str:
        """One letter per axis."""
        return "yxc"[: len(self.shape)]

    @property
    def chunks(self) -> Shape:
        """The whole image."""
        return self.shape

    def read(self, region: Slices) -> np.ndarray:
        """Return a region of the image; raise `Unreadable` or, for transparency, `BadInput`."""
        return _CACHE.get(self)[region].copy()

    def decode(self) -> np.ndarray:
        """Return the image, `shape`; a channel of transparency is left out where it is opaque throughout."""
        try:
            pixels = self._deep() if self.deep else self._shallow()
        except READ_ERRORS as error:
            raise Unreadable(f"{self.path} cannot be read ({one_line(error)}): restore the file") from error
        samples = self.shape[2] if len(self.shape) == 3 else 1
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if pixels.shape[2] == samples + 1:
            if not (pixels[..., -1] == np.iinfo(self.dtype).max).all():
                raise BadInput(f"{self.path} is transparent in places: save it again without an alpha channel")
            pixels = pixels[..., :-1]
        upright = _upright(pixels, self.orientation)
        return np.ascontiguousarray(upright.reshape(self.shape), dtype=self.dtype)

    def _deep(self) -> np.ndarray:
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(self.path.read_bytes()))

    def _shallow(self) -> np.ndarray:
        with _opened(self.path) as image:
            colour = len(self.shape) == 3
            if "transparency" in image.info and image.mode != "1":
                return np.asarray(image.convert("RGBA" if colour else "LA"))
            if image.mode == "P":
                return np.asarray(image.convert("RGB" if colour else "L"))
            return np.asarray(image)


class _Cache:
    """A cache of the images that were read last."""

    def __init__(self) -> None:
        self._images: OrderedDict[Any, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, picture: Picture) -> np.ndarray:
        """Return an image; decode it if it is not cached or its file has changed."""
        info = picture.path.stat()
        key = (picture, info.st_size, info.st_mtime_ns)
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        pixels = picture.decode()
        with self._lock:
            if key not in self._images:
                self._images[key] = pixels
                self._bytes += pixels.nbytes
            while self._bytes > CACHE_BYTES:
                self._bytes -= self._images.popitem(last=False)[1].nbytes
        return pixels


_CACHE = _Cache()


def open_picture(path: Path) -> Stored:
    """Open a PNG or JPEG as an image of its own."""
    picture = look(path)
    return Stored(
        path=str(path),
        format="PNG" if path.suffix.lower() == ".png" else "JPEG",
        shape=picture.shape,
        dtype=picture.dtype,
        axes=picture.axes,
        chunks=picture.shape,
        read=picture.read,
        stamp=lambda: stamp([path]),
        channel_names=RGB if len(picture.shape) == 3 else (),
    )


def look(path: Path) -> Picture:
    """Read the header of a PNG or JPEG; raise `Unreadable` or, for unsupported kinds, `BadInput`."""
    try:
        with _opened(path) as image:
            return _picture(path, image)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except PermissionError:
        raise Unreadable(f"{path}: no permission to read: change the permissions or choose another file") from None
    except BadInput:
        raise
    except (*READ_ERRORS, SyntaxError) as error:
        raise Unreadable(f"{path} is not a readable PNG or JPEG ({one_line(error)}): restore or re-save it") from error


def _picture(path: Path, image: Image.Image) -> Picture:
    mode, png = image.mode, image.format == "PNG"
    if png and getattr(image, "is_animated", False):
        raise BadInput(f"{path} is an animation of {getattr(image, 'n_frames', 0)} images: save them one by one")
    if png and mode == "1" and "transparency" in image.info:
        raise BadInput(f"{path} is transparent in places: save it again without transparency")
    bits, kind = _ihdr(path) if png else (8, 0)
    deep = bits == 16
    colour = kind in (2, 6) if deep else mode in _COLOUR or (mode == "P" and not _grey_palette(image))
    if not deep and not colour and mode != "P" and mode not in _GREY:
        raise BadInput(f"{path} has the colour space {mode}, which is for print: convert it to RGB")
    dtype = np.dtype(np.uint16 if deep else _GREY.get(mode, np.uint8))
    width, height = image.size
    if (needed := width * height * (3 if colour else 1) * dtype.itemsize) > LARGEST:
        raise BadInput(
            f"{path} has {height} x {width} pixels, {needed / 2**30:.1f} GiB; a PNG or JPEG is decoded whole, "
            f"up to {LARGEST / 2**30:g} GiB: convert it to a tiled TIFF or OME-Zarr"
        )
    orientation = _orientation(path, image) if png else int(image.getexif().get(_ORIENTATION, 1))
    height, width = (width, height) if orientation in range(5, 9) else (height, width)
    shape = (height, width, 3) if colour else (height, width)
    return Picture(path=path, shape=shape, dtype=dtype, deep=deep, orientation=orientation)


def _orientation(path: Path, image: Image.Image) -> int:
    """Return the EXIF orientation of a PNG, wherever in the file it is; Pillow would decode the image to find it."""
    from PIL import Image

    exif = Image.Exif()
    if "Raw profile type exif" in image.info:
        exif = image.getexif()
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[:4], "big")
            if head[4:] == b"eXIf":
                exif.load(file.read(min(size, 1 << 20)))
                break
            file.seek(size + 4, 1)
    return int(exif.get(_ORIENTATION, 1))


def _grey_palette(image: Image.Image) -> bool:
    """Say whether all colours of a palette are greys."""
    palette = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _ihdr(path: Path) -> tuple[int, int]:
    """Return the bits per sample and the colour type of a PNG, which Pillow does not expose."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24], head[25]


_BOUND = threading.Lock()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a PNG or JPEG without Pillow's limit on the number of pixels, which `LARGEST` replaces."""
    from PIL import Image

    check_regular(path)
    with path.open("rb") as file:
        with _BOUND:  # the limit applies to the whole process
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(file, formats=("PNG", "JPEG", "MPO"))
            finally:
                Image.MAX_IMAGE_PIXELS = before
        with image:
            yield image


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image (Y, X, samples) turned as EXIF says it is to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
