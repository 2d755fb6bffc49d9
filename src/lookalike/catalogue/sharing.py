"""Sharing the photo work of a curation: a plan, parts that any number of machines take, and then `curate` as ever.

A catalogue enters; its new photos are written down (`plan_curation`), and each part (`curate_part`) leaves packs and
rows of the photo log. What `curate` then makes is what it makes alone, digest for digest (`plans`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lookalike.catalogue.curation import asked_for, shelf_in, under_way
from lookalike.catalogue.exports import Layout, places_of
from lookalike.catalogue.facts import Facts
from lookalike.catalogue.intake import plan_intake, take_part
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.plans import Plan, open_plan
from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.runs import Reader
from lookalike.progress import Progress, silent
from lookalike.settings import S3Settings
from lookalike.storage.objects import ObjectStore


def plan_curation(
    store: ObjectStore,
    catalogue_uri: str,
    config: CurationConfig | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    layout: Layout | None = None,
    excluded: Sequence[str] = (),
    s3: S3Settings | None = None,
    cache_dir: Path,
) -> Plan | None:
    """Write down which photos `curate` would read, for machines that share them (`curate_part`).

    None where they are so few that one run does it, or where nothing is left of the catalogue. Raises as `curate`.
    """
    config = config or CurationConfig()
    cache_dir.mkdir(parents=True, exist_ok=True)
    shelf = shelf_in(cache_dir)
    catalogue = read_catalogue(
        catalogue_uri, columns=columns, photo_roots=photo_roots, layout=layout, s3=s3, shelf=shelf
    )
    images, _, _ = asked_for(catalogue, Facts.of(catalogue.listings, shelf), excluded, config, shelf)
    return plan_intake(catalogue.places, images.images, PhotoLog.open(store, cache_dir, config), config)


def curate_part(
    store: ObjectStore,
    catalogue_uri: str,
    plan: str,
    part: int,
    parts: int,
    config: CurationConfig | None = None,
    *,
    photo_roots: Sequence[str] = (),
    layout: Layout | None = None,
    s3: S3Settings | None = None,
    cache_dir: Path,
    progress: Progress = silent,
) -> int:
    """Take in part `part` (from 0) of `parts` of the photos of a plan, by its name; returns how many it read.

    The catalogue's table is not read. All parts together leave the very packs that `curate` would have made, and that
    then reads nothing but what was refused. A part that is run again goes on after its last pack.

    Raises `ObjectNotFound` where the plan's curation has ended, and `StoreUnavailable`.
    """
    config = config or CurationConfig()
    log = PhotoLog.to_add_to(store, cache_dir, config)
    found = open_plan(log, plan)
    places = places_of(catalogue_uri, layout or Layout(), photo_roots=photo_roots, s3=s3)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (
        under_way(store) as note,
        tempfile.TemporaryDirectory(prefix="curate-", dir=cache_dir) as folder,
    ):
        return take_part(found, part, parts, Reader(places, log, config, Path(folder), note), progress)
