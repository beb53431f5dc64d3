"""Save and load encoders: a folder with `weights.safetensors` and `encoder.yaml`; loading never executes code."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vol2vol import plainyaml
from vol2vol.errors import AlreadyExists, BadInput, NotFound, Unreadable, one_line
from vol2vol.files import read_text, written_whole
from vol2vol.intensity import Intensity
from vol2vol.metrics.distances.encoder import Encoder, EncoderSettings, Trained
from vol2vol.volumes.addresses import local_path

SCHEMA = 1
MODEL, WEIGHTS = "encoder.yaml", "weights.safetensors"


def save_encoder(path: str | Path, trained: Trained, *, overwrite: bool = False) -> Path:
    """Write an encoder to a folder, whole or not at all.

    Raises `AlreadyExists` if the path exists (with `overwrite`: if it is not an encoder), `CannotWrite` if the disk
    cannot be written.
    """
    path = local_path(path, "an encoder")
    if path.exists() and not (path / MODEL).is_file():
        raise AlreadyExists(f"{path} exists and is not an encoder: choose another name")
    if path.exists() and not overwrite:
        raise AlreadyExists(f"{path} exists: choose another name, or remove it yourself")
    settings = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(trained.settings).items()
    }
    meta = {
        "schema": SCHEMA,
        "hash": trained.hash,
        "settings": settings,
        "intensity": trained.grey.to_dict(),
        "volume": trained.volume,
        "fingerprint": trained.fingerprint,
        "loss": trained.loss,
    }
    with written_whole(path, SafetensorError) as partial:
        partial.mkdir()
        save_file({k: v.contiguous() for k, v in trained.network.state_dict().items()}, partial / WEIGHTS)
        (partial / MODEL).write_text(yaml.safe_dump(meta, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def load_encoder(path: str | Path) -> Trained:
    """Load an encoder that `save_encoder` wrote.

    Raises `NotFound` if there is none, `Unreadable` if a file is damaged or was changed, `BadInput` if it belongs to
    another program or a newer version.
    """
    path = local_path(path, "an encoder")
    for name in (MODEL, WEIGHTS):
        if not (path / name).is_file():
            raise NotFound(f"{path} is not an encoder: it has no {name}")
    meta = _meta(path / MODEL)
    try:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["settings"].items()}
        settings = EncoderSettings(**values)
        network = Encoder(settings.widths, 3 if settings.planes == ("xyz",) else 2)
        network.load_state_dict(load_file(path / WEIGHTS))
        trained = Trained(
            network=network.eval().requires_grad_(False),
            grey=Intensity.from_dict(meta["intensity"]),
            settings=settings,
            volume=str(meta["volume"]),
            fingerprint=str(meta["fingerprint"]),
            loss=float(meta["loss"]),
        )
    except (SafetensorError, OSError, RuntimeError) as error:
        raise Unreadable(f"{path / WEIGHTS} is damaged ({one_line(error, 120)}): train the encoder again") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{path / MODEL} does not describe an encoder ({one_line(error, 120)}): train it again"
        ) from None
    if trained.hash != meta.get("hash"):
        raise Unreadable(f"{path} was changed after training, its hash does not fit: train the encoder again")
    return trained


def _meta(file: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = plainyaml.load(read_text(file))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise Unreadable(f"{file} is not YAML ({one_line(error, 120)}): train the encoder again") from None
    schema = meta.get("schema") if isinstance(meta, dict) else None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise BadInput(f"{file} has schema {schema!r}, this vol2vol reads up to {SCHEMA}: update vol2vol")
    unknown = set(meta.get("settings") or {}) - {f.name for f in fields(EncoderSettings)}
    if unknown:
        raise BadInput(
            f"{file} has settings that this version does not know ({', '.join(sorted(unknown))}): update vol2vol"
        )
    return meta
