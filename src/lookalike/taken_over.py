"""What a re-index takes over from what is live: how the export is read, and by which rules.

A manifest of the live index's curated snapshot enters; parameters of a curation leave, and a `Workplace` that reads the
export alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lookalike.catalogue.knobs import settings_of
from lookalike.catalogue.rules import CurationConfig
from lookalike.errors import SettingsError
from lookalike.publishing import live_ref
from lookalike.storage.artefacts import Kind, Ref, read_manifest
from lookalike.workplace import Workplace

LAYOUT = ("preset", "photos", "query", "exclude")
"""Settings of the catalogue that a snapshot's manifest keeps."""


def live_curation(place: Workplace) -> dict[str, Any]:
    """How the live index's catalogue was curated, so that a re-index does the same: columns, every knob, and the names
    of `LAYOUT`: how the export is laid out, and the snapshot whose list of excluded listings counts.

    Raises `SettingsError` where nothing is live.
    """
    live = live_ref.read_live(place.store)
    if live is None:
        raise SettingsError(
            f"{place.store.uri}: nothing is live yet, so there is nothing to re-index; retrain first"
        )
    curated = Ref.parse(read_manifest(place.store, live.live.tip).inputs["curated"])
    config = read_manifest(place.store, curated).config
    laid_out = {"preset": "", "photos": "", "query": ""} | config.get("layout", {})
    excluded = {"exclude": str(curated) if "excluded" in config else ""}
    return {
        "columns": config.get("columns", {}),
        **laid_out,
        **excluded,
        **settings_of(CurationConfig, config),
    }


def laid_out_as(place: Workplace, said: Mapping[str, Any]) -> Workplace:
    """`place` with what `said` says of `LAYOUT`. A list of excluded listings that the settings name goes before the
    one that a snapshot was made with: people go on writing it."""
    told = {name: said[name] for name in LAYOUT if said.get(name)}
    if place.catalogue.exclude and told.get("exclude", "").startswith(f"{Kind.CURATED}/"):
        del told["exclude"]
    return replace(place, catalogue=place.catalogue.model_copy(update=told))
