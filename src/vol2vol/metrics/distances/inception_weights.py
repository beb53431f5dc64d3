"""Load the published weights of the FID InceptionV3 from a file, the cache or the network; check their hash."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

from torch import Tensor

from vol2vol.errors import BadInput, CannotWrite, NotFound, Unreadable, one_line
from vol2vol.metrics.distances.inception import InceptionV3
from vol2vol.nets.torch_files import load_tensors
from vol2vol.volumes.addresses import is_web, local_path

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
"""The published address; the name ends in the first digits of the file's SHA-256."""
TIMEOUT = 30


def cache_folder() -> Path:
    """Return the folder of downloads: `$VOL2VOL_CACHE`, `$XDG_CACHE_HOME/vol2vol` or `~/.cache/vol2vol`."""
    if own := os.environ.get("VOL2VOL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vol2vol"


def load_inception(weights: str | Path | None = None, *, cache: Path | None = None, device: str = "cpu") -> InceptionV3:
    """Return the network of the Frechet Inception distance with its published weights.

    `weights` is a file, an address, or None for the published file in the cache, downloaded if it is missing.
    A name that ends in `-0123abcd.pth` is checked against the SHA-256 of the file. Nothing in the file is executed.

    Raises `NotFound` if the file is missing or cannot be downloaded, `Unreadable` if its hash does not match or its
    content is damaged, `BadInput` if it contains another network.
    """
    name = URL if weights is None else str(weights)
    path = fetch(name, cache or cache_folder()) if is_web(name) else local_path(name, "a file of weights")
    if not path.is_file():
        raise NotFound(f"InceptionV3 weights are not at {path}: download {URL} once and give `weights` FILE")
    check_hash(path)
    network = InceptionV3()
    _fill(network, _read(path), path)
    return network.requires_grad_(False).to(device)


def fetch(url: str, folder: Path) -> Path:
    """Return the cached file of an address; a download gets its final name only when complete and checked.

    Raises `NotFound` with the cure if there is no connection, `Unreadable` if the hash does not match.
    """
    path = folder / Path(urlparse(url).path).name
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
            part = Path(partial) / path.name
            _download(url, part)
            check_hash(part)
            os.replace(part, path)
    except OSError as error:
        if isinstance(error, NotFound | Unreadable):
            raise
        raise CannotWrite(
            f"{folder}: weights cannot be kept there ({one_line(error, 300)}): set VOL2VOL_CACHE"
        ) from None
    return path


def _download(url: str, part: Path) -> None:
    try:
        response = urllib.request.urlopen(url, timeout=TIMEOUT)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError):
        raise NotFound(f"InceptionV3 weights are not here: download {url} once and give `weights` FILE") from None
    with response, part.open("wb") as file:
        try:
            shutil.copyfileobj(response, file)
        except (TimeoutError, ConnectionError):
            raise NotFound(f"the download broke off: try again, or fetch {url} and give `weights` FILE") from None


def check_hash(path: Path) -> None:
    """Raise `Unreadable` unless a file has the SHA-256 that its name ends in; other names pass."""
    expected = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    if expected is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(expected[1]):
        raise Unreadable(f"{path} is damaged: its SHA-256 starts with {digest[:8]}, its name says {expected[1]}")


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict, without executing anything."""
    tensors = load_tensors(path, f"download {URL} again")
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise BadInput(f"{path} is not a state dict: give the file of {URL}")
    return tensors


def _fill(network: InceptionV3, tensors: dict[str, Tensor], path: Path) -> None:
    """Load all tensors by name and shape; batch counters, which old files lack, are not needed."""
    needed = {k: v.shape for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    digest = {k: v.shape for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    if odd := sorted(needed.items() ^ digest.items()):
        raise BadInput(f"{path} is not the FID InceptionV3, {odd[0][0]} does not fit: give the file of {URL}")
    network.load_state_dict({k: v for k, v in tensors.items() if k in needed}, strict=False)
