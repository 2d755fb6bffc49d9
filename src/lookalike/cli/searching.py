"""`search`, `serve` and `evaluate`: what the live snapshot answers, and how well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.api import Shop
from lookalike.cli.answers import show_answer, write_sheet
from lookalike.cli.options import (
    CatalogueUri,
    Columns,
    Json,
    PhotoRoots,
    ProbePort,
    Store,
    Threads,
    parse_columns,
)
from lookalike.cli.output import Output
from lookalike.cli.queries import read_query
from lookalike.cli.search_options import with_search
from lookalike.cli.showing import hit_photos, show_clicks, show_report
from lookalike.errors import QueryError
from lookalike.ranking.asked import SearchParameters
from lookalike.settings import load
from lookalike.workplace import open_workplace


@with_search
def search(
    asked: SearchParameters,
    photo: Annotated[
        str | None,
        typer.Argument(
            help="A photo's file, its http(s) address, or - for standard input.", show_default=False
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write the query and its hits as a picture (PNG).")
    ] = None,
    store: Store = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Find the listings that look like a photo, or like a listing.

    Options are the parameters of a search endpoint, by the same rules (docs/api.md).

    Repeat a filter for several values; [bold]--facets[/bold] says what there is to filter by.

    [dim]Example:[/dim] lookalike search photo.jpg --sheet hits.png

    [dim]Example:[/dim] lookalike search photo.jpg --facets --show colour

    [dim]Example:[/dim] lookalike search --listing A17 --aspect colour=red --aspect-not brand=Acme --price ..50

    [dim]Example:[/dim] lookalike search photo.jpg --range size=40..42.5 --seller North --sort price

    [dim]Example:[/dim] lookalike search photo.jpg --text "this in red, for kids"
    """
    out, shop = Output(as_json=as_json), Shop(open_workplace(store, threads=threads))
    if asked.listing_id is not None and (photo is not None or asked.box is not None):
        raise QueryError("--listing searches with the listing's own photo: give no other photo and no --box")
    data = None if asked.listing_id is not None else read_query(photo)
    found = shop.search_asked(data, asked)
    show_answer(out, found)
    if sheet is not None:
        write_sheet([(data, found)], sheet)
        out.note(f"wrote {sheet}")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    probe_port: ProbePort = None,
    connections_per_address: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Open connections of one client address; 0: no limit, as behind a proxy or an ingress, where all "
            "clients have one address.",
            envvar="LOOKALIKE_CONNECTIONS_PER_ADDRESS",
            show_default="100",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Serve exactly this index snapshot instead of following the live ref.",
            envvar="LOOKALIKE_INDEX",  # a pod's template names it; see k8s/base/search
        ),
    ] = None,
    rankers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Hold no index; let these rankers scan theirs (`lookalike rank`). Every address of a name is one.",
            envvar="LOOKALIKE_RANKERS",
        ),
    ] = None,
    bare: Annotated[
        bool | None,
        typer.Option(
            "--bare",
            help="Do not keep where photos are (60 bytes each): show no pictures.",
            envvar="LOOKALIKE_BARE",
            show_default="kept",
        ),
    ] = None,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            help="Ask for an API key of this file (`lookalike keys`).", envvar="LOOKALIKE_KEYS_FILE"
        ),
    ] = None,
    public: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="What needs no key where others do: page, photos, search, or none.",
            show_default="photos",
        ),
    ] = None,
    store: Store = None,
    threads: Threads = 0,
) -> None:
    """Serve the search page and the HTTP API, following the live ref.

    Everything else about it stands in the tables serving and ranking of lookalike.toml (docs/settings.md).

    [dim]Example:[/dim] lookalike serve --store s3://shop/lookalike --host 0.0.0.0

    [dim]Example:[/dim] lookalike --set ranking.blend=0.5 serve
    """
    from lookalike import serving
    from lookalike.sharding.fleet import FleetConfig

    place = open_workplace(store, threads=threads)
    fleet = load(FleetConfig, urls=tuple(rankers) if rankers else None)
    pinned = None if index is None else serving.index_named(place.store, index)
    config = load(
        serving.ServingConfig,
        index=pinned,
        rankers=fleet if fleet.urls else None,
        access=load(serving.AccessConfig, keys_file=keys_file, public=public_parts(public)),
        bare=bare,
        connections_per_address=connections_per_address,
    )
    serving.require_free(host, port)
    if (out := Output()).stderr.is_terminal:
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
        out.note(f"open [bold]http://{shown}:{port}[/bold]  (Ctrl-C ends)")
    serving.run(
        store=place.store.uri,
        host=host,
        port=port,
        probe_port=probe_port,
        threads=place.threads,
        cache_dir=place.cache_dir,
        config=config,
    )


def public_parts(text: str | None) -> tuple[str, ...] | None:
    """``"photos,search"`` as its names, ``"none"`` as no name; None for None."""
    if text is None:
        return None
    return () if text.strip() == "none" else tuple(filter(None, map(str.strip, text.split(","))))


def evaluate(
    catalogue: CatalogueUri = "",
    events: Annotated[
        bool,
        typer.Option(
            "--events", help="Report click-through of the events in the store instead: by rank, by blend."
        ),
    ] = False,
    split: Annotated[str | None, typer.Option(help="Use only the listings of this split as queries.")] = None,
    store: Store = None,
    column: Columns = None,
    photo_root: PhotoRoots = None,
    ablate: Annotated[bool, typer.Option(help="Also measure what each part of the ranking gains.")] = False,
    page: Annotated[
        Path | None, typer.Option(help="Write the numbers, confusions and worst queries as HTML.")
    ] = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Score a labelled catalogue as queries against the live snapshot.

    [dim]Example:[/dim] lookalike evaluate --catalogue queries.csv --page quality.html

    [dim]Example:[/dim] lookalike evaluate --events
    """
    out, place = Output(as_json=as_json), open_workplace(store, photo_root, threads=threads)
    if events:
        from lookalike.quality.events import report as clicks

        show_clicks(out, clicks(place.store))
        return
    if not catalogue:
        raise QueryError("evaluate: give a labelled catalogue with --catalogue, or --events")
    report = evaluate_live(
        out,
        Shop(place),
        catalogue,
        split=split,
        columns=parse_columns(column),
        ablate=ablate,
        page=page,
    )
    show_report(out, report)


def evaluate_live(
    out: Output,
    shop: Shop,
    catalogue: str,
    *,
    split: str | None = None,
    columns: dict[str, str] | None = None,
    ablate: bool = False,
    page: Path | None = None,
) -> dict[str, Any]:
    """The evaluation report of what is live, with its page written where one is asked for."""
    evaluation = shop.evaluate(catalogue, split=split, columns=columns, ablate=ablate)
    if page is not None:
        from lookalike.quality.page import render

        page.write_text(render(evaluation, hit_photos(shop.place, shop.live.tip)))
        out.note(f"wrote {page}")
    return evaluation.report
