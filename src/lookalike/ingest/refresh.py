"""What a re-index makes: nothing, a delta or a new base, whichever is cheaper.

Enters: the live generation and a newer extraction. Leaves: the reference to publish, and why it is what it is, in one
line. A delta costs what changed, a base what there is; but every row that deltas hold is read twice by searches of its
category, and its old row lies dead in the base. So a base is built where deltas would hold too large a share of it, and
wherever the live generation cannot be changed into the new one: another model release, other splits or shards.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from lookalike.errors import CorruptObject, ObjectNotFound, SettingsError
from lookalike.index.builder import build
from lookalike.index.generation import read_generation
from lookalike.index.likeness import Take
from lookalike.index.searchable import Photos
from lookalike.index.segment import FORMAT
from lookalike.ingest.deltas import build_delta, size_of
from lookalike.ingest.difference import Difference, State, compare
from lookalike.progress import Progress, silent
from lookalike.settings import load
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class DeltaConfig:
    """When an index is built anew instead of being changed by a delta."""

    table: ClassVar[str] = "deltas"

    share: float = 0.2
    """Rows and tombstones that all deltas of a generation may hold, as a fraction of the base's rows. At a fifth a
    search reads at most a fifth more than of a new base, and a delta is still far cheaper to build and to fetch."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SettingsError(f"deltas.share is a fraction of 1, not {self.share}")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What was made, or found made, and why."""

    ref: Ref
    """An index snapshot or a delta: what to publish."""
    made: Literal["nothing", "delta", "base"]
    why: str


def refresh(
    store: ObjectStore,
    live: Ref | None,
    extraction: Ref,
    *,
    shards: int,
    splits: Collection[str] | None = None,
    photos: Photos = "all",
    base: bool = False,
    take: Take | None = None,
    config: DeltaConfig | None = None,
    cache_dir: Path,
    progress: Progress = silent,
) -> Refreshed:
    """Bring the generation that `live` names to the listings and codes of `extraction`; with `base` build it anew.

    `take` is that of `build`.

    Raises what `index.builder.build` raises.
    """
    made = read_manifest(store, extraction)
    curated = Ref.parse(made.inputs["curated"])
    state = State(curated, extraction, None if splits is None else tuple(sorted(splits)), photos)
    found = (
        "a new base was asked for" if base else _why_base(store, live, made.inputs["release"], state, shards)
    )
    if not found and live is not None:
        changed = _delta(store, live, state, config or load(DeltaConfig), cache_dir, progress)
        if isinstance(changed, Refreshed):
            return changed
        found = changed
    ref = build(
        store,
        curated,
        extraction,
        shards=shards,
        splits=splits,
        photos=photos,
        take=take,
        cache_dir=cache_dir,
        progress=progress,
    )
    return Refreshed(ref, "base", f"a new base: {found}")


def _why_base(store: ObjectStore, live: Ref | None, release: str, state: State, shards: int) -> str:
    """What rules a delta out before anything is compared, or ``""``."""
    if live is None:
        return "nothing is live yet"
    manifest = read_manifest(store, live)
    if manifest.meta["release"] != release:
        return "the live index is of another model release"
    if manifest.meta["shards"] != shards:
        return f"{shards} shards are asked for, the live index has {manifest.meta['shards']}"
    if manifest.config["format"] != FORMAT:
        return f"the live index is of format {manifest.config['format']}, this version writes {FORMAT}"
    before = State.of(manifest.inputs, manifest.config)
    if (before.splits, before.photos) != (state.splits, state.photos):
        return "the live index is of other splits or photos"
    return ""


def _delta(
    store: ObjectStore,
    live: Ref,
    state: State,
    config: DeltaConfig,
    cache_dir: Path,
    progress: Progress,
) -> Refreshed | str:
    """Nothing or a delta; or why there has to be a base."""
    manifest, generation = read_manifest(store, live), read_generation(store, live)
    try:
        difference = compare(store, State.of(manifest.inputs, manifest.config), state, cache_dir)
        if not len(difference):
            return Refreshed(live, "nothing", "nothing has changed: what is live stays")
        if difference.counts["rows"] == 0:
            return "no listing is left"
        held = sum(size_of(read_manifest(store, ref)) for ref in generation.deltas) + len(difference)
        rows = int(read_manifest(store, generation.base).meta["rows"])
        if held > config.share * rows:
            return _too_large(difference, held, rows, config.share)
        ref = build_delta(store, generation, state, difference, cache_dir=cache_dir, progress=progress)
    except (ObjectNotFound, CorruptObject) as error:
        return f"the live generation cannot be compared or changed: {error}"
    return Refreshed(ref, "delta", f"a delta: {difference} of {rows:,} listings of the base")


def _too_large(difference: Difference, held: int, rows: int, share: float) -> str:
    return (
        f"{difference}; deltas would hold {held:,} rows and tombstones over {rows:,} listings, "
        f"more than {share:.0%} (deltas.share)"
    )
