"""`curate`, `train`, `extract`, `index`, and `run`, which does them all and publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lookalike.cli.options import (
    Accept,
    Bounds,
    CatalogueUri,
    Columns,
    IndexSplits,
    Json,
    PhotoRoots,
    Recipe,
    Store,
    Threads,
    Workplace,
    open_workplace,
    parse_bounds,
    parse_columns,
    parse_names,
)
from lookalike.cli.output import Output
from lookalike.cli.publishing import publish_step, require_not_held
from lookalike.cli.showing import curated_words, show_curated, show_index, show_release
from lookalike.errors import SettingsError, unknown
from lookalike.settings import Launch
from lookalike.storage.artefacts import Kind, Ref, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lookalike.catalogue.curation import CurationConfig
    from lookalike.progress import Progress

MinCategory = Annotated[
    int,
    typer.Option(min=1, help="Photos a leaf category needs; smaller ones join their parent or are left out."),
]
SellerCap = Annotated[int, typer.Option(min=0, help="Listings kept per seller and category; 0 keeps all.")]
Shards = Annotated[
    int,
    typer.Option(
        min=0, max=999, help="Segments to spread each category over.", show_default="as the live index, or 1"
    ),
]
KeepSellers = Annotated[bool, typer.Option(help="Keep each seller's listings on one side of the splits.")]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="START",
        help="Start from a release (releases/...@...), from torchvision's published weights by name "
        "(ResNet50_Weights.IMAGENET1K_V2), or from a file.",
        show_default="from scratch",
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


def curate(
    catalogue: CatalogueUri,
    store: Store = None,
    column: Columns = None,
    photo_root: PhotoRoots = None,
    min_category: MinCategory = 10,
    seller_cap: SellerCap = 0,
    sellers_apart: KeepSellers = False,
    as_json: Json = False,
) -> None:
    """Check a catalogue and its photos: leave out what is broken, group duplicates, split.

    [dim]Example:[/dim] lookalike curate --catalogue listings.csv --column seller=sender_id
    """
    out, place = Output(as_json=as_json), open_workplace(store, photo_root)
    config = curation_config(min_category, seller_cap, sellers_apart)
    with out.progress() as progress:
        ref = curated_step(place, catalogue, parse_columns(column), config, progress)
    show_curated(out, place, ref)


def train(
    curated: Annotated[
        str | None, typer.Option(metavar="REF", help="Curated snapshot; the newest by default.")
    ] = None,
    recipe: Recipe = "small_cpu",
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
    out, place = Output(as_json=as_json), open_workplace(store)
    with out.progress() as progress:
        snapshot = place.ref(Kind.CURATED, curated)
        ref = trained_step(
            place, snapshot, recipe, threads, progress, weights=weights, compiled=compiled, decoding=decoding
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
    out, place = Output(as_json=as_json), open_workplace(store)
    with out.progress() as progress:
        ref = extracted_step(
            place, place.ref(Kind.CURATED, curated), place.ref(Kind.RELEASE, release), threads, progress
        )
    meta = read_manifest(place.store, ref).meta
    out.result({"extraction": str(ref), **meta}, f"{ref.kind}/{ref.id}: {meta['photos']:,} photos have codes")


def index(
    extraction: Annotated[
        str | None, typer.Option(metavar="REF", help="Extraction; the newest by default.")
    ] = None,
    shards: Shards = 0,
    index_splits: IndexSplits = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Build an index snapshot from the codes of an extraction.

    [dim]Example:[/dim] lookalike index --shards 4
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    with out.progress() as progress:
        ref = indexed_step(place, place.ref(Kind.EXTRACTION, extraction), shards, index_splits, progress)
    show_index(out, place, ref)


def run(
    catalogue: CatalogueUri,
    store: Store = None,
    recipe: Recipe = "small_cpu",
    column: Columns = None,
    photo_root: PhotoRoots = None,
    min_category: MinCategory = 10,
    seller_cap: SellerCap = 0,
    sellers_apart: KeepSellers = False,
    shards: Shards = 0,
    index_splits: IndexSplits = None,
    threads: Threads = 0,
    accept: Accept = False,
    bound: Bounds = None,
    as_json: Json = False,
) -> None:
    """All steps in order: curate, train, extract, index, publish. Finished steps are skipped.

    [dim]Example:[/dim] lookalike run --catalogue s3://shop/listings.parquet --store s3://shop/lookalike
    """
    out, place = Output(as_json=as_json), open_workplace(store, photo_root)
    config, bounds = curation_config(min_category, seller_cap, sellers_apart), parse_bounds(bound)
    with out.progress() as progress:
        refs = build_all(
            place, catalogue, parse_columns(column), config, recipe, shards, index_splits, threads, progress
        )
    publish_step(out, place, refs["index"], bounds, accept=accept)
    if not as_json:
        show_curated(out, place, refs["curated"])
        show_release(out, place, refs["release"])
        show_index(out, place, refs["index"])
    told = {name: str(ref) for name, ref in refs.items()}
    out.result(told | {"curation": curated_words(place, refs["curated"])[0]}, "[bold green]live[/bold green]")


def build_all(
    place: Workplace,
    catalogue: str,
    columns: Mapping[str, str],
    config: CurationConfig,
    recipe: str,
    shards: int,
    index_splits: str | None,
    threads: int,
    progress: Progress,
) -> dict[str, Ref]:
    """The whole way but for publishing, in order; the references of what was made or found."""
    require_not_held(place)
    curated = curated_step(place, catalogue, columns, config, progress)
    _check_splits(place, curated, index_splits)
    release = trained_step(place, curated, recipe, threads, progress)
    extraction = extracted_step(place, curated, release, threads, progress)
    built = indexed_step(place, extraction, shards, index_splits, progress)
    return {"curated": curated, "release": release, "extraction": extraction, "index": built}


def curation_config(min_category: int, seller_cap: int, sellers_apart: bool) -> CurationConfig:
    from lookalike.catalogue.curation import CurationConfig

    return CurationConfig(min_category=min_category, seller_cap=seller_cap, keep_sellers=sellers_apart)


def curated_step(
    place: Workplace, catalogue: str, columns: Mapping[str, str], config: CurationConfig, progress: Progress
) -> Ref:
    from lookalike.catalogue.curation import curate

    return curate(
        place.store,
        catalogue,
        config,
        columns=columns,
        photo_roots=place.settings.photo_roots,
        s3=place.s3,
        cache_dir=place.cache_dir,
        progress=progress,
    )


def trained_step(
    place: Workplace,
    curated: Ref,
    recipe: str,
    threads: int,
    progress: Progress,
    *,
    weights: str | None = None,
    compiled: bool = False,
    decoding: Literal["auto", "once", "always"] = "auto",
) -> Ref:
    from lookalike.learning.recipes import recipe_named
    from lookalike.learning.training import train

    return train(
        place.store,
        curated,
        recipe_named(recipe),
        cache_dir=place.cache_dir,
        weights=weights,
        threads=threads,
        compiled=compiled,
        decoding=decoding,
        progress=progress,
    )


def extracted_step(place: Workplace, curated: Ref, release: Ref, threads: int, progress: Progress) -> Ref:
    from lookalike.learning.extraction import extract

    return extract(
        place.store, curated, release, cache_dir=place.cache_dir, threads=threads, progress=progress
    )


def indexed_step(
    place: Workplace, extraction: Ref, shards: int, index_splits: str | None, progress: Progress
) -> Ref:
    from lookalike.index.builder import build
    from lookalike.publishing.publication import live_shards

    curated = Ref.parse(read_manifest(place.store, extraction).inputs["curated"])
    _check_splits(place, curated, index_splits)
    return build(
        place.store,
        curated,
        extraction,
        shards=shards or live_shards(place.store),
        splits=parse_names(index_splits),
        cache_dir=place.cache_dir,
        progress=progress,
    )


def _check_splits(place: Workplace, curated: Ref, index_splits: str | None) -> None:
    """A misspelt split beside a right one would leave its listings out of the index without a word."""
    asked = parse_names(index_splits)
    if not asked:
        return
    from lookalike.catalogue.snapshot import splits_of
    from lookalike.catalogue.splits import LEAK, TEST, TRAIN, VAL

    known = {TRAIN, VAL, TEST, LEAK, *splits_of(place.store, curated, place.cache_dir)}
    for name in sorted(asked - known):
        raise SettingsError(unknown("split", name, known))
