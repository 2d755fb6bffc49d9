"""What one reference stands for: an index snapshot alone, or a delta with the base and the deltas that it follows.

A delta's manifest names its base, the deltas between, and the curated snapshot and extraction whose state it brings
about; its `meta` counts the whole state as that of an index snapshot does. So the reference of the last delta, the
*tip*, says everything, wherever the reference of an index snapshot does, and retention finds what it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lookalike.errors import CorruptObject, ObjectNotFound, SettingsError
from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Manifest, Ref, find, read_manifest
from lookalike.storage.objects import ObjectStore

PLACES = "places.parquet"
"""The file of a delta that says where the photos of its rows lie: object, first byte, bytes."""
MOST_DELTAS = 8
"""Deltas of a generation: each costs every search some microseconds, and every pod some files."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A base index and its deltas, oldest first."""

    base: Ref
    deltas: tuple[Ref, ...] = ()

    @property
    def tip(self) -> Ref:
        """What names the whole."""
        return self.deltas[-1] if self.deltas else self.base

    @property
    def parts(self) -> tuple[Ref, ...]:
        """Base and deltas."""
        return (self.base, *self.deltas)

    def until(self, count: int) -> Generation:
        """The generation with the first `count` deltas alone."""
        return Generation(self.base, self.deltas[:count])

    def inputs(self) -> Mapping[str, str]:
        """How the manifest of a delta that follows names it."""
        named = {f"delta-{number:02d}": str(ref) for number, ref in enumerate(self.deltas)}
        return {"base": str(self.base), **named}


def generation_of(tip: Ref, manifest: Manifest) -> Generation:
    """The generation that an index snapshot or a delta stands for. Raises `CorruptObject`."""
    if tip.kind is Kind.INDEX:
        return Generation(tip)
    earlier = sorted(name for name in manifest.inputs if name.startswith("delta-"))
    try:
        base = Ref.parse(manifest.inputs["base"])
        found = Generation(base, (*(Ref.parse(manifest.inputs[name]) for name in earlier), tip))
        if tip.kind is not Kind.DELTA or {ref.kind for ref in found.deltas} != {Kind.DELTA}:
            raise SettingsError(f"{tip} is neither an index snapshot nor a delta")
    except (KeyError, SettingsError) as error:
        key = keys.manifest(tip.kind, tip.id)
        raise CorruptObject(key, f"{key} does not name its base and deltas: {error}") from error
    return found


def read_generation(store: ObjectStore, tip: Ref) -> Generation:
    """As `generation_of`. An index snapshot stands for itself, and is not read."""
    return Generation(tip) if tip.kind is Kind.INDEX else generation_of(tip, read_manifest(store, tip))


def find_tip(store: ObjectStore, artefact_id: str) -> Ref:
    """An index snapshot or a delta by its id, or the start of it. Raises `ObjectNotFound`, `SettingsError`."""
    kinds: Collection[Kind] = (Kind.INDEX, Kind.DELTA)
    for kind in kinds:
        try:
            return find(store, kind, artefact_id)
        except ObjectNotFound as error:
            missing = error
    raise missing
