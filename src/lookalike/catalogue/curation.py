"""Curation: a shop's catalogue enters, a curated snapshot leaves, and a report of everything that was changed.

Way of a listing: read (`listings`), capped per seller, its photo identified and examined (`intake`), copies found
(`duplicates`), small categories merged (`categories`), a split given (`splits`), wrong labels suspected (`suspects`),
written (`snapshot`) and told about (`tally`, `report`). The result depends on the table, the photos' bytes and the
configuration alone, and its id is a digest of these, so running it again finds it done; a run that was killed leaves
nothing visible. The digest is of the photos that were used: a listing whose photo moved meanwhile is left out of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.categories import CategoryPlan, plan_categories
from lookalike.catalogue.duplicates import components, near_pairs
from lookalike.catalogue.intake import Examined, examine, identify
from lookalike.catalogue.listings import Catalogue, LeftOut, Listing
from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.report import Findings, plan_in, report_json
from lookalike.catalogue.report_page import report_page
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.shards import ShardWriter
from lookalike.catalogue.snapshot import (
    ASPECT_PREFIX,
    LISTING_PHOTOS,
    LISTING_PHOTOS_SCHEMA,
    LISTINGS,
    PHOTOS,
    PHOTOS_SCHEMA,
    REPORT,
    REPORT_PAGE,
    listings_schema,
    shard_name,
)
from lookalike.catalogue.splits import TRAIN, Tied, assign_splits
from lookalike.catalogue.suspects import Labelled, find_suspects
from lookalike.catalogue.tally import Tally, mending
from lookalike.errors import CatalogueError
from lookalike.progress import Progress, silent
from lookalike.settings import S3Settings
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch
from lookalike.storage.objects import ObjectStore

__all__ = ["CurationConfig", "curate"]

_RULES = 3
"""Raised when the same configuration begins to give another result, so that old snapshots are not taken for new."""


def curate(
    store: ObjectStore,
    catalogue_uri: str,
    config: CurationConfig | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    known: Collection[str] = (),
    s3: S3Settings | None = None,
    cache_dir: Path,
    progress: Progress = silent,
) -> Ref:
    """Curate the catalogue at `catalogue_uri` into `store`; shards are put together under `cache_dir`.

    `photo_roots` are folders and ``s3://bucket/prefix`` that photos may lie in, beside the catalogue's own folder or
    bucket. `known` are the categories of the model release that will search the snapshot, none where one is to learn
    from it: they stay as they are (`plan_categories`). Where they would anyway, the snapshot is the one to learn from.

    Raises `CatalogueError` where too little is left to learn or the table changes while it and its photos are read,
    `SettingsError`, and the `StorageError`s of the store.
    """
    config = config or CurationConfig()
    catalogue = read_catalogue(catalogue_uri, columns=columns, photo_roots=photo_roots, s3=s3)
    chosen, left_out = _capped(catalogue.listings, config.seller_cap)
    identified = identify(catalogue, chosen, config.limits, progress)
    catalogue.check_unchanged()

    def writer_for(known: Collection[str]) -> ArtefactWriter:
        settings = asdict(config) | {"rules": _RULES, "columns": dict(columns or {})}
        return ArtefactWriter(
            store,
            Kind.CURATED,
            inputs={"catalogue": catalogue.digest, "photos": identified.digest},
            config=settings | ({"known": sorted(known)} if known else {}),
        )

    done = writer_for(()).existing()
    if done and known and not plan_in(fetch(store, done, cache_dir, [REPORT]).path(REPORT)).suits(known):
        done = None
    if done is None and known:
        done = writer_for(known).existing()
    if done is not None:
        return done
    wanted: dict[str, list[Listing]] = defaultdict(list)
    for listing in chosen:
        if photo_id := identified.photo_ids.get(listing.listing_id):
            wanted[photo_id].append(listing)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="curate-", dir=cache_dir) as folder:
        with ShardWriter(Path(folder), config.shard_bytes) as shards:
            examined = examine(catalogue, wanted, config, shards, progress)
        catalogue.check_unchanged()
        identified = identified.without(examined.moved)  # and the id of the snapshot follows
        for listing in chosen:
            if refusal := identified.refused.get(listing.listing_id):
                left_out.append(LeftOut(listing.line, listing.listing_id, refusal.reason, refusal.detail))
        snapshot = _assemble(catalogue, config, known, chosen, identified.photo_ids, examined, left_out)
        report = report_json(snapshot.findings)
        page = report_page(snapshot.findings, report, lambda photo_id: shards.read(snapshot.places[photo_id]))
        writer = writer_for(snapshot.known)
        total = shards.count + 5
        for number in range(shards.count):
            writer.add(shard_name(number), Path(folder) / shard_name(number), give=True)
            progress("write snapshot", number + 1, total)
    writer.add(LISTINGS, _parquet(snapshot.listings))
    writer.add(LISTING_PHOTOS, _parquet(snapshot.listing_photos))
    writer.add(PHOTOS, _parquet(snapshot.photos))
    writer.add(REPORT, report)
    writer.add(REPORT_PAGE, page)
    progress("write snapshot", total, total)
    return writer.commit(snapshot.meta)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    listings: pa.Table
    listing_photos: pa.Table
    photos: pa.Table
    findings: Findings
    places: Mapping[str, Any]
    known: Collection[str]
    """None where one can learn from it, too."""

    @property
    def meta(self) -> dict[str, Any]:
        return {
            "listings": self.listings.num_rows,
            "photos": self.photos.num_rows,
            "categories": len(self.findings.categories),
            **self.findings.tally.meta,
        }


def _capped(listings: Sequence[Listing], cap: int) -> tuple[list[Listing], list[LeftOut]]:
    """At most `cap` listings of a seller in a category: those whose ids have the lowest SHA-256."""
    kept, left_out = list(listings), []
    if cap:
        shelves: dict[tuple[str, str], list[Listing]] = defaultdict(list)
        for listing in listings:
            if listing.seller:
                shelves[listing.seller, listing.category].append(listing)
        for (seller, category), shelf in shelves.items():
            for listing in sorted(shelf, key=lambda x: hashlib.sha256(x.listing_id.encode()).digest())[cap:]:
                detail = f"seller {seller} has more than {cap} listings in {category}"
                left_out.append(LeftOut(listing.line, listing.listing_id, "seller cap", detail))
        over = {row.listing_id for row in left_out}
        kept = [listing for listing in listings if listing.listing_id not in over]
    return kept, left_out


def _assemble(
    catalogue: Catalogue,
    config: CurationConfig,
    known: Collection[str],
    chosen: Sequence[Listing],
    photo_ids: Mapping[str, str],
    examined: Examined,
    left_out: list[LeftOut],
) -> _Snapshot:
    """Everything between good photos and files."""
    row_of = {photo_id: row for row, photo_id in enumerate(examined.photo_ids)}
    with_photo: list[Listing] = []
    for listing in chosen:
        photo_id = photo_ids.get(listing.listing_id)
        if photo_id in row_of:
            with_photo.append(listing)
        elif photo_id:
            refusal = examined.refused[photo_id]
            left_out.append(LeftOut(listing.line, listing.listing_id, refusal.reason, refusal.detail))
    pairs = near_pairs(examined.phashes, examined.prints, config.near_bits, config.near_rmse)
    same = components(len(examined.photo_ids), pairs)
    photo_group = {photo_id: examined.photo_ids[same[row]] for photo_id, row in row_of.items()}

    plan = _plan(with_photo, photo_ids, config)
    to_learn = plan.suits(known) and len({*plan.becomes.values()}) > 1
    if not to_learn:
        plan = _plan(with_photo, photo_ids, config, known)
    kept = sorted((x for x in with_photo if x.category in plan.becomes), key=lambda x: x.listing_id)
    for listing in with_photo:
        if listing.category not in plan.becomes:
            detail = f"{listing.category} has fewer than {config.min_category} photos to learn from"
            left_out.append(LeftOut(listing.line, listing.listing_id, "category too small", detail))
    left_out += catalogue.left_out
    left_out.sort(key=lambda row: (row.line, row.listing_id))
    categories = sorted({plan.becomes[listing.category] for listing in kept})
    tally = Tally.of(catalogue, kept, left_out)
    _check(catalogue, config, categories, tally, at_least=1 if known else 2)

    ids = [photo_ids[listing.listing_id] for listing in kept]
    tied = [
        Tied(photo_group[photo_id], x.product, x.seller, x.split, plan.becomes[x.category])
        for x, photo_id in zip(kept, ids, strict=True)
    ]
    splits = assign_splits(
        tied,
        ties=["photo_group"] + ["product"] * config.keep_products + ["seller"] * config.keep_sellers,
        leak_ties={"photo": ["photo_group"], "product": ["photo_group", "product"], "nothing": []}[
            config.leaks
        ],
        val_share=config.val_share,
        test_share=config.test_share,
    )
    labelled = [
        Labelled(x.listing_id, x.category, row_of[photo_id], photo_id, photo_group[photo_id], x.product)
        for x, photo_id in zip(kept, ids, strict=True)
    ]
    photos = _photos_table(examined, set(ids))
    findings = Findings(
        catalogue=catalogue,
        listings=tuple(kept),
        photo_ids=tuple(ids),
        categories=categories,
        plan=plan,
        splits=splits,
        left_out=tuple(left_out),
        tally=tally,
        near_pairs=[(examined.photo_ids[one], examined.photo_ids[other]) for one, other in pairs],
        suspects=find_suspects(labelled, examined.prints),
        samples=examined.samples,
        photo_bytes=sum(place.length for place in examined.places),
    )
    listings = _listings_table(
        catalogue.aspects, kept, ids, plan, splits.split, _groups(kept, ids, photo_group)
    )
    places = dict(zip(examined.photo_ids, examined.places, strict=True))
    return _Snapshot(
        listings, _listing_photos_table(kept, ids), photos, findings, places, () if to_learn else known
    )


def _plan(
    listings: Sequence[Listing],
    photo_ids: Mapping[str, str],
    config: CurationConfig,
    known: Collection[str] = (),
) -> CategoryPlan:
    photos: dict[str, set[str]] = {listing.category: set() for listing in listings}
    for listing in listings:
        if listing.split in ("", TRAIN):
            photos[listing.category].add(photo_ids[listing.listing_id])
    counts = {category: len(found) for category, found in photos.items()}
    return plan_categories(counts, config.min_category, frozenset(known))


def _check(
    catalogue: Catalogue, config: CurationConfig, categories: Sequence[str], tally: Tally, *, at_least: int
) -> None:
    if len(categories) >= at_least:
        return
    gone = sum(count.rows for count in tally.left_out.values())
    why = f"; {gone:,} rows were left out: {tally.reasons()}{mending(tally.left_out)}" if gone else ""
    given = Counter(listing.split for listing in catalogue.listings)
    if not (given[""] or given[TRAIN]):
        names = ", ".join(f"{name} {n:,}" for name, n in given.most_common(5))
        why += f"; no row's split is {TRAIN}, but {names}"
    if not categories:
        raise CatalogueError(f"{catalogue.uri}: nothing is left to learn from{why}")
    message = (
        f"{catalogue.uri}: only the category {categories[0]} is left, and telling things apart takes two"
    )
    raise CatalogueError(f"{message} (each with {config.min_category} photos){why}")


def _groups(
    listings: Sequence[Listing], photo_ids: Sequence[str], photo_group: Mapping[str, str]
) -> list[str]:
    """What a shopper would call the same thing: the product; else the one product that others offer by the same
    photo; else the group of near duplicates."""
    products: dict[str, set[str]] = defaultdict(set)
    for listing, photo_id in zip(listings, photo_ids, strict=True):
        if listing.product:
            products[photo_group[photo_id]].add(listing.product)
    groups = []
    for listing, photo_id in zip(listings, photo_ids, strict=True):
        known = products[photo_group[photo_id]]
        groups.append(listing.product or (min(known) if len(known) == 1 else photo_group[photo_id]))
    return groups


def _listings_table(
    aspects: Sequence[str],
    listings: Sequence[Listing],
    photo_ids: Sequence[str],
    plan: CategoryPlan,
    split: Sequence[str],
    groups: Sequence[str],
) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "listing_id": [x.listing_id for x in listings],
        "photo_id": list(photo_ids),
        "category": [plan.becomes[x.category] for x in listings],
        "source_category": [x.category for x in listings],
        "split": list(split),
        "title": [x.title or None for x in listings],
        "price": [x.price for x in listings],
        "product": [x.product or None for x in listings],
        "seller": [x.seller or None for x in listings],
        "group": list(groups),
    }
    for name in aspects:
        columns[ASPECT_PREFIX + name] = [
            list(x.aspects[name]) if name in x.aspects else None for x in listings
        ]
    return pa.table(columns, schema=listings_schema(list(aspects)))


def _listing_photos_table(listings: Sequence[Listing], photo_ids: Sequence[str]) -> pa.Table:
    ordinal = np.zeros(len(listings), np.int32)
    columns = [pa.array([x.listing_id for x in listings]), pa.array(ordinal), pa.array(photo_ids)]
    return pa.table(columns, schema=LISTING_PHOTOS_SCHEMA)


def _photos_table(examined: Examined, wanted: set[str]) -> pa.Table:
    rows = [row for row, photo_id in enumerate(examined.photo_ids) if photo_id in wanted]
    columns = {
        "photo_id": [examined.photo_ids[row] for row in rows],
        "shard": [examined.places[row].shard for row in rows],
        "offset": [examined.places[row].offset for row in rows],
        "length": [examined.places[row].length for row in rows],
        "width": [examined.sizes[row][0] for row in rows],
        "height": [examined.sizes[row][1] for row in rows],
        "phash": [f"{int(value):016x}" for value in examined.phashes[np.array(rows, np.int64)]],
    }
    return pa.table(columns, schema=PHOTOS_SCHEMA)


def _parquet(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd")
    data: bytes = out.getvalue().to_pybytes()
    return data
