"""Write and load model bundles, the folders in which training stores a model for prediction.

A bundle holds `weights.safetensors` (keys `TRANSLATION.*`) and `model.yaml` (per translation: network, footprint,
statistics, the domains it reads and makes; per domain: channels and intensity; provenance). Nothing in it is executed
on load.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, isfinite, nn, uint8

from vol2vol import nets
from vol2vol.errors import AlreadyExists, BadInput, NotFound, Unreadable, UserError, one_line
from vol2vol.files import check_place, check_regular, written_whole
from vol2vol.intensity import Intensity, SideBySide
from vol2vol.models.model_file import MODEL, SCHEMA, plain, read_model, versions
from vol2vol.protocol import Applied, March, Translation, applied_from
from vol2vol.volumes.addresses import local_path

log = logging.getLogger(__name__)
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Bundle:
    """A trained model in memory, ready to predict."""

    translations: dict[str, Translation]
    """By name; networks in evaluation mode, float32."""
    intensity: dict[str, Intensity]
    """By domain: the map from stored values to the range of the network and back."""
    meta: dict[str, Any]
    """Content of `model.yaml`."""
    hash: str
    """SHA-256 of the weights and all else that decides the output; equal hashes predict equal volumes."""
    path: str = ""
    """The folder it was loaded from."""

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each domain."""
        return {name: int(domain["channels"]) for name, domain in self.meta["domains"].items()}

    def width(self, domains: Iterable[str]) -> int:
        """Return the number of channels of several domains together."""
        return sum(self.channels[name] for name in domains)

    def translation(self, name: str) -> Translation:
        """Return a translation by name; raise `BadInput` listing the names."""
        if name not in self.translations:
            raise BadInput(f"the model has no direction {name!r}: it has {', '.join(self.translations)}")
        return self.translations[name]

    def network(self, name: str) -> nn.Module:
        """Return the network of a translation; raise `BadInput` listing the names."""
        return self.translation(name).network

    def maps(self, domains: Sequence[str]) -> Intensity | SideBySide:
        """Return the intensity map of several domains, concatenated along channels."""
        if len(domains) == 1:
            return self.intensity[domains[0]]
        return SideBySide(tuple((self.channels[name], self.intensity[name]) for name in domains))


def request_of(**facts: Any) -> str:
    """Return a digest of what a model is made from, to recognise the same request."""
    return hashlib.sha256(json.dumps(plain(facts), sort_keys=True, default=str).encode()).hexdigest()


def already_made(path: str | Path, request: str, *, overwrite: bool) -> Path | None:
    """Return the path of a model that the same request (`request_of`) has written, None where the path is free.

    Raises `AlreadyExists` if anything else exists there. Called before anything is computed.
    """
    path = local_path(path, "a model")
    if not overwrite and (path / MODEL).is_file():
        try:
            same = describe_bundle(path)["provenance"].get("request") == request
        except UserError:
            same = False
        if same:
            log.info("%s exists already, made by the same request: nothing to do", path)
            return path
    _check_free(path, overwrite)
    check_place(path)
    return None


def save_bundle(
    path: str | Path,
    translations: Mapping[str, Translation],
    intensity: Mapping[str, Intensity],
    *,
    channels: Mapping[str, int],
    statistics: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a bundle to a folder, completely or not at all.

    `statistics` states per translation, in words, how the statistics of the normalisation were obtained; `channels` is
    the number of channels per domain; `provenance` is plain data (recipe, epoch), to which versions and the packages of
    the networks are added. Raises `AlreadyExists` where the path exists (with `overwrite`: unless it is a bundle and
    nothing else), `CannotWrite` where the disk refuses.
    """
    path = local_path(path, "a model")
    _check_free(path, overwrite)
    described = {name: _describe(each, (statistics or {}).get(name)) for name, each in translations.items()}
    outside = nets.CATALOGUE.origins(network["network"]["name"] for network in described.values())
    packages = {**(provenance or {}).get("packages", {}), **({"networks": outside} if outside else {})}
    meta: dict[str, Any] = {
        "schema": SCHEMA,
        "translations": described,
        "domains": {
            domain: {"channels": count, "intensity": intensity[domain].to_dict()} for domain, count in channels.items()
        },
        "provenance": {**(provenance or {}), "packages": packages, **versions()},
    }
    weights = {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, translation in translations.items()
        for key, tensor in translation.network.state_dict().items()
    }
    _write(path, weights, meta)
    return path


def _write(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    with written_whole(path, SafetensorError) as partial:
        partial.mkdir()
        save_file(dict(weights), partial / WEIGHTS)
        text = yaml.safe_dump(plain(meta), sort_keys=False, allow_unicode=True)
        (partial / MODEL).write_text(text, encoding="utf-8")


def _describe(translation: Translation, statistics: str | None) -> dict[str, Any]:
    network: Any = translation.network
    return {
        "network": network.describe(),
        "footprint": asdict(nets.footprint(network)),
        "statistics": statistics or "as in the weights",
        **translation.to_dict(),
    }


def _check_free(path: Path, overwrite: bool) -> None:
    """Raise `AlreadyExists` unless `path` is free, or a bundle and nothing else, that may be overwritten."""
    if not os.path.lexists(path):
        return
    cure = "it is not overwritten, choose another name or remove it yourself"
    if path.is_symlink() or not (path / MODEL).is_file():
        raise AlreadyExists(f"{path} exists and is not a model: {cure}")
    try:
        read_model(path)
    except UserError as error:
        raise AlreadyExists(f"{path} exists and is not a model of vol2vol ({one_line(error)}): {cure}") from None
    if strangers := sorted({entry.name for entry in path.iterdir()} - {MODEL, WEIGHTS}):
        raise AlreadyExists(f"{path} holds {strangers[0]}, which is not part of a model: {cure}")
    if not overwrite:
        raise AlreadyExists(f"{path} exists: choose another name or `overwrite`")


def load_bundle(path: str | Path, device: str = "cpu") -> Bundle:
    """Load a bundle; safe on untrusted files.

    Raises `NotFound` where there is none, `Unreadable` where a file is damaged, `BadInput` where it
    belongs to another program or another version, or where weights and networks do not match.
    """
    path = local_path(path, "a model")
    meta, weights = read_model(path), _read_weights(path)
    digest = _hash(meta, weights)
    translations, origins = {}, meta["provenance"].get("packages", {}).get("networks", {})
    for direction, described in meta["translations"].items():
        nets.CATALOGUE.require(described["network"]["name"], origins, path / MODEL)
        with torch.device("meta"):  # only shapes, so that absurd arguments take no memory
            shapes = _build(path, direction, described["network"]).state_dict()
        tensors = _take(path, direction, shapes, weights)
        network = _build(path, direction, described["network"])
        network.load_state_dict(tensors)
        _check_channels(path, direction, network, meta)
        translations[direction] = Translation(
            network=network.eval().requires_grad_(False).to(device),
            reads=tuple(described["reads"]),
            makes=tuple(described["makes"]),
            applied=_applied(path, direction, described),
            noise=described.get("noise", 0),
        )
    if weights:
        raise BadInput(f"{path / WEIGHTS}: {len(weights)} tensors belong to no translation, such as {min(weights)!r}")
    try:
        intensity = {name: Intensity.from_dict(domain["intensity"]) for name, domain in meta["domains"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path / MODEL}: the intensity cannot be read ({one_line(error, 300)}): train or import the model again"
        ) from None
    return Bundle(translations, intensity, meta, digest, str(path))


def _read_weights(path: Path) -> dict[str, Tensor]:
    file = path / WEIGHTS
    if not file.is_file():
        raise NotFound(f"{path} is not a complete model: it holds no {WEIGHTS}")
    check_regular(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise Unreadable(
            f"{file} is damaged ({one_line(error, 300)}): copy it again or train the model again"
        ) from None


def _build(path: Path, direction: str, described: Mapping[str, Any]) -> nn.Module:
    try:
        return nets.build(described["name"], **described["arguments"])
    except (TypeError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
        raise BadInput(
            f"{path / MODEL}: the {direction} network cannot be built: {one_line(error, 300)}: "
            "restore it or train the model again"
        ) from None


def _applied(path: Path, name: str, described: Mapping[str, Any]) -> Applied:
    try:
        return applied_from(described["applied"])
    except BadInput as error:
        raise BadInput(f"{path / MODEL}: {name}: {one_line(error)}: restore it or train the model again") from None


def _take(path: Path, direction: str, shapes: Mapping[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move the tensors of one direction out of `weights`; names and shapes must match those of the network."""
    tensors = {name: weights.pop(f"{direction}.{name}") for name in shapes if f"{direction}.{name}" in weights}
    where = f"{path / WEIGHTS}: {direction}"
    for name, tensor in shapes.items():
        if name not in tensors:
            raise BadInput(f"{where}.{name} is missing: weights and {MODEL} belong to different models")
        if tensors[name].shape != tensor.shape:
            stored, expected = tuple(tensors[name].shape), tuple(tensor.shape)
            raise BadInput(
                f"{where}.{name} has shape {stored}, the network needs {expected}: they belong to different models"
            )
        if tensors[name].is_floating_point() and not isfinite(tensors[name]).all():
            raise BadInput(f"{where}.{name} holds values that are not finite: use an earlier checkpoint")
    return tensors


def _check_channels(path: Path, name: str, network: Any, meta: Mapping[str, Any]) -> None:
    """Raise `BadInput` unless the network reads as many channels as the model says its domains have.

    Of a grey and a colour domain it may read as many as the latter has; one that is shown its own output must.
    """
    described = meta["translations"][name]
    read, made = (sum(meta["domains"][d]["channels"] for d in described[which]) for which in ("reads", "makes"))
    march = isinstance(_applied(path, name, described), March)
    wide = {max(read, made)} if 1 in (read, made) or read == made else set()
    noise = described.get("noise", 0)
    if network.in_channels - noise in (wide if march else wide | {read}):
        return
    shown = (f" and what it makes has {made}" if march else "") + (f", with {noise} of noise" if noise else "")
    raise BadInput(
        f"{path / MODEL}: the {' and '.join(described['reads'])} has {read} channels{shown}, the {name} network reads "
        f"{network.in_channels}: restore it or train the model again"
    )


def _hash(meta: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of everything that decides the output."""
    decisive = {
        "translations": {
            name: {key: part[key] for key in ("network", "reads", "makes", "applied", "noise") if key in part}
            for name, part in meta["translations"].items()
        },
        "domains": meta["domains"],
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode())
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()


def describe_bundle(path: str | Path) -> dict[str, Any]:
    """Return the content of `model.yaml` with hash and number of weights, without building a network."""
    path = local_path(path, "a model")
    meta, weights = read_model(path), _read_weights(path)
    count = {d: sum(t.numel() for name, t in weights.items() if name.startswith(f"{d}.")) for d in meta["translations"]}
    return {"path": str(path), "hash": _hash(meta, weights), "weights": count, **meta}
