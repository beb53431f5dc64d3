"""Choose the data type of an output: by default that of the volumes that the model was trained to make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np

from vol2vol.errors import BadInput, some_of
from vol2vol.intensity import PROBABILITY
from vol2vol.models.bundle import Bundle
from vol2vol.prediction.settings import PredictSettings, StoredType
from vol2vol.volumes import Volume

HELD = frozenset(get_args(StoredType)) - {"auto", "source"}
"""Types that an output may have."""


def trained_types(bundle: Bundle, domain: str) -> set[str]:
    """Return the types of the volumes whose intensities a domain has; none where the model does not say.

    These are the training volumes, or those on which the intensities were measured again (`adapted_volumes`).
    """
    provenance = bundle.meta["provenance"]
    facts = _facts(provenance.get("adapted_volumes"), domain) or _facts(provenance.get("volumes"), domain)
    return {dtype.name for fact in facts if (dtype := _number_type(fact.get("dtype"))) is not None}


def settled(settings: PredictSettings, bundle: Bundle, source: Volume | None, *, measured: bool) -> PredictSettings:
    """Return the settings with the name of the output's type in place of `auto` and `source`.

    `bundle` has the intensities of this prediction; `measured` says that those of its input are not the trained ones.
    A type that depends on the input stays open without a `source`; `auto` stays for an output of several volumes, of
    which each has its own type (`parts`). Raises `BadInput` where domains of one volume, or volumes of a domain, have
    different types, and where an output cannot have the input's.
    """
    if settings.raw:
        return settings.model_copy(update={"dtype": "float32"})
    domains = settings.outputs or bundle.translation(settings.direction).makes
    if settings.dtype == "auto" and settings.split_outputs:
        alone = [settings.model_copy(update={"split_outputs": False, "outputs": (name,)}) for name in domains]
        kinds = {settled(each, bundle, source, measured=measured).dtype for each in alone}
        if settings.strategy != "march":
            return settings
        if len(kinds) > 1:  # its tiles show each other what is stored of all domains
            raise BadInput(f"march stores all domains in one type: give `dtype` {narrowest(bundle, domains)}")
        return settings.model_copy(update={"dtype": kinds.pop()})
    if settings.dtype in HELD:
        return settings
    own = None if source is None else np.dtype(source.dtype).name
    types = dict.fromkeys(domains, own)
    if settings.dtype == "auto":
        other = bundle.translation(settings.direction).reads if measured else ()
        types |= {name: _trained_type(bundle, name) or own for name in domains if name not in other}
    return _with_common_type(settings, bundle, types, source)


def _with_common_type(
    settings: PredictSettings, bundle: Bundle, types: Mapping[str, str | None], source: Volume | None
) -> PredictSettings:
    """Return the settings with the type that all domains of one volume have, or as they are if one is not known yet."""
    chosen = set(types.values())
    if None in chosen:
        return settings
    if len(chosen) > 1:
        listed = some_of([f"{name} ({dtype})" for name, dtype in types.items()], between=" and ")
        raise BadInput(
            f"the domains {listed} have different types, and one volume has one: give `dtype` "
            f"{narrowest(bundle, types)}, or `split_outputs` for a volume of each"
        )
    [dtype] = chosen
    if source is not None and dtype not in HELD:
        raise BadInput(
            f"{source.path} holds {dtype}, which is not supported for outputs: give `dtype` uint16 or another"
        )
    return settings.model_copy(update={"dtype": dtype})


def settled_before(settings: Mapping[str, Any], source: np.dtype | None = None) -> dict[str, Any]:
    """Return the settings in an output's record with the type that it has.

    Versions that had no `auto` recorded `source`: the type of the input, `source`, or for an output of several volumes
    those of their training volumes. Without `source`, the first stays as it is.
    """
    old, dtype = dict(settings), settings.get("dtype")
    if old.get("raw"):
        dtype = "float32"
    elif dtype == "source" and old.get("split_outputs"):
        dtype = "auto"
    elif dtype == "source" and source is not None:
        dtype = np.dtype(source).name
    return {**old, "dtype": dtype} if "dtype" in old else old


def narrowest(bundle: Bundle, domains: Iterable[str]) -> str:
    """Return the narrowest common type that holds the stored values of domains; float32 for floats."""
    domains = list(domains)
    low = min(min(bundle.intensity[name].low) for name in domains)
    high = max(max(bundle.intensity[name].high) for name in domains)
    floats = any(of_floats(bundle, name) for name in domains)
    for name in () if floats else ("uint8", "uint16", "int16"):
        if np.iinfo(name).min <= round(low) and round(high) <= np.iinfo(name).max:
            return name
    return "float32"


def of_floats(bundle: Bundle, domain: str) -> bool:
    """Return whether a model was trained on floats of a domain."""
    types = trained_types(bundle, domain)
    return bool(types) and all(np.dtype(name).kind == "f" for name in types)


def _trained_type(bundle: Bundle, domain: str) -> str | None:
    """Return the type in which a domain is stored; None where the model does not say.

    A mask is made as a probability, 0 to 255, whatever its volumes hold. Types that an output cannot have, such as
    int64, give way to the narrowest that holds the domain's range.
    """
    types = sorted(trained_types(bundle, domain))
    if len(types) > 1 and bundle.intensity[domain] != PROBABILITY:
        raise BadInput(
            f"the model was trained on {domain} volumes of {' and '.join(types)}: give `dtype` "
            f"{narrowest(bundle, [domain])} or another"
        )
    if not types:
        return None
    suitable = types[0] in HELD and bundle.intensity[domain] != PROBABILITY
    return types[0] if suitable else narrowest(bundle, [domain])


def _facts(volumes: Any, domain: str) -> list[Mapping[str, Any]]:
    """Return the records of the volumes of a domain in a model's provenance."""
    facts = volumes.get(domain) if isinstance(volumes, Mapping) else None
    return [fact for fact in facts if isinstance(fact, Mapping)] if isinstance(facts, list) else []


def _number_type(name: Any) -> np.dtype | None:
    """Return the type of this name if it is one of numbers, in the machine's byte order."""
    try:
        dtype = np.dtype(name) if isinstance(name, str) else None
    except (TypeError, ValueError, SyntaxError):
        return None
    return dtype.newbyteorder("=") if dtype is not None and dtype.kind in "biuf" else None
