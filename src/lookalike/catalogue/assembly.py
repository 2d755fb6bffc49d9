"""Assembly: pictured listings and examined photos become the tables of a curated snapshot, and its findings.

Small categories merged (`categories`), splits given (`splits`), wrong labels suspected
(`suspects`), rows counted (`tally`). Nothing but descriptors of looks is read or written here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.categories import CategoryPlan, plan_categories
from lookalike.catalogue.examination import Examined
from lookalike.catalogue.fields import FURTHER
from lookalike.catalogue.listings import Catalogue, LeftOut
from lookalike.catalogue.looks import Looks
from lookalike.catalogue.packs import Pack
from lookalike.catalogue.photo_log import packs_of
from lookalike.catalogue.pictures import Pictured
from lookalike.catalogue.report import Findings
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.snapshot import (
    ASPECT_PREFIX,
    LISTING_PHOTOS_SCHEMA,
    PHOTOS_SCHEMA,
    listings_schema,
)
from lookalike.catalogue.splits import TRAIN, Splits, Tied, assign_splits, leaves_two_sides
from lookalike.catalogue.stock import MOST_SHARING, find_stock
from lookalike.catalogue.suspects import Labelled, find_suspects
from lookalike.catalogue.tally import Tally, mending
from lookalike.errors import NothingLeft


@dataclass(frozen=True, slots=True)
class Assembled:
    listings: pa.Table
    listing_photos: pa.Table
    photos: pa.Table
    findings: Findings
    packs: Sequence[Pack]
    """Where the photos lie; `photos` numbers them."""
    known: Collection[str]
    """None where one can learn from it, too."""
    sides: Mapping[str, str]
    """Listing id -> its split, of those that would have another without the parent snapshot."""

    @property
    def meta(self) -> dict[str, Any]:
        return {
            "listings": self.listings.num_rows,
            "photos": self.photos.num_rows,
            "categories": len(self.findings.categories),
            **self.findings.tally.meta,
        }


def assemble(
    catalogue: Catalogue,
    config: CurationConfig,
    known: Collection[str],
    pictured: Sequence[Pictured],
    examined: Examined,
    left_out: Sequence[LeftOut],
    before: Mapping[str, str],
    same: NDArray[np.int64],
    looks: Looks,
) -> Assembled:
    """Everything between good photos and files. `left_out` are rows that have gone before, without the catalogue's own.
    `before` says which split listings have in the parent snapshot, `same` which photos show one picture
    (`find_copies`). `looks` knows all photos.

    Raises `CatalogueError` where too little is left to learn from.
    """
    row_of = {photo_id: row for row, photo_id in enumerate(examined.photo_ids)}
    photo_group = {photo_id: examined.photo_ids[same[row]] for photo_id, row in row_of.items()}

    stock = find_stock(pictured, photo_group)
    shared = frozenset(photo_id for x in stock for photo_id in x.photo_ids)

    plan = _plan(pictured, config, shared)
    to_learn = plan.suits(known) and len({*plan.becomes.values()}) > 1
    if not to_learn:
        plan = _plan(pictured, config, shared, known)
    kept = [x for x in pictured if x.listing.category in plan.becomes]
    kept.sort(key=lambda x: x.listing.listing_id)
    gone = [*left_out, *catalogue.left_out]
    for listing in (x.listing for x in pictured if x.listing.category not in plan.becomes):
        detail = f"{listing.category} has fewer than {config.min_category} photos to learn from"
        gone.append(LeftOut(listing.line, listing.listing_id, "category too small", detail, listing.rows))
    gone.sort(key=lambda row: (row.line, row.listing_id))
    lost = [row for x in kept for row in x.lost]
    categories = sorted({plan.becomes[x.listing.category] for x in kept})
    tally = Tally.of(catalogue, [x.listing for x in kept], gone, lost)
    _check(catalogue, config, categories, tally, gone, at_least=1 if known else 2)

    tied = [
        Tied(
            groups,
            x.listing.product,
            x.listing.seller,
            x.listing.split,
            plan.becomes[x.listing.category],
            before.get(x.listing.listing_id, ""),
        )
        for x, groups in zip(kept, _ties(kept, photo_group, shared), strict=True)
    ]
    splits = _split(tied, config)
    anew = _split([replace(x, before="") for x in tied], config) if before else splits
    moved = zip(kept, splits.split, anew.split, strict=True)
    sides = {x.listing.listing_id: side for x, side, drawn in moved if side != drawn}
    labelled = [
        Labelled(x.listing.listing_id, x.listing.category, main, photo_group[main], x.listing.product)
        for x in kept
        for main in x.photo_ids[:1]
    ]
    photos, packs = _photos_table(examined, {photo_id for x in kept for photo_id in x.photo_ids}, shared)
    findings = Findings(
        catalogue=catalogue,
        kept=tuple(kept),
        categories=categories,
        plan=plan,
        splits=splits,
        left_out=tuple(gone),
        lost=tuple(lost),
        tally=tally,
        stock=stock,
        near_pairs=[
            (examined.photo_ids[same[row]], examined.photo_ids[row])
            for row in np.flatnonzero(same != np.arange(len(same))).tolist()
        ],
        suspects=find_suspects(labelled, looks),
        photo_bytes=pc.sum(photos["length"]).as_py(),
    )
    listings = _listings_table(catalogue.aspects, kept, plan, splits.split, _groups(kept, photo_group))
    return Assembled(
        listings, _listing_photos_table(kept), photos, findings, packs, () if to_learn else known, sides
    )


def _ties(
    kept: Sequence[Pictured], photo_group: Mapping[str, str], stock: Collection[str]
) -> list[tuple[str, ...]]:
    """The groups of near duplicates that tie each listing to others: of its main photo, and of its further ones.

    Stock photos tie nothing, nor do further photos that many listings share; a listing with no other has itself alone.
    """
    groups = [
        tuple(dict.fromkeys(photo_group[photo_id] for photo_id in x.photo_ids if photo_id not in stock))
        for x in kept
    ]
    shared = Counter(group for own in groups for group in own)
    main = [photo_group[x.photo_ids[0]] for x in kept]
    ties = (
        tuple(group for group in own if group == first or shared[group] <= MOST_SHARING)
        for own, first in zip(groups, main, strict=True)
    )
    return [own or (f"listing {x.listing.listing_id}",) for own, x in zip(ties, kept, strict=True)]


def _split(tied: Sequence[Tied], config: CurationConfig) -> Splits:
    ties = ["photo_groups"] + ["product"] * config.keep_products
    sold = config.keep_sellers and any(x.seller for x in tied)
    if sold and leaves_two_sides(tied, [*ties, "seller"]):
        ties.append("seller")
    return assign_splits(
        tied,
        ties=ties,
        leak_ties={"photo": ["photo_groups"], "product": ["photo_groups", "product"], "nothing": []}[
            config.leaks
        ],
        val_share=config.val_share,
        test_share=config.test_share,
    )


def _plan(
    pictured: Sequence[Pictured],
    config: CurationConfig,
    stock: Collection[str],
    known: Collection[str] = (),
) -> CategoryPlan:
    photos: dict[str, set[str]] = {x.listing.category: set() for x in pictured}
    for x in pictured:
        if x.listing.split in ("", TRAIN):
            photos[x.listing.category].update(set(x.photo_ids).difference(stock))
    counts = {category: len(found) for category, found in photos.items()}
    return plan_categories(counts, config.min_category, frozenset(known))


def _check(
    catalogue: Catalogue,
    config: CurationConfig,
    categories: Sequence[str],
    tally: Tally,
    left_out: Sequence[LeftOut],
    *,
    at_least: int,
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
        raise NothingLeft(f"{catalogue.uri}: nothing is left to learn from{why}", left_out)
    message = (
        f"{catalogue.uri}: only the category {categories[0]} is left, and telling things apart takes two"
    )
    raise NothingLeft(f"{message} (each with {config.min_category} photos){why}", left_out)


def _groups(kept: Sequence[Pictured], photo_group: Mapping[str, str]) -> list[str]:
    """What a shopper would call the same thing: the product; else the one product that others offer by the same
    main photo; else the group of near duplicates of the main photo."""
    products: dict[str, set[str]] = defaultdict(set)
    for x in kept:
        if x.listing.product:
            products[photo_group[x.photo_ids[0]]].add(x.listing.product)
    groups = []
    for x in kept:
        own = photo_group[x.photo_ids[0]]
        known = products[own]
        groups.append(x.listing.product or (min(known) if len(known) == 1 else own))
    return groups


def _listings_table(
    aspects: Sequence[str],
    kept: Sequence[Pictured],
    plan: CategoryPlan,
    split: Sequence[str],
    groups: Sequence[str],
) -> pa.Table:
    listings = [x.listing for x in kept]
    columns: dict[str, list[Any]] = {
        "listing_id": [x.listing_id for x in listings],
        "photo_id": [x.photo_ids[0] for x in kept],
        "category": [plan.becomes[x.category] for x in listings],
        "source_category": [x.category for x in listings],
        "split": list(split),
        "title": [x.title or None for x in listings],
        "price": [x.price for x in listings],
        "product": [x.product or None for x in listings],
        "seller": [x.seller or None for x in listings],
        "group": list(groups),
        **{name: [x.further.get(name) for x in listings] for name in FURTHER},
    }
    for name in aspects:
        columns[ASPECT_PREFIX + name] = [
            list(x.aspects[name]) if name in x.aspects else None for x in listings
        ]
    return pa.table(columns, schema=listings_schema(list(aspects)))


def _listing_photos_table(kept: Sequence[Pictured]) -> pa.Table:
    rows = [
        (x.listing.listing_id, ordinal, photo_id)
        for x in kept
        for ordinal, photo_id in enumerate(x.photo_ids)
    ]
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table([list(column) for column in columns], schema=LISTING_PHOTOS_SCHEMA)


def _photos_table(
    examined: Examined, wanted: set[str], stock: Collection[str]
) -> tuple[pa.Table, list[Pack]]:
    rows = examined.rows.filter(pc.is_in(examined.rows["photo_id"], pa.array(sorted(wanted), pa.string())))
    packs = packs_of(rows)
    columns = {name: rows[name] for name in ("photo_id", "offset", "length", "width", "height")}
    columns["shard"] = pc.index_in(rows["pack"], pa.array([pack.key for pack in packs], pa.string()))
    columns["phash"] = pa.array([f"{value:016x}" for value in rows["phash"].to_pylist()], pa.string())
    columns["stock"] = pc.is_in(rows["photo_id"], pa.array(sorted(stock), pa.string()))
    return pa.table([columns[field.name] for field in PHOTOS_SCHEMA], schema=PHOTOS_SCHEMA), packs
