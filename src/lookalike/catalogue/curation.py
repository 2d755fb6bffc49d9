"""Curation: a shop's catalogue enters, a curated snapshot leaves, and a report of everything that was changed.

Way of a listing: read (`reading`), capped per seller, its photos identified and examined (`intake`) and given to it
(`pictures`), put in order with all others (`assembly`), written (`snapshot`) and reported (`tally`, `report`). The
result depends on the table, the photos' bytes and the configuration alone, and its id is a digest of these, so running
it again finds it done; a run that was killed leaves nothing visible. The digest is of the photos that were used: one
that moved meanwhile is left out of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.assembly import assemble
from lookalike.catalogue.intake import examine, identify
from lookalike.catalogue.listings import LeftOut, Listing
from lookalike.catalogue.pictures import digest_of_photos, picture
from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.report import plan_in, report_json
from lookalike.catalogue.report_page import report_page
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.shards import ShardWriter
from lookalike.catalogue.snapshot import LISTING_PHOTOS, LISTINGS, PHOTOS, REPORT, REPORT_PAGE, shard_name
from lookalike.progress import Progress, silent
from lookalike.settings import S3Settings
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch
from lookalike.storage.objects import ObjectStore

__all__ = ["CurationConfig", "curate"]

_RULES = 4
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
    chosen, over_cap = _capped(catalogue.listings, config.seller_cap)
    images = list(dict.fromkeys(image for listing in chosen for image in listing.images))
    photos = identify(catalogue, images, config.limits, progress)
    catalogue.check_unchanged()

    def writer_for(known: Collection[str]) -> ArtefactWriter:
        settings = asdict(config) | {"rules": _RULES, "columns": dict(columns or {})}
        digest = digest_of_photos(*picture(chosen, photos), catalogue.left_out)
        return ArtefactWriter(
            store,
            Kind.CURATED,
            inputs={"catalogue": catalogue.digest, "photos": digest},
            config=settings | ({"known": sorted(known)} if known else {}),
        )

    done = writer_for(()).existing()
    if done and known and not plan_in(fetch(store, done, cache_dir, [REPORT]).path(REPORT)).suits(known):
        done = None
    if done is None and known:
        done = writer_for(known).existing()
    if done is not None:
        return done
    wanted: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if isinstance(photo_id := photos[image], str):
            wanted[photo_id].append(image)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="curate-", dir=cache_dir) as folder:
        with ShardWriter(Path(folder), config.shard_bytes) as shards:
            examined = examine(catalogue, wanted, config, shards, progress)
        catalogue.check_unchanged()
        photos |= examined.moved  # and the id of the snapshot follows
        judged = {
            image: examined.refused.get(photo, photo) if isinstance(photo, str) else photo
            for image, photo in photos.items()
        }
        pictured, without = picture(chosen, judged)
        snapshot = assemble(catalogue, config, known, pictured, examined, [*over_cap, *without])
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
                left_out.append(LeftOut(listing.line, listing.listing_id, "seller cap", detail, listing.rows))
        over = {row.listing_id for row in left_out}
        kept = [listing for listing in listings if listing.listing_id not in over]
    return kept, left_out


def _parquet(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd")
    data: bytes = out.getvalue().to_pybytes()
    return data
