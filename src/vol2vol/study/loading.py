"""Load studies: those shipped with the package, or a YAML file.

vol2vol study phantom --out DIR translators.flat.seeds=[0,1] distance.patches=2000
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from vol2vol.errors import BadInput
from vol2vol.recipes.yamlfiles import Shelf, explain
from vol2vol.study.picking import check_picks
from vol2vol.study.settings import Study
from vol2vol.volumes.addresses import local_path

SHELF = Shelf(
    what="study",
    package="vol2vol.study",
    folder="studies",
    example="translators.flat.seeds=[0,1]",
    verb="study phantom --print",
)


def list_studies() -> dict[str, str]:
    """Return the shipped studies as `{name: description}`, each described in one line."""
    return {name: str(SHELF.load(name).get("about", "")) for name in SHELF.names()}


def load_study(name: str | Path | Study, overrides: tuple[str, ...] = (), data: str | Path | None = None) -> Study:
    """Return a shipped study by name or one from a YAML file, with `key.sub=value` overrides applied.

    `data` is the folder of its volumes. Raises `NotFound` for an unknown name, and `BadInput`, naming the key.
    """
    settings = name.model_dump(mode="json") if isinstance(name, Study) else SHELF.load(str(name))
    if data is not None:
        settings["data"] = str(local_path(data, "the folder of volumes").absolute())
    for override in overrides:
        SHELF.change(settings, override)
    title = name.name if isinstance(name, Study) else name
    try:
        study = Study.model_validate(settings)
    except ValidationError as error:
        raise BadInput(f"study {title}: {explain(error, Study)}") from None
    try:
        check_picks(study)
    except BadInput as error:
        raise BadInput(f"study {title}: {error}") from None
    return study
