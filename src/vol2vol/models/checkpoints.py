"""Choose a checkpoint of a run, and name it."""

from __future__ import annotations

import re
from pathlib import Path

from vol2vol.errors import BadInput, NotFound
from vol2vol.models.model_file import MODEL, read_model
from vol2vol.volumes.addresses import local_path


def find_bundle(path: str | Path, which: str | int = "auto") -> Path:
    """Return the folder of a bundle, given the bundle itself or a run that holds several.

    `which` picks one of a run's: `best` (the saved epoch that training marked, see `vol2vol.training`), `last`,
    `epoch-0005` or 5. `auto` is the best where its task evaluated every epoch on held-out data, as segmenters do,
    and otherwise the last. Raises `NotFound` listing the checkpoints, `BadInput` where `path` is a single model.
    """
    path = local_path(path, "a model")
    if (path / MODEL).is_file():
        if which not in ("auto", "last"):
            raise BadInput(f"{path} is one model, not a run of several: leave out `which` {which}")
        return path
    saved = {int(p.name[6:]): p for p in path.glob("models/epoch-*") if p.name[6:].isdigit() and (p / MODEL).is_file()}
    if not saved:
        problem = "does not exist" if not path.exists() else "is neither a model nor a run with saved models"
        raise NotFound(f"{path} {problem}: give a folder that holds {MODEL}, or a run folder")
    names = {"last": saved[max(saved)].name}
    if best := _marked(path / "models"):
        names["best"] = best
    names["auto"] = best if best and _judged(path / "models" / best) else names["last"]
    match = re.fullmatch(r"(?:epoch-)?(\d+)", names.get(str(which), str(which)))
    if match is None or int(match[1]) not in saved:
        available = ", ".join([*sorted(names.keys() - {"auto"}), *(saved[epoch].name for epoch in sorted(saved))])
        raise NotFound(f"{path} has no model {which!r}: it has {available}")
    return saved[int(match[1])]


def _marked(models: Path) -> str:
    """Return the name of the checkpoint that training marked as the best, "" if it marked none."""
    mark = models / "best.txt"
    return mark.read_text(encoding="utf-8", errors="replace").strip() if mark.is_file() else ""


def _judged(bundle: Path) -> bool:
    """Say whether the task of a checkpoint evaluated every epoch on held-out data."""
    return (bundle / MODEL).is_file() and bool(read_model(bundle)["provenance"].get("judged_by"))


def checkpoint_name(bundle: str | Path) -> str:
    """Return the name of a bundle in its run, such as `epoch-0005 (best)`; outside of runs, the name of its folder."""
    bundle = Path(bundle)
    if bundle.parent.name != "models" or not bundle.name.startswith("epoch-"):
        return bundle.name
    roles = ["best"] if _marked(bundle.parent) == bundle.name else []
    roles += ["last"] if bundle.name == max(p.name for p in bundle.parent.glob("epoch-*")) else []
    return f"{bundle.name} ({', '.join(roles)})" if roles else bundle.name
