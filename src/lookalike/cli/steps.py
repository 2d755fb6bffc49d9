"""`curate`, `train`, `extract`, `index`, `run`, which does them all and publishes, and `reindex`, by difference."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lookalike import reindexing, starts, steps
from lookalike.catalogue.rules import CurationConfig
from lookalike.cli.options import (
    Accept,
    Bounds,
    CatalogueUri,
    Columns,
    Exclude,
    IndexPhotos,
    IndexSplits,
    Json,
    PhotoRoots,
    PhotosIn,
    Preset,
    Query,
    Recipe,
    Store,
    Threads,
    Weights,
    parse_bounds,
    parse_columns,
    parse_names,
    parse_photos,
    parse_query,
    with_curation,
)
from lookalike.cli.output import Output
from lookalike.cli.previewing import show_preview
from lookalike.cli.showing import (
    passed_data_gate,
    show_curated,
    show_index,
    show_live,
    show_release,
    show_run,
)
from lookalike.publishing import publication
from lookalike.settings import FlowSettings, Launch, load
from lookalike.storage.artefacts import Kind, read_manifest
from lookalike.workplace import open_workplace

Shards = Annotated[
    int,
    typer.Option(
        min=0, max=999, help="Segments to spread each category over.", show_default="as the live index, or 1"
    ),
]
Decode = Annotated[
    Literal["auto", "once", "always"],
    typer.Option(
        "--decode",
        help="Decode photos once into a file on disk, or always, for every epoch anew; auto: once if it fits.",
    ),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Train by torch.compile: worth its minutes for long runs on a GPU."),
]


_AS_IT_IS = CurationConfig()
"""In place of what `with_curation` makes of options and settings."""


@with_curation
def curate(
    catalogue: CatalogueUri,
    store: Store = None,
    preset: Preset = None,
    column: Columns = None,
    photos: PhotosIn = None,
    photo_root: PhotoRoots = None,
    parent: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="The curated snapshot whose splits listings keep; none: draw all anew.",
            show_default="that of the live index",
        ),
    ] = None,
    query: Query = None,
    exclude: Exclude = None,
    curation: CurationConfig = _AS_IT_IS,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show the first rows as they are understood; read no photo."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a catalogue and its photos: leave out what is broken, group duplicates, split.

    [dim]Example:[/dim] lookalike curate --catalogue listings.csv --column seller=sender_id

    [dim]Example:[/dim] lookalike curate --catalogue products_export.csv --dry-run
    """
    out = Output(as_json=as_json)
    place = open_workplace(
        store, photo_root, preset=preset, photos=photos, query=parse_query(query), exclude=exclude
    )
    if dry_run:
        show_preview(out, steps.preview(place, catalogue, columns=parse_columns(column)), steps.PREVIEWED)
        return
    with out.progress() as progress:
        ref = steps.curate(
            place,
            catalogue,
            curation,
            columns=parse_columns(column),
            parent="live"
            if parent is None
            else "none"
            if parent == "none"
            else place.ref(Kind.CURATED, parent),
            progress=progress,
        )
    show_curated(out, place, ref)


def train(
    curated: Annotated[
        str | None, typer.Option(metavar="REF", help="Curated snapshot; the newest by default.")
    ] = None,
    recipe: Recipe = "",
    weights: Weights = None,
    compiled: Compile = False,
    decoding: Decode = "auto",
    store: Store = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Train the network on a curated snapshot: category head first, then the hash head.

    Stopped by SIGTERM (exit code 143) or killed at any moment, the same command goes on from the last checkpoint.
    Started by torchrun, it trains on several GPUs and machines.

    [dim]Example:[/dim] lookalike train --recipe ebay_resnet50

    [dim]Example:[/dim] torchrun --standalone --nproc-per-node gpu -m lookalike train --recipe ebay_resnet50
    """
    out, place = Output(as_json=as_json), open_workplace(store, threads=threads)
    with out.progress() as progress:
        start = load(FlowSettings, weights=weights).weights
        starts.check_weights(place, start, recipe)
        snapshot = place.ref(Kind.CURATED, curated)
        ref = steps.train(
            place,
            snapshot,
            recipe,
            weights=start,
            compiled=compiled,
            decoding=decoding,
            told=out.note,
            progress=progress,
        )
    if Launch().rank == 0:
        show_release(out, place, ref)


def extract(
    curated: Annotated[
        str | None, typer.Option(metavar="REF", help="Curated snapshot; the newest by default.")
    ] = None,
    release: Annotated[
        str | None, typer.Option(metavar="REF", help="Model release; the newest by default.")
    ] = None,
    store: Store = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Turn every photo that has no code yet into one, with a model release.

    [dim]Example:[/dim] lookalike extract --release 3f2a
    """
    out, place = Output(as_json=as_json), open_workplace(store, threads=threads)
    with out.progress() as progress:
        snapshot, by = place.ref(Kind.CURATED, curated), place.ref(Kind.RELEASE, release)
        ref = steps.extract(place, snapshot, by, progress=progress)
    meta = read_manifest(place.store, ref).meta
    out.result({"extraction": str(ref), **meta}, f"{ref.kind}/{ref.id}: {meta['photos']:,} photos have codes")


def index(
    extraction: Annotated[
        str | None, typer.Option(metavar="REF", help="Extraction; the newest by default.")
    ] = None,
    shards: Shards = 0,
    index_splits: IndexSplits = None,
    index_photos: IndexPhotos = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Build an index snapshot from the codes of an extraction.

    [dim]Example:[/dim] lookalike index --shards 4
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    with out.progress() as progress:
        source, splits = place.ref(Kind.EXTRACTION, extraction), parse_names(index_splits)
        photos = parse_photos(index_photos)
        ref = steps.index(place, source, shards=shards, splits=splits, photos=photos, progress=progress)
    show_index(out, place, ref)


@with_curation
def run(
    catalogue: CatalogueUri,
    store: Store = None,
    recipe: Recipe = "",
    weights: Weights = None,
    preset: Preset = None,
    column: Columns = None,
    photos: PhotosIn = None,
    photo_root: PhotoRoots = None,
    query: Query = None,
    exclude: Exclude = None,
    curation: CurationConfig = _AS_IT_IS,
    shards: Shards = 0,
    index_splits: IndexSplits = None,
    index_photos: IndexPhotos = None,
    threads: Threads = 0,
    accept: Accept = False,
    bound: Bounds = None,
    as_json: Json = False,
) -> None:
    """All steps in order: curate, train, extract, index, publish. Finished steps are skipped.

    [dim]Example:[/dim] lookalike run --catalogue s3://shop/listings.parquet --store s3://shop/lookalike
    """
    out = Output(as_json=as_json)
    place = open_workplace(
        store,
        photo_root,
        preset=preset,
        photos=photos,
        query=parse_query(query),
        exclude=exclude,
        threads=threads,
    )
    bounds = parse_bounds(bound)
    with out.progress() as progress:
        refs = steps.build_all(
            place,
            catalogue,
            curation,
            recipe,
            weights=load(FlowSettings, weights=weights).weights,
            columns=parse_columns(column),
            shards=shards,
            splits=parse_names(index_splits),
            photos=parse_photos(index_photos),
            told=out.note,
            progress=progress,
        )
    told = passed_data_gate(out, accept=accept)
    steps.publish(place, refs["index"], bounds=bounds, accept=accept, told=told)
    show_run(out, place, refs, store)


def reindex(
    catalogue: CatalogueUri,
    base: Annotated[
        bool, typer.Option("--base", help="Build the index anew, however little has changed.")
    ] = False,
    store: Store = None,
    photo_root: PhotoRoots = None,
    exclude: Exclude = None,
    shards: Shards = 0,
    threads: Threads = 0,
    accept: Accept = False,
    bound: Bounds = None,
    as_json: Json = False,
) -> None:
    """Bring what is live up to the current catalogue, with the live model release, and publish it.

    Where little has changed a delta is published, which costs what changed; where nothing has, nothing is. The export
    is read as the live snapshot was: preset, folder of photos, query, columns, rules, excluded listings.

    [dim]Example:[/dim] lookalike reindex --catalogue s3://shop/listings.parquet --store s3://shop/lookalike
    """
    out, place = Output(as_json=as_json), open_workplace(store, photo_root, exclude=exclude, threads=threads)
    bounds, before = parse_bounds(bound), publication.published(place.store).live
    with out.progress() as progress:
        made = reindexing.reindex(
            place, catalogue, shards=shards, base=base, told=out.note, progress=progress
        )
        live = steps.publish(
            place,
            made.ref,
            replaces=before.release,
            bounds=bounds,
            accept=accept,
            told=passed_data_gate(out, accept=accept),
            progress=progress,
        )
    if as_json:
        out.result({"made": made.made, "why": made.why, "live": live.live.to_json()}, "")
    else:
        show_live(out, live)
