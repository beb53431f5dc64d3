"""`vol2vol phantom circles|nuclei|tissue --out DIR`."""

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
    kinds: dict[str, Callable[..., None]] = {"circles": _circles, "nuclei": _nuclei, "tissue": _tissue}
    if not words or words[0] in ("-h", "--help"):
        print("usage: vol2vol phantom KIND --out DIR ...\n\nMake volumes whose truth is known.\n")
        for name, verb in kinds.items():
            print(f"  {name:{max(map(len, kinds))}} {(verb.__doc__ or '').splitlines()[0]}")
        print("\nvol2vol phantom KIND --help says more about one.")
        return
    if words[0] not in kinds:
        raise BadInput(f"there is no phantom {words[0]!r}: use one of {', '.join(kinds)}")
    parse.call(kinds[words[0]], words[1:], f"phantom {words[0]}")


@dataclass(frozen=True)
class _Files:
    """How files are written."""

    suffix: Literal[".zarr", ".tif"] = ".zarr"
    """.zarr for OME-Zarr, .tif for TIFF."""
    overwrite: bool = False
    """replace what shows something else."""


_USUAL = _Files()


def _circles(
    *,
    out: str,
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
    """White circles (source) that may become red, green or blue (target), unpaired; spheres in volumes.

    Args:
        out: folder for source, target, test and the labels of each; the same command continues one that was stopped.
        shape: voxels of an image, or of a volume.
        images: images of each domain to train on.
        tests: images of white circles to test on.
        diameter: diameter in voxels.
        count: circles in an image; by default they are as dense as published (1000 in 2048,2048).
        sub_pixel: centres lie anywhere, not only at the centres of voxels.
        noise: normal noise on both domains, as the paper says, on the source alone, as its code does, or none.
        sigma: standard deviation of the noise in grey values (of 255).
        seed: number of the random draw; image k of a seed is the same whatever else is made.
        stack: write the images as the planes of one volume per domain instead of a file each.
        files: how files are written.
        json: print the result as JSON.
    """
    from vol2vol.phantoms import Circles, write_circles
    from vol2vol.schemas import checked

    given = {"shape": _shape(shape), "diameter": diameter, "count": count, "sub_pixel": sub_pixel}
    how = checked(Circles, {**given, "noise": noise, "sigma": sigma, "seed": seed}, "the circles")
    _tell(write_circles(out, how, images=images, tests=tests, stack=stack, **vars(files)), as_json=json)


def _nuclei(
    *,
    out: str,
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
    """Masks of nuclei: ellipsoids in volumes, with noise, to be given the look of a real volume.

    Args:
        out: folder for source, test and the labels of each; the same command continues one that was stopped.
        shape: voxels of a volume.
        images: volumes to train on.
        tests: volumes to test on.
        diameter: mean diameter in voxels.
        count: nuclei in a volume; by default they take three tenths of it.
        elongation: lowest and highest diameter along an axis of a nucleus, over the mean.
        grey: grey values of background and nuclei.
        sigma: standard deviation of the noise in grey values.
        seed: number of the random draw.
        files: how files are written.
        json: print the result as JSON.
    """
    from vol2vol.phantoms import Circles, write_circles
    from vol2vol.schemas import checked

    given: dict[str, Any] = {"shape": _shape(shape), "diameter": diameter, "count": count, "sub_pixel": True}
    given |= {"elongation": tuple(show.numbers(elongation, "--elongation") or ()), "noise": "code", "sigma": sigma}
    given |= dict(zip(("background", "foreground"), _whole(grey, "--grey", 2), strict=True)) | {"seed": seed}
    how = checked(Circles, given, "the nuclei")
    _tell(write_circles(out, how, images=images, tests=tests, coloured=False, **vars(files)), as_json=json)


def _tissue(
    *, out: str, shape: Shape = "128,256,256", seed: int = 0, overwrite: bool = False, json: bool = False
) -> None:
    """EM-like tissue as two microscopes would show it, with its mitochondria: the volumes of the demo.

    Args:
        out: folder for source, target, source_in_target (the truth) and source_mito (the mask of mitochondria).
        shape: voxels of a volume; 1,Y,X for an image.
        seed: number of the random draw.
        overwrite: replace volumes that exist.
        json: print the result as JSON.
    """
    from vol2vol.phantoms import write_tissue

    voxels = (1, *_shape(shape))[-3:]
    if not all(voxels):
        raise BadInput(f"--shape {shape!r}: give at least 1 voxel along each axis")
    paths = write_tissue(out, voxels, seed, overwrite=overwrite)
    _tell({name: [path] for name, path in paths.items()}, as_json=json)


def _shape(text: str) -> tuple[int, ...]:
    return _whole(text, "--shape", 2, 3)


def _whole(text: str, flag: str, *counts: int) -> tuple[int, ...]:
    """Return the whole numbers of a flag; raise `BadInput` unless there are as many as one of `counts`."""
    numbers = show.numbers(text, flag) or []
    if len(numbers) not in counts or any(not n.is_integer() or n < 0 for n in numbers):
        raise BadInput(
            f"{flag} {text!r} must be {' or '.join(map(str, counts))} whole numbers with commas between them"
        )
    return tuple(int(n) for n in numbers)


def _tell(paths: dict[str, list[Path]], *, as_json: bool) -> None:
    """Print by name where the volumes are and how many there are."""
    if as_json:
        show.result({name: list(map(str, files)) for name, files in paths.items()}, as_json=True)
        return
    for name, files in paths.items():
        show.line(f"{name}: {files[0] if len(files) == 1 else f'{files[0].parent} ({len(files)} files)'}")
