"""Find tasks, networks, losses, measures and readers of files that other installed packages offer by entry points.

A package declares an entry in its metadata (`[project.entry-points."vol2vol.networks"] hello = "pkg:Hello"`). Names
are listed without any import. An entry is imported once, when its name is looked up, so that a broken package affects
only those who use its entries. Only entry points of installed packages are imported: a name in a file never leads to
the import of another module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from vol2vol.errors import BadInput, one_line

T = TypeVar("T")


class Catalogue(Mapping[str, T]):
    """Objects of one kind by name: those of vol2vol, and those that other installed packages offer.

    `kind` is the noun for an entry, `group` the group of entry points, `own` the entries of vol2vol. `check` is called
    with the name and the object of another package after its import, and returns what is wrong with it, or "".

    `in`, `len` and iteration import nothing. Looking up a name raises `KeyError` where no package offers it, and
    `BadInput`, naming the package, where the entry cannot be imported, fails `check`, or is offered by two packages
    (vol2vol included).
    """

    def __init__(
        self, kind: str, group: str, own: Mapping[str, T], check: Callable[[str, Any], str] = lambda name, thing: ""
    ) -> None:
        self.kind, self.group, self.own, self._check = kind, group, own, check
        self._loaded: dict[str, T] = {}

    @cached_property
    def _outside(self) -> dict[str, list[EntryPoint]]:
        """The entry points by name, read from the metadata of installed packages on first use."""
        offers: dict[str, list[EntryPoint]] = {}
        for entry in sorted(entry_points(group=self.group), key=lambda entry: (entry.name, _called(entry))):
            offers.setdefault(entry.name, []).append(entry)
        return offers

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in self._outside if name not in self.own)

    def __len__(self) -> int:
        return len({*self.own, *self._outside})

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._outside

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def origin(self, name: str) -> dict[str, str] | None:
        """Return `package` and `version` of the package that offers a name, None for entries of vol2vol itself."""
        if name in self.own or name not in self._outside:
            return None
        distribution = self._outside[name][0].dist
        return {"package": distribution.name, "version": distribution.version} if distribution else None

    def origins(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the `origin` of each of these names that another package offers, as plain data for a record."""
        return {name: origin for name in names if (origin := self.origin(name))}

    def require(self, name: str, origins: Mapping[str, Mapping[str, str]], where: object) -> None:
        """Raise `BadInput` unless a name can be looked up; `where` is the record with this name and these `origins`."""
        if name not in self and (origin := origins.get(name)):
            raise BadInput(
                f"{where}: the {self.kind} {name!r} comes from the package {origin['package']} {origin['version']}, "
                "which is not installed: install it, if you trust it"
            )
        if name in self:
            self[name]

    def _load(self, name: str) -> T:
        offers = self._outside.get(name, [])
        if len(offers) + (name in self.own) > 1:
            packages = [*(["vol2vol"] if name in self.own else []), *map(_called, offers)]
            which = offers[0].dist.name if name in self.own and offers[0].dist else "one of them"
            raise BadInput(f"the {self.kind} {name!r} is offered by {' and by '.join(packages)}: uninstall {which}")
        if not offers:
            return self.own[name]
        try:
            entry: T = offers[0].load()
        except (Exception, SystemExit) as error:  # code of another package may raise anything
            raise self.unusable(name, f"cannot be loaded ({one_line(error, 300)})") from error
        if wrong := self._check(name, entry):
            raise self.unusable(name, f"cannot be used ({wrong})")
        return entry

    def unusable(self, name: str, why: str, cure: str = "") -> BadInput:
        """Return the error for an entry of another package that does not work; `cure` is a further cure."""
        origin = self.origin(name) or {"package": "?", "version": "?"}
        what = f"the {self.kind} {name!r} of the package {origin['package']} {origin['version']}"
        return BadInput(f"{what} {why}: {cure}update or uninstall {origin['package']}")


def _called(entry: EntryPoint) -> str:
    """Return name and version of the package that offers an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
