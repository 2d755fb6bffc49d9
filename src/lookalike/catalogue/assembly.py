"""Assembly: pictured listings and examined photos become the tables of a curated snapshot, and its findings.

Small categories merged (`categories`), splits given (`splits`), wrong labels suspected (`suspects`), rows counted
(`tally`): all of it on columns of numbers. Nothing but descriptors of looks is read or written here; the tables of
listings are made when they are written (`snapshot_tables`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.categories import CategoryPlan, plan_categories
from lookalike.catalogue.coded import Coded, below
from lookalike.catalogue.examination import Examined
from lookalike.catalogue.facts import Facts, same_reason
from lookalike.catalogue.kept import Kept
from lookalike.catalogue.listings import Catalogue, Losses
from lookalike.catalogue.looks import Looks
from lookalike.catalogue.packs import Pack
from lookalike.catalogue.photo_log import packs_of
from lookalike.catalogue.pictures import Pictured, digest_of_texts
from lookalike.catalogue.report import Findings
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.shelf import Places, Shelf
from lookalike.catalogue.snapshot import PHOTOS_SCHEMA
from lookalike.catalogue.splits import SIDES, TRAIN, Splits, Tied, assign_splits, leaves_two_sides
from lookalike.catalogue.stock import MOST_SHARING, find_stock
from lookalike.catalogue.suspects import Labelled, find_suspects
from lookalike.catalogue.tally import Tally, mending
from lookalike.errors import NothingLeft


@dataclass(frozen=True, slots=True)
class Assembled:
    kept: Kept
    photos: pa.Table
    group: Coded
    """The product that a shopper would call a listing's group; where it has none, its group of near duplicates is."""
    group_photo: Places
    """The photo that names that group."""
    findings: Findings
    packs: Sequence[Pack]
    """Where the photos lie; `photos` numbers them."""
    known: Collection[str]
    """None where one can learn from it, too."""
    sides: str
    """Digest of the splits of listings that would have another without the parent snapshot; empty where none would."""

    @property
    def meta(self) -> dict[str, Any]:
        return {
            "listings": len(self.kept),
            "photos": self.photos.num_rows,
            "categories": len(self.kept.categories),
            **self.findings.tally.meta,
        }


def assemble(
    catalogue: Catalogue,
    facts: Facts,
    config: CurationConfig,
    known: Collection[str],
    pictured: Pictured,
    examined: Examined,
    left_out: Losses,
    lost: Losses,
    before: Iterable[pa.RecordBatch] | None,
    same: Places,
    looks: Looks,
    shelf: Shelf,
) -> Assembled:
    """Everything between good photos and files. `left_out` are rows that have gone before, without the catalogue's own,
    and `lost` the photos of pictured listings. `before` has columns listing_id and split of the parent snapshot, in the
    order of ids; `same` says which photos show one picture (`find_copies`). `looks` knows all photos.

    Raises `CatalogueError` where too little is left to learn from.
    """
    stock, shared = find_stock(pictured, facts, same, examined.photo_ids)
    plan = _plan(pictured, facts, config, shared)
    to_learn = plan.suits(known) and len({*plan.becomes.values()}) > 1
    if not to_learn:
        plan = _plan(pictured, facts, config, shared, known)

    source = facts.category.values.to_pylist()
    learned = [plan.becomes.get(name, "") for name in source]
    fits = np.array([bool(name) for name in learned], bool)[facts.category.codes[pictured.rows]]
    small, fitting = pictured.rows[~fits], pictured.rows[fits]
    del fits
    names = facts.category.take(small).texts()
    detail = pc.binary_join_element_wise(
        names, f" has fewer than {config.min_category} photos to learn from", ""
    )
    too_small = same_reason(catalogue, small, "category too small", detail)
    gone = Losses.together([left_out, catalogue.left_out, too_small]).in_order("line", "listing_id")
    of_small = pc.is_in(lost.table["listing_id"], too_small.table["listing_id"].combine_chunks())
    lost = Losses(lost.table.filter(pc.invert(of_small))).in_order("listing_id")

    tally = Tally.of(catalogue, fitting, gone, lost)
    rows = facts.by_id(fitting)
    place = np.empty(len(facts.category), np.int32)
    place[pictured.rows] = np.arange(len(pictured.rows), dtype=np.int32)
    kept = pictured.take(place[rows]).on(shelf)
    del pictured, place, fitting, small
    rows = kept.rows
    used = np.unique(facts.category.codes[rows]).tolist()
    categories = sorted({learned[code] for code in used})
    at = {name: number for number, name in enumerate(categories)}
    category = np.array([at.get(name, -1) for name in learned], np.int32)[facts.category.codes[rows]]
    category = shelf.keep(category)
    _check(catalogue, facts, config, categories, tally, gone, at_least=1 if known else 2)

    sides, given = _sides(facts.split.take(rows))
    listing_ids = shelf.texts(facts.ids_in_blocks(rows))
    source, product, seller = (x.take(rows, shelf) for x in (facts.category, facts.product, facts.seller))
    own_group = shelf.keep(same[kept.main])
    owners, groups = map(shelf.keep, _ties(kept, same, own_group, shared))
    tied = Tied(
        owners,
        groups,
        product.codes,
        seller.codes,
        given,
        category,
        np.full(len(rows), -1, np.int32) if before is None else _before(listing_ids, before),
        examined.photo_ids,
        listing_ids,
        product.values,
        categories,
    )
    ties = _tying(tied, config)
    splits = _split(tied, ties, config)
    moved = np.flatnonzero(
        splits.split != (splits if before is None else _split(tied.anew(), ties, config)).split
    )
    del tied, owners, groups, given
    moved_to = pa.array(sides, pa.string()).take(pa.array(splits.split[moved]))
    whole = Kept(
        kept,
        listing_ids,
        category,
        categories,
        source,
        product,
        seller,
        splits,
        sides,
        examined.photo_ids,
    )
    labelled = Labelled(
        listing_ids,
        whole.source.codes,
        kept.main,
        own_group,
        product.codes,
        whole.source.values,
        examined.photo_ids,
        product.values,
    )
    photos, packs = _photos_table(examined, whole.showing() > 0, shared)
    copies = np.flatnonzero(same != np.arange(len(same)))
    findings = Findings(
        catalogue=catalogue,
        kept=whole,
        plan=plan,
        left_out=gone,
        lost=lost,
        tally=tally,
        stock=stock,
        near=np.stack([same[copies], copies], axis=1),
        suspects=find_suspects(labelled, looks),
        photo_bytes=pc.sum(photos["length"]).as_py(),
    )
    return Assembled(
        whole,
        photos,
        _groups(product, own_group, len(same), shelf),
        own_group,
        findings,
        packs,
        () if to_learn else known,
        digest_of_texts(listing_ids.take(pa.array(moved)), moved_to) if len(moved) else "",
    )


def _sides(split: Coded) -> tuple[list[str], Places]:
    """Names of sides, and which of them the catalogue gives each listing."""
    given = split.values.to_pylist()
    sides = [*SIDES, *(name for name in given if name not in SIDES)]
    number = np.array([*map(sides.index, given), -1], np.int32)
    return sides, number[split.codes]


def _before(listing_ids: pa.StringArray, parent: Iterable[pa.RecordBatch]) -> Places:
    """The sides that listings have in the parent snapshot; -1 for other names. Both are in the order of ids."""
    found = np.full(len(listing_ids), -1, np.int32)
    start = 0
    for batch in parent:
        ids = batch["listing_id"]
        stop = below(listing_ids, ids[-1].as_py(), inclusive=True)
        side = pc.fill_null(pc.index_in(batch["split"], pa.array(SIDES)), -1)
        at = pc.index_in(listing_ids[start:stop], ids)
        found[start:stop] = pc.fill_null(side.take(at), -1).to_numpy()
        start = stop
    return found


def _ties(kept: Pictured, same: Places, own_group: Places, stock: NDArray[np.bool_]) -> tuple[Places, Places]:
    """The groups of near duplicates that tie each listing to others: of its main photo, and of its further ones.

    Stock photos tie nothing, nor do further photos that many listings share; a listing with no other has itself alone.
    Listings by their places, in order, and beside them the groups.
    """
    own = ~stock[kept.photos]
    owners, groups = kept.owners[own], same[kept.photos[own]]
    if len(kept.photos) > len(kept.rows):
        first = np.unique(owners.astype(np.int64) * len(same) + groups, return_index=True)[1]
        first.sort()
        owners, groups = owners[first], groups[first]
    often = np.bincount(groups, minlength=len(same)) > MOST_SHARING
    ties = (groups == own_group[owners]) | ~often[groups]
    owners, groups = owners[ties], groups[ties]
    alone = np.ones(len(kept.rows), bool)
    alone[owners] = False
    if not alone.any():
        return owners, groups
    lonely = np.flatnonzero(alone).astype(np.int32)
    owners, groups = np.append(owners, lonely), np.append(groups, lonely + np.int32(len(same)))
    order = np.argsort(owners, kind="stable")
    return owners[order], groups[order]


def _tying(tied: Tied, config: CurationConfig) -> list[str]:
    ties = ["photo_groups"] + ["product"] * config.keep_products
    sold = config.keep_sellers and bool((tied.seller >= 0).any())
    if sold and leaves_two_sides(tied, [*ties, "seller"]):
        ties.append("seller")
    return ties


def _split(tied: Tied, ties: Sequence[str], config: CurationConfig) -> Splits:
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
    pictured: Pictured,
    facts: Facts,
    config: CurationConfig,
    stock: NDArray[np.bool_],
    known: Collection[str] = (),
) -> CategoryPlan:
    names = facts.category.values.to_pylist()
    codes = facts.category.codes[pictured.rows]
    split = facts.split.codes[pictured.rows]
    learns = split < 0
    if (train := pc.index(facts.split.values, TRAIN).as_py()) >= 0:
        learns |= split == train
    owners = pictured.owners
    chosen = learns[owners] & ~stock[pictured.photos]
    numbers = np.unique(codes[owners[chosen]].astype(np.int64) * len(stock) + pictured.photos[chosen])
    photos = np.bincount(numbers // max(1, len(stock)), minlength=len(names)).tolist()
    counts = {names[code]: photos[code] for code in np.unique(codes).tolist()}
    return plan_categories(counts, config.min_category, frozenset(known))


def _check(
    catalogue: Catalogue,
    facts: Facts,
    config: CurationConfig,
    categories: Sequence[str],
    tally: Tally,
    left_out: Losses,
    *,
    at_least: int,
) -> None:
    if len(categories) >= at_least:
        return
    gone = sum(count.rows for count in tally.left_out.values())
    why = f"; {gone:,} rows were left out: {tally.reasons()}{mending(tally.left_out)}" if gone else ""
    unsaid, *given = np.bincount(facts.split.codes + 1, minlength=1).tolist()
    by_name = dict(zip(facts.split.values.to_pylist(), given, strict=False))
    if not (unsaid or by_name.get(TRAIN)):
        most = sorted(by_name.items(), key=lambda item: (-item[1], item[0]))[:5]
        names = ", ".join(f"{name} {n:,}" for name, n in most)
        why += f"; no row's split is {TRAIN}, but {names}"
    if not categories:
        raise NothingLeft(f"{catalogue.uri}: nothing is left to learn from{why}", left_out)
    message = (
        f"{catalogue.uri}: only the category {categories[0]} is left, and telling things apart takes two"
    )
    raise NothingLeft(f"{message} (each with {config.min_category} photos){why}", left_out)


def _groups(product: Coded, own_group: Places, photos: int, shelf: Shelf) -> Coded:
    """What a shopper would call the same thing: the product; else the one product that others offer by the same
    main photo; else, where it is empty, the group of near duplicates of the main photo."""
    named = product.codes >= 0
    low, high = np.full(photos, np.iinfo(np.int32).max, np.int32), np.full(photos, -1, np.int32)
    np.minimum.at(low, own_group[named], product.codes[named])
    np.maximum.at(high, own_group[named], product.codes[named])
    one = np.where(low == high, high, np.int32(-1))
    return Coded(shelf.keep(np.where(named, product.codes, one[own_group])), product.values)


def _photos_table(
    examined: Examined, wanted: NDArray[np.bool_], stock: NDArray[np.bool_]
) -> tuple[pa.Table, list[Pack]]:
    rows = examined.rows.filter(pa.array(wanted))
    packs = packs_of(rows)
    columns = {name: rows[name] for name in ("photo_id", "offset", "length", "width", "height")}
    columns["shard"] = pc.index_in(rows["pack"], pa.array([pack.key for pack in packs], pa.string()))
    columns["phash"] = _hexadecimal(rows["phash"].to_numpy())
    columns["stock"] = pa.array(stock[wanted])
    return pa.table([columns[field.name] for field in PHOTOS_SCHEMA], schema=PHOTOS_SCHEMA), packs


def _hexadecimal(numbers: NDArray[np.uint64]) -> pa.StringArray:
    """16 digits each."""
    digits = np.frombuffer(b"0123456789abcdef", "S1")
    data = numbers.astype(">u8").view(np.uint8)
    text = digits[np.stack([data >> 4, data & 15], axis=1)].tobytes()
    return pa.array(np.frombuffer(text, "S16")).cast(pa.string())
