"""Curation: a shop's catalogue enters, a curated snapshot leaves, and a report of everything that was changed.

Way of a listing: read (`reading`), capped per seller, its photos found in the photo log or taken into it (`intake`),
judged (`examination`), held against each other (`copies`) and given to it (`pictures`), put in order with all others
(`assembly`), written (`snapshot`) and reported (`tally`, `report`). A snapshot holds tables alone; photos stay in the
packs that the log names. The result depends on the table, the photos' bytes and the configuration, and its id is a
digest of these, so running it again finds it done; a run that was killed leaves no snapshot, and what it has taken in
is found by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.catalogue.assembly import Assembled, assemble
from lookalike.catalogue.copies import find_copies, heads
from lookalike.catalogue.examination import Examined, examine, photos_of
from lookalike.catalogue.excluding import EXCLUDED
from lookalike.catalogue.exports import Layout
from lookalike.catalogue.facts import Facts, same_reason
from lookalike.catalogue.intake import take_in
from lookalike.catalogue.left_out import write_left_out
from lookalike.catalogue.listings import Catalogue, Losses
from lookalike.catalogue.packs import require_packs
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.photo_store import shard_name
from lookalike.catalogue.pictures import Named, digest_of_photos, picture
from lookalike.catalogue.plans import remove_plan
from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.report import Findings, plan_in, report_json
from lookalike.catalogue.report_page import refusal_page, report_page
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.shelf import GIB, Places, Shelf
from lookalike.catalogue.snapshot import LEFT_OUT, LISTING_PHOTOS, LISTINGS, PHOTOS, REPORT, REPORT_PAGE
from lookalike.catalogue.snapshot_tables import write_listing_photos, write_listings
from lookalike.errors import CatalogueError, NothingLeft, StorageError
from lookalike.progress import Progress, silent
from lookalike.settings import CatalogueSettings, S3Settings, load
from lookalike.storage import keys, sequence
from lookalike.storage.artefacts import (
    ArtefactWriter,
    FileEntry,
    Kind,
    Ref,
    digest_of,
    fetch,
    read_manifest,
)
from lookalike.storage.objects import ObjectStore
from lookalike.strict_json import plain

__all__ = ["CurationConfig", "curate"]

_RULES = 7
"""Raised when the same configuration begins to give another result, so that old snapshots are not taken for new."""
_READERS = 16
"""Photos for the report's page that are read at once."""


def curate(
    store: ObjectStore,
    catalogue_uri: str,
    config: CurationConfig | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    layout: Layout | None = None,
    excluded: Sequence[str] = (),
    known: Collection[str] = (),
    parent: Ref | None = None,
    s3: S3Settings | None = None,
    cache_dir: Path,
    progress: Progress = silent,
) -> Ref:
    """Curate the catalogue at `catalogue_uri` into `store`; packs are put together under `cache_dir`.

    `photo_roots` are folders and ``s3://bucket/prefix`` that photos may lie in, beside the catalogue's own folder or
    bucket. `excluded` are listings that the shop leaves out by hand; the snapshot keeps the list. `known` are the
    categories of the model release that will search the snapshot, none where one is to learn from it: they stay as
    they are (`plan_categories`). Where they would anyway, the snapshot is the one to learn from.
    Listings of the snapshot `parent` keep the split that they have there.

    Raises `CatalogueError` where too little is left to learn or the table changes while it and its photos are read,
    `SettingsError`, and the `StorageError`s of the store.
    """
    config = config or CurationConfig()
    layout = layout or Layout()
    with _losses_kept(store, catalogue_uri, cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        shelf = shelf_in(cache_dir)
        catalogue = read_catalogue(
            catalogue_uri,
            columns=columns,
            photo_roots=photo_roots,
            layout=layout,
            s3=s3,
            shelf=shelf,
        )
        spool, facts = catalogue.listings.spool, Facts.of(catalogue.listings, shelf)
        images, named, over_cap = asked_for(catalogue, facts, excluded, config, shelf)
        with (
            under_way(store) as note,
            tempfile.TemporaryDirectory(prefix="curate-", dir=cache_dir) as folder,
            contextlib.ExitStack() as ends,
        ):
            log = PhotoLog.open(store, cache_dir, config)
            taken = take_in(
                catalogue,
                images.images,
                log,
                config,
                folder=Path(folder),
                note=note,
                progress=progress,
            )
            if taken.plan:
                ends.enter_context(_finished(log, taken.plan))
            catalogue.check_unchanged()
            photo_ids = taken.photo_ids()
            pictured, without, lost = picture(spool, images, photos_of(taken, photo_ids, {}), shelf)
            digest = digest_of_photos(facts, pictured, photo_ids, without, lost, catalogue.left_out)

            def writer_for(known: Collection[str], sides: str) -> ArtefactWriter:
                settings = asdict(config) | {"rules": _RULES, "columns": dict(columns or {})}
                settings |= {"layout": said} if (said := layout.said()) else {}
                settings |= {"excluded": digest_of(list(excluded))} if excluded else {}
                return ArtefactWriter(
                    store,
                    Kind.CURATED,
                    inputs={"catalogue": catalogue.digest, "photos": digest}
                    | ({"sides": sides} if sides else {}),
                    config=settings | ({"known": sorted(known)} if known else {}),
                )

            done = None
            if parent is not None and _made_alike(store, parent, (writer_for((), ""), writer_for(known, ""))):
                done = parent
                sequence.make_newest(store, parent.kind, parent.id)
            elif parent is None:
                done = writer_for((), "").existing() or (writer_for(known, "").existing() if known else None)
            if done and known and not _knows(store, done, known, cache_dir):
                done = writer_for(known, "").existing() if parent is None else None
            if done is not None:
                return done
            examined = examine(log, photo_ids, config)
            if examined.refused:
                good = photos_of(taken, examined.photo_ids, examined.refused)
                pictured, without, lost = picture(spool, images, good, shelf)
            del images, taken
            same = _compared(log, examined, config, note, progress).astype(np.int32)
            gone = Losses.together([named, over_cap, without])
            before = None if parent is None else _splits_in(store, parent, cache_dir)
            snapshot = assemble(
                catalogue,
                facts,
                config,
                known,
                pictured,
                examined,
                gone,
                lost,
                before,
                same,
                log.looks,
                shelf,
            )
            del facts, pictured
            writer = writer_for(snapshot.known, snapshot.sides)
            if (done := writer.existing()) is not None:
                return done
            report = report_json(snapshot.findings)
            page = _page(store, snapshot.findings, report, examined, log)
            return _write(writer, snapshot, report, page, Path(folder), excluded, progress)


def shelf_in(cache_dir: Path) -> Shelf:
    """For the columns of a curation, by its limit of memory."""
    return Shelf(cache_dir, int(load(CatalogueSettings).curation_gib * GIB))


def asked_for(
    catalogue: Catalogue, facts: Facts, excluded: Collection[str], config: CurationConfig, shelf: Shelf
) -> tuple[Named, Losses, Losses]:
    """The photos that are asked for; listings that are excluded by hand, and those beyond a cap."""
    wanted, away = _without(catalogue, facts, excluded)
    chosen, over_cap = _capped(catalogue, facts, wanted, config.seller_cap)
    return Named.by(catalogue.listings.spool, chosen, shelf), away, over_cap


@contextmanager
def _finished(log: PhotoLog, plan: str) -> Iterator[None]:
    """A plan goes with the end of its curation, unless that fails: then the next one goes on by it."""
    yield
    remove_plan(log, plan)


def _compared(
    log: PhotoLog, examined: Examined, config: CurationConfig, alive: Callable[[], None], progress: Progress
) -> NDArray[np.int64]:
    """For each good photo the first that shows the same picture."""
    photo_ids = examined.photo_ids
    if not config.find_copies:
        return np.arange(len(photo_ids))

    def read(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return log.prints.read(photo_ids.take(pa.array(rows)))

    def tell(stage: str, done: int, total: int, note: str = "") -> None:
        if done == total // 2:
            alive()
        progress(stage, done, total, note)

    ids = heads(photo_ids)
    return find_copies(ids, log.prints.sketches(photo_ids), read, log.verdicts(ids), tell)


def _splits_in(store: ObjectStore, ref: Ref, cache_dir: Path) -> Iterator[pa.RecordBatch]:
    """Columns listing_id and split of a curated snapshot, in the order of ids."""
    path = fetch(store, ref, cache_dir, [LISTINGS]).path(LISTINGS)
    yield from pq.ParquetFile(path).iter_batches(columns=["listing_id", "split"])


def _made_alike(store: ObjectStore, ref: Ref, writers: Sequence[ArtefactWriter]) -> bool:
    """Whether a snapshot was made as one of `writers` would, so that keeping its splits gives itself."""
    manifest = read_manifest(store, ref)
    inputs = {name: value for name, value in manifest.inputs.items() if name != "sides"}
    return any(inputs == writer.inputs and manifest.config == plain(writer.config) for writer in writers)


def _knows(store: ObjectStore, ref: Ref, known: Collection[str], cache_dir: Path) -> bool:
    """Whether a model that knows these categories can search a snapshot as it is."""
    kept = read_manifest(store, ref).config.get("known")
    if kept is not None:
        return bool(kept == sorted(known))
    return plan_in(fetch(store, ref, cache_dir, [REPORT]).path(REPORT)).suits(known)


def _write(
    writer: ArtefactWriter,
    snapshot: Assembled,
    report: bytes,
    page: bytes,
    folder: Path,
    excluded: Sequence[str],
    progress: Progress,
) -> Ref:
    """Store the tables, put together in `folder`, beside the packs that they refer to. Raises `ObjectNotFound` where
    one of these has gone."""
    for number, pack in enumerate(snapshot.packs):
        writer.refer(FileEntry(shard_name(number), pack.key, pack.size, pack.sha256))
    findings = snapshot.findings
    files: dict[str, Callable[[Path], object]] = {
        LISTINGS: lambda path: write_listings(path, snapshot),
        LISTING_PHOTOS: lambda path: write_listing_photos(path, snapshot),
        PHOTOS: lambda path: pq.write_table(snapshot.photos, path, compression="zstd"),
        REPORT: lambda path: path.write_bytes(report),
        REPORT_PAGE: lambda path: path.write_bytes(page),
    }
    if excluded:
        said = "".join(f"{listing_id}\n" for listing_id in excluded)
        files[EXCLUDED] = lambda path: path.write_bytes(said.encode())
    files[LEFT_OUT] = lambda path: write_left_out(path, findings.left_out, findings.lost)
    for done, (name, write) in enumerate(files.items(), 1):
        write(folder / name)
        writer.add(name, folder / name, give=True)
        progress("write snapshot", done, len(files))
    require_packs(writer.store, snapshot.packs)
    return writer.commit(snapshot.meta)


@contextmanager
def _losses_kept(store: ObjectStore, catalogue: str, cache_dir: Path) -> Iterator[None]:
    """Where nothing is left, all rows with their reasons are stored nevertheless, and the error says where."""
    try:
        yield
    except NothingLeft as error:
        cache_dir.mkdir(parents=True, exist_ok=True)
        key = keys.refused(catalogue)
        with tempfile.TemporaryDirectory(prefix="refused-", dir=cache_dir) as folder:
            path = Path(folder) / LEFT_OUT
            write_left_out(path, error.left_out)
            store.upload(key, path, give=True)
        store.put(keys.refused_page(catalogue), refusal_page(str(error), error.left_out))
        page = keys.refused_page(catalogue)
        report = store.local_path(page) or f"{store.uri}/{page}"
        place = store.local_path(key) or f"{store.uri}/{key}"
        message = f"{error}; report: {report}; all {len(error.left_out):,} with their reasons: {place}"
        raise CatalogueError(message) from error


@contextmanager
def under_way(store: ObjectStore) -> Iterator[Callable[[], None]]:
    """While a curation is under way retention removes no pack. What is yielded says that it still is."""
    key = keys.curating(uuid.uuid4().hex)

    def note() -> None:
        store.put(key, b"{}")

    note()
    try:
        yield note
    finally:
        with contextlib.suppress(StorageError):  # one that stays is removed once it is old
            store.delete(key)


def _page(store: ObjectStore, findings: Findings, report: bytes, examined: Examined, log: PhotoLog) -> bytes:
    """The report's page. It is made once to know its photos, and again with these, which are read side by side."""
    refused: dict[str, list[str]] = defaultdict(list)
    for photo_id, refusal in examined.refused.items():
        refused[refusal.reason].append(photo_id)
    asked: dict[str, bytes] = {}

    def ask(photo_id: str) -> bytes:
        return asked.setdefault(photo_id, b"")

    report_page(findings, report, refused, ask)
    ids = list(asked)
    places = log.photos.select(["pack", "offset", "length"]).take(log.rows_of(ids)).to_pylist()

    def read(place: Mapping[str, Any]) -> bytes:
        if place["pack"] is None:
            return b""
        return store.get(place["pack"], start=place["offset"], length=place["length"])

    with ThreadPoolExecutor(_READERS) as pool:
        asked = dict(zip(ids, pool.map(read, places), strict=True))
    return report_page(findings, report, refused, asked.__getitem__)


def _without(catalogue: Catalogue, facts: Facts, excluded: Collection[str]) -> tuple[Places, Losses]:
    """Places of listings that nobody excludes, and the others."""
    asked = pc.is_in(facts.listing_ids.values, pa.array(sorted(excluded), pa.string()))
    away = np.zeros(len(facts.order), bool)
    away[facts.order[asked.to_numpy(zero_copy_only=False)]] = True
    detail = "the list of excluded listings names it"
    gone = same_reason(catalogue, np.flatnonzero(away), "excluded", detail)
    return np.flatnonzero(~away).astype(np.int32), gone


def _capped(catalogue: Catalogue, facts: Facts, rows: Places, cap: int) -> tuple[Places, Losses]:
    """At most `cap` listings of a seller in a category: those whose ids have the lowest SHA-256."""
    over = np.zeros(len(facts.category), bool)
    sold = rows[facts.seller.codes[rows] >= 0] if cap else rows[:0]
    numbers = (
        facts.seller.codes[sold].astype(np.int64) * len(facts.category.values) + facts.category.codes[sold]
    )
    order = np.argsort(numbers, kind="stable")
    for shelf in np.split(sold[order], np.flatnonzero(np.diff(numbers[order])) + 1):
        if len(shelf) > cap:
            ids = facts.ids(shelf).to_pylist()
            digests = [hashlib.sha256(listing_id.encode()).digest() for listing_id in ids]
            over[shelf[sorted(range(len(shelf)), key=digests.__getitem__)[cap:]]] = True
    gone = np.flatnonzero(over)
    seller, category = facts.seller.take(gone).texts(), facts.category.take(gone).texts()
    between = f" has more than {cap} listings in "
    detail = pc.binary_join_element_wise("seller ", seller, between, category, "")
    return rows[~over[rows]], same_reason(catalogue, gone, "seller cap", detail)
