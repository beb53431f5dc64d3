"""`vol2vol phantom circles|stripes|nuclei|tissue --out FOLDER`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import BadInput

Shape = Annotated[str, tyro.conf.arg(metavar="[Z,]Y,X")]
Count = Annotated[int | None, tyro.conf.arg(metavar="N")]


def run(words: list[str]) -> None:
    """Parse the command line and write phantoms."""
    kinds: dict[str, Callable[..., None]] = {
        "circles": _circles,
        "stripes": _stripes,
        "nuclei": _nuclei,
        "tissue": _tissue,
    }
    if not words or words[0] in ("-h", "--help"):
        print("usage: vol2vol phantom KIND --out FOLDER ...\n\nMake volumes with a known ground truth.\n")
        for name, verb in kinds.items():
            print(f"  {name:{max(map(len, kinds))}} {(verb.__doc__ or '').splitlines()[0]}")
        print("\nvol2vol phantom KIND --help explains a kind.")
        return
    if words[0] not in kinds:
        raise BadInput(f"there is no phantom {words[0]!r}: use one of {', '.join(kinds)}")
    parse.call(kinds[words[0]], words[1:], f"phantom {words[0]}")


@dataclass(frozen=True)
class _Files:
    """Format of the files, and whether they replace others."""

    suffix: Literal[".zarr", ".tif"] = ".zarr"
    """.zarr for OME-Zarr, .tif for TIFF."""
    overwrite: bool = False
    """replace files of another phantom."""


_USUAL = _Files()


def _circles(
    *,
    out: parse.Folder,
    shape: Shape = "2048,2048",
    images: int = 512,
    tests: int = 50,
    diameter: float = 40.0,
    count: Count = None,
    sub_pixel: bool = False,
    noise: Literal["paper", "code", "none"] = "paper",
    sigma: float = 58.3644,
    seed: int = 0,
    stack: bool = False,
    files: tyro.conf.OmitArgPrefixes[_Files] = _USUAL,
    json: bool = False,
) -> None:
    """White circles (source) and red, green or blue circles (target), unpaired; spheres in volumes.

    Args:
        out: folder for source, target, test and their label images; the same command continues after a stop.
        shape: size of an image, or of a volume, in voxels.
        images: number of images of each domain for training.
        tests: number of images of white circles for the test.
        diameter: diameter in voxels.
        count: number of circles in an image; by default they are as dense as published (1000 in 2048,2048).
        sub_pixel: centres lie anywhere, not only at the centres of voxels.
        noise: Gaussian noise on both domains, as in the paper; on the source alone, as in its code; or none.
        sigma: standard deviation of the noise in grey values (of 255).
        seed: seed of the random numbers; image k of a seed does not depend on the number of images.
        stack: write the images of a domain as the planes of one volume instead of separate files.
        files: files.
        json: print the result as JSON.
    """
    from vol2vol.phantoms import Circles, write_circles
    from vol2vol.schemas import checked

    geometry = {"shape": _shape(shape), "diameter": diameter, "count": count, "sub_pixel": sub_pixel}
    how = checked(Circles, {**geometry, "noise": noise, "sigma": sigma, "seed": seed}, "the circles")
    _print(write_circles(out, how, images=images, tests=tests, stack=stack, **vars(files)), as_json=json)


def _stripes(
    *,
    out: parse.Folder,
    shape: Shape = "2048,2048",
    images: int = 512,
    tests: int = 50,
    diameter: float = 256.0,
    period: float = 12.0,
    count: Count = None,
    noise: Literal["paper", "code", "none"] = "paper",
    seed: int = 0,
    files: tyro.conf.OmitArgPrefixes[_Files] = _USUAL,
    json: bool = False,
) -> None:
    """White circles (source) and stripes to fill them (target), of free colour, direction and phase.

    Args:
        out: folder for source, target, test and the labels of each; the same command continues one that was stopped.
        shape: voxels of an image, or of a volume.
        images: images of each domain to train on.
        tests: images of white circles to test on.
        diameter: diameter in voxels; larger than what a network sees at once, the choice has long range.
        period: distance between the middles of neighbouring stripes in voxels.
        count: circles in an image; by default they are as dense as the published circles.
        noise: normal noise on both domains (paper), on the source alone (code), or none.
        seed: number of the random draw.
        files: how files are written.
        json: print the result as JSON.
    """
    from vol2vol.phantoms import Stripes, write_circles
    from vol2vol.schemas import checked

    geometry = {"shape": _shape(shape), "diameter": diameter, "period": period, "count": count}
    how = checked(Stripes, {**geometry, "sub_pixel": True, "noise": noise, "seed": seed}, "the stripes")
    _print(write_circles(out, how, images=images, tests=tests, **vars(files)), as_json=json)


def _nuclei(
    *,
    out: parse.Folder,
    shape: Shape = "256,256,256",
    images: int = 4,
    tests: int = 1,
    diameter: float = 14.0,
    count: Count = None,
    elongation: Annotated[str, tyro.conf.arg(metavar="LOW,HIGH")] = "0.75,1.25",
    grey: Annotated[str, tyro.conf.arg(metavar="BACKGROUND,NUCLEI")] = "10,130",
    sigma: float = 3.33,
    seed: int = 0,
    files: tyro.conf.OmitArgPrefixes[_Files] = _USUAL,
    json: bool = False,
) -> None:
    """Noisy volumes of ellipsoidal nuclei with their labels, to be translated to the appearance of real volumes.

    Args:
        out: folder for source, test and their label images; the same command continues after a stop.
        shape: size of a volume in voxels.
        images: number of volumes for training.
        tests: number of volumes for the test.
        diameter: mean diameter in voxels.
        count: number of nuclei in a volume; by default they fill three tenths of it.
        elongation: minimum and maximum diameter of a nucleus along an axis, relative to the mean.
        grey: grey values of background and nuclei.
        sigma: standard deviation of the noise in grey values.
        seed: seed of the random numbers.
        files: files.
        json: print the result as JSON.
    """
    from vol2vol.phantoms import Circles, write_circles
    from vol2vol.schemas import checked

    options: dict[str, Any] = {"shape": _shape(shape), "diameter": diameter, "count": count, "sub_pixel": True}
    options |= {"elongation": tuple(show.numbers(elongation, "--elongation") or ()), "noise": "code", "sigma": sigma}
    options |= dict(zip(("background", "foreground"), _whole(grey, "--grey", 2), strict=True)) | {"seed": seed}
    how = checked(Circles, options, "the nuclei")
    _print(write_circles(out, how, images=images, tests=tests, coloured=False, **vars(files)), as_json=json)


def _tissue(
    *, out: parse.Folder, shape: Shape = "128,256,256", seed: int = 0, overwrite: bool = False, json: bool = False
) -> None:
    """EM-like tissue as two microscopes would image it, with a mask of mitochondria, as in the demo.

    Args:
        out: folder for source, target, source_in_target (the ground truth) and source_mito (the mask of mitochondria).
        shape: size of a volume in voxels; 1,Y,X for an image.
        seed: seed of the random numbers.
        overwrite: replace volumes that exist.
        json: print the result as JSON.
    """
    from vol2vol.phantoms import write_tissue

    voxels = (1, *_shape(shape))[-3:]
    if not all(voxels):
        raise BadInput(f"--shape {shape!r}: give at least 1 voxel along each axis")
    paths = write_tissue(out, voxels, seed, overwrite=overwrite)
    _print({name: [path] for name, path in paths.items()}, as_json=json)


def _shape(text: str) -> tuple[int, ...]:
    return _whole(text, "--shape", 2, 3)


def _whole(text: str, flag: str, *counts: int) -> tuple[int, ...]:
    """Return the whole numbers of an option; raise `BadInput` if their number is not one of `counts`."""
    numbers = show.numbers(text, flag) or []
    if len(numbers) not in counts or any(not n.is_integer() or n < 0 for n in numbers):
        raise BadInput(f"{flag} {text!r} must be {' or '.join(map(str, counts))} whole numbers separated by commas")
    return tuple(int(n) for n in numbers)


def _print(paths: dict[str, list[Path]], *, as_json: bool) -> None:
    """Print, for each name, the path of the volumes and their number."""
    if as_json:
        show.result({name: list(map(str, files)) for name, files in paths.items()}, as_json=True)
        return
    for name, files in paths.items():
        show.line(f"{name}: {files[0] if len(files) == 1 else f'{files[0].parent} ({len(files)} files)'}")
