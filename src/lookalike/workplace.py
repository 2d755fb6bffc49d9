"""Where the steps work: an opened store, local disk, and how many threads they may take.

Enters: what an option or a flow's parameter names, over the settings. Leaves: a `Workplace`, the first argument of
every step in `lookalike.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import ObjectNotFound
from lookalike.index.generation import find_tip
from lookalike.settings import CatalogueSettings, S3Settings, Settings, load
from lookalike.storage.artefacts import Kind, Ref, find, latest
from lookalike.storage.objects import ObjectStore
from lookalike.storage.stores import open_store

_MADE_BY = {Kind.CURATED: "curate", Kind.RELEASE: "train", Kind.EXTRACTION: "extract", Kind.INDEX: "index"}


@dataclass(frozen=True, slots=True)
class Workplace:
    """The opened store and the settings that a step works with."""

    store: ObjectStore
    settings: Settings
    s3: S3Settings
    catalogue: CatalogueSettings
    threads: int = 0
    """Threads that a step may use; 0 takes every core that this process may use."""

    @property
    def cache_dir(self) -> Path:
        return self.settings.cache_dir

    def ref(self, kind: Kind, text: str | None) -> Ref:
        """The artefact that an option names by reference or id; the newest of its kind where it names none."""
        if text is None:
            found = latest(self.store, kind)
            if found is None:
                step = _MADE_BY[kind]
                raise ObjectNotFound(
                    kind.value, f"{self.store.uri} holds no {kind.value}; run `lookalike {step}` first"
                )
            return found
        if "@" in text:
            return Ref.parse(text)
        return find(self.store, kind, text.removeprefix(f"{kind.value}/"))

    def index(self, text: str | None) -> Ref:
        """The index snapshot or delta that an option names; the newest index snapshot where it names none."""
        if text is None or "@" in text:
            return self.ref(Kind.INDEX, text)
        return find_tip(self.store, text.rpartition("/")[2])


def open_workplace(
    store: str | None = None,
    photo_roots: Sequence[str] | None = None,
    *,
    preset: str | None = None,
    photos: str | None = None,
    query: str | None = None,
    exclude: str | None = None,
    threads: int = 0,
) -> Workplace:
    """What the caller names, or else the settings."""
    settings, s3 = Settings(), S3Settings()
    catalogue = load(
        CatalogueSettings,
        photo_roots=photo_roots or None,
        preset=preset,
        photos=photos,
        query=query,
        exclude=exclude,
    )
    return Workplace(
        open_store(store or settings.store, s3), settings, s3, catalogue, threads or settings.threads
    )
