"""Open networks that vol2vol did not build: torch.export programs (.pt2) and bioimage.io models with TorchScript.

Reading either format may execute code in it, so it is read only if its author is trusted: torch unpickles tensors of a
.pt2 that have no plain storage (torch 2.13), and TorchScript is a program.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import yaml

from vol2vol import plainyaml
from vol2vol.errors import BadInput, NotFound, Unreadable, one_line
from vol2vol.files import check_zip, read_bytes, real_path
from vol2vol.geometry import Shape
from vol2vol.protocol import Network

log = logging.getLogger(__name__)
DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml")
"""File names of model descriptions of bioimage.io."""
WEIGHTS = 64 << 30
"""Bytes of the largest file of weights."""
CODE = (".pt", ".pth", ".onnx", ".ckpt")
AXES = {"bcyx": 2, "bczyx": 3}


@dataclass(frozen=True, kw_only=True)
class External:
    """A network, and what its file states about the input."""

    network: Network
    dims: int
    channels: int
    size: Shape | None
    """An accepted size, if the file states one; Z, Y, X or Y, X."""


def is_external(path: Path) -> bool:
    """Say whether a path is a network in a file or folder that is not a bundle of vol2vol."""
    return path.suffix in (".pt2", ".zip", *CODE) or _described(path) is not None


def open_external(path: Path, *, trust: bool) -> External:
    """Read a network not built by vol2vol; `trust` says that its author is trusted, since reading may execute code.

    Raises `BadInput` without trust and for networks that cannot be certified, `NotFound`, `Unreadable`.
    """
    if path.suffix in CODE:
        raise BadInput(
            f"{path}: vol2vol opens .pt2 files of torch.export and models of bioimage.io, no others; open it yourself "
            "and give the module to vol2vol.certify(module, dims=...)"
        )
    if not path.exists():
        raise NotFound(f"{path} does not exist")
    check_zip(path)
    if not trust:
        raise BadInput(f"{path}: reading such a file may execute code in it: add `trust` if you know who made it")
    log.warning("%s is read on trust: code in it may be executed", path)
    return _exported(path) if path.suffix == ".pt2" else _bioimage(path)


def _exported(path: Path) -> External:
    """Open a program of torch.export, which states its input."""
    try:
        with _quiet("torch.export"):
            program = torch.export.load(path)
    except (RuntimeError, ValueError, KeyError, OSError, AssertionError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{path} is not a torch.export program ({one_line(error, 80)}): export it again") from None
    inputs = set(program.graph_signature.user_inputs)
    shapes = [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in inputs and isinstance(node.meta.get("val"), torch.Tensor)
    ]
    if len(shapes) != 1 or len(shapes[0]) not in (4, 5):
        raise BadInput(
            f"{path} reads {len(shapes)} tensors of {[len(s) for s in shapes]} axes, not one (1, C, [Z,] Y, X)"
        )
    (_, channels, *spatial) = shapes[0]
    fixed = all(isinstance(n, int) for n in spatial)
    return External(
        network=program.module(),
        dims=len(spatial),
        channels=int(channels),
        size=tuple(map(int, spatial)) if fixed else None,
    )


def _bioimage(path: Path) -> External:
    """Open a model of bioimage.io, a folder or a zip, by its description (format 0.4 or 0.5)."""
    name = _described(path)
    if name is None:
        raise BadInput(f"{path} holds no {' or '.join(DESCRIPTIONS)}: it is not a model of bioimage.io")
    description = _description(path, name)
    inputs = description.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadInput(f"{path}: {name} must name one input: only networks with one input can be certified")
    script = (description.get("weights") or {}).get("torchscript")
    if not isinstance(script, dict) or not isinstance(script.get("source"), str):
        raise BadInput(
            f"{path} has no torchscript weights: open the model yourself and give vol2vol.certify its module"
        )
    dims, channels, size = _input(path, inputs[0])
    if steps := inputs[0].get("preprocessing"):
        log.warning("%s: preprocessing %s is not applied and not certified", path, _names(steps))
    try:
        network = torch.jit.load(io.BytesIO(_member(path, script["source"])), map_location="cpu")
    except RuntimeError as error:
        raise Unreadable(
            f"{path}: {script['source']} is not TorchScript ({one_line(error, 80)}): download it again"
        ) from None
    return External(network=network, dims=dims, channels=channels, size=size)


def _described(path: Path) -> str | None:
    """Return the name of a model's description, None where there is none."""
    if path.name in DESCRIPTIONS:
        return path.name
    if path.is_dir():
        return next((name for name in DESCRIPTIONS if (path / name).is_file()), None)
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            return next((name for name in DESCRIPTIONS if name in file.namelist()), None)
    return None


def _description(path: Path, name: str) -> Mapping[str, Any]:
    try:
        description = plainyaml.load(_member(path, name).decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Unreadable(f"{path}: {name} is not YAML: download it again") from None
    if not isinstance(description, dict) or not isinstance(description.get("weights"), dict | None):
        raise BadInput(f"{path}: {name} does not describe a model")
    return description


def _member(path: Path, name: str) -> bytes:
    """Return the bytes of a file of a model; raise `BadInput` for names outside the model, `NotFound`."""
    inside = PurePosixPath(name)
    if "://" in name or "\\" in name or inside.is_absolute() or ".." in inside.parts:
        raise BadInput(f"{path} refers to {name}, outside itself: get that file and name it in the description")
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as file:
            if str(inside) not in file.namelist():
                raise NotFound(f"{path} lacks {name}: download it again")
            return file.read(str(inside))
    folder = path if path.is_dir() else path.parent
    target = folder / inside
    if not real_path(target).is_relative_to(real_path(folder)):
        raise BadInput(f"{path} refers to {name}, a link that leads out of it: put the file itself there")
    if not target.is_file():
        raise NotFound(f"{path} lacks {name}: download it again")
    return read_bytes(target, WEIGHTS)


def _input(path: Path, entry: Mapping[str, Any]) -> tuple[int, int, Shape | None]:
    """Return the number of spatial axes, the number of channels and an accepted size of an input."""
    axes = entry.get("axes")
    lengths: Sequence[Any]
    if isinstance(axes, str):  # format 0.4
        letters, shape = axes, entry.get("shape")
        lengths = shape.get("min", ()) if isinstance(shape, dict) else shape or ()
    else:
        axes = [axis if isinstance(axis, dict) else {} for axis in axes or ()]
        letters = "".join({"batch": "b", "channel": "c"}.get(a.get("type"), str(a.get("id", "?"))) for a in axes)
        sizes = [len(a.get("channel_names") or ()) if a.get("type") == "channel" else a.get("size", 1) for a in axes]
        lengths = [size.get("min") if isinstance(size, dict) else size for size in sizes]
    if letters not in AXES or len(lengths) not in (0, len(letters)):
        raise BadInput(f"{path} reads axes {letters!r}, vol2vol certifies networks of {' or '.join(AXES)}")
    numbers = [n if isinstance(n, int) and n > 0 else None for n in lengths] or [None] * len(letters)
    size = tuple(n for n in numbers[2:] if n is not None)
    return AXES[letters], numbers[1] or 1, size if len(size) == AXES[letters] else None


def _names(steps: Any) -> str:
    """Return the names of processing steps in a description: `name` in format 0.4, `id` in 0.5."""
    known = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    return ", ".join(str(step.get("id") or step.get("name")) for step in known) or "of another form"


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Suppress the warnings of a library that repeat what the raised error says."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
