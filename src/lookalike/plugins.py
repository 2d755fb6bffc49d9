"""What other packages add to Lookalike, found by their entry points; `docs/extending.md` shows how.

A `Registry` is a table, name -> thing, of what Lookalike has itself and what installed packages declare for a group of
entry points. Names are read from the packages' metadata; a package is imported when the name of its thing is asked for,
so that a process never loads what it does not use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from lookalike.errors import SettingsError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Functions by name, ours and those of installed packages."""

    def __init__(self, group: str, kind: str, built_in: Mapping[str, T]) -> None:
        self.group = group
        """Group of entry points: ``lookalike.stores``."""
        self.kind = kind
        """What one of them is called in messages."""
        self.built_in = built_in

    def __getitem__(self, name: str) -> T:
        """Raises `KeyError`, and what `pick` raises."""
        found = self.pick(name, self.built_in.get(name))
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.built_in or name in _declared(self.group))

    def __iter__(self) -> Iterator[str]:
        """Ours in their order, then those of others by name."""
        yield from self.built_in
        yield from sorted(_declared(self.group).keys() - self.built_in.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def distribution(self, name: str) -> str:
        """The package that adds `name`, with its version; empty where it is ours."""
        found = _declared(self.group).get(name, ())
        return " and ".join(map(_package, found))

    def pick(self, name: str, ours: T | None) -> T | None:
        """`ours`, or what a package adds as `name`, or None where there is neither.

        Raises `SettingsError` where there is more than one, or where the package cannot be imported.
        """
        found = _declared(self.group).get(name, ())
        if found and ours is not None:
            raise SettingsError(
                f"{self.distribution(name)} adds a {self.kind} {name!r}, which Lookalike has itself; "
                "uninstall the package, or let it take another name"
            )
        if len(found) > 1:
            raise SettingsError(
                f"{self.distribution(name)} both add a {self.kind} {name!r}; uninstall one of them"
            )
        return self._imported(found[0]) if found else ours

    def _imported(self, entry: EntryPoint) -> T:
        try:
            thing: T = entry.load()
        except Exception as error:  # a module of others may raise anything
            raise SettingsError(
                f"the {self.kind} {entry.name!r} of {_package(entry)} cannot be imported: "
                f"{type(error).__name__}: {error}; mend or uninstall the package"
            ) from error
        if not callable(thing):
            raise SettingsError(
                f"the {self.kind} {entry.name!r} of {_package(entry)}, {entry.value}, is no function"
            )
        return thing


@cache
def _declared(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Name -> declarations of it, by installed packages; read once in the life of a process."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _package(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name} {entry.dist.version}" if entry.dist else "a package"
