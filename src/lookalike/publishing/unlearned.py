"""What of an index the model was not trained on, for whoever publishes it.

A re-index keeps the live model release, so a category that is new since has no probability. Search finds its listings
by their look (`ranking.routing`); at some number a new training is worth more. Enters: an index snapshot or delta.
Leaves: the categories with their listings, and a sentence for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lookalike.coding.release import ModelCard
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

_CARD = "model.json"
_NAMED = 3


def unlearned_categories(store: ObjectStore, release: Ref, index: Ref, cache_dir: Path) -> Mapping[str, int]:
    """Category -> listings, of those that the release was not trained on, most listings first.

    Raises `ObjectNotFound` or `CorruptObject` where the manifest or the model card cannot be read.
    """
    card = ModelCard.read(fetch(store, release, cache_dir, [_CARD]).path(_CARD))
    found = {
        name: int(count)
        for name, count in read_manifest(store, index).meta["categories"].items()
        if count and name not in card.categories
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def in_words(unlearned: Mapping[str, int]) -> str:
    """What publishing warns of; empty where there is nothing."""
    if not unlearned:
        return ""
    named = ", ".join(f"{name} ({count:,})" for name, count in list(unlearned.items())[:_NAMED])
    more = f" and {len(unlearned) - _NAMED:,} more" if len(unlearned) > _NAMED else ""
    count = sum(unlearned.values())
    listings = "1 listing is" if count == 1 else f"{count:,} listings are"
    return (
        f"{listings} in categories that the model was not trained on: {named}{more}. "
        "Photos find them by their look alone until the next training"
    )
