"""`search`, `serve` and `evaluate`: what the live snapshot answers, and how well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.api import Shop
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
from lookalike.cli.showing import hit_photos, show_answer, show_clicks, show_report, write_sheet
from lookalike.errors import QueryError
from lookalike.settings import load
from lookalike.workplace import open_workplace

Box = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,W,H",
        help="Part of the photo to search with, as fractions of its size; a tenth is added on each side.",
    ),
]


def search(
    photo: Annotated[
        str | None,
        typer.Argument(
            help="A photo's file, its http(s) address, or - for standard input.", show_default=False
        ),
    ] = None,
    listing: Annotated[
        str | None, typer.Option(metavar="ID", help="Search with the photo of this listing instead.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="Hits to answer.")] = 12,
    category: Annotated[
        list[str] | None,
        typer.Option(help="Search in this category, or all below a path, instead of the predicted ones."),
    ] = None,
    aspect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Only listings that state it. One name repeated: either value; several names: all of them.",
        ),
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="A..B", help="Only listings of this price, ends included.")
    ] = None,
    box: Box = None,
    text: Annotated[
        str,
        typer.Option(
            metavar="WORDS",
            help='Words beside the photo, such as "in red": what fulfils them comes first. Not: filters.',
            show_default=False,
        ),
    ] = "",
    alpha: Annotated[
        float | None, typer.Option(min=0, max=1, help="Weight of appearance against aspects.")
    ] = None,
    colour: Annotated[
        float | None, typer.Option(min=0, max=16, help="How many times colours count; 0 leaves them out.")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="Search all categories; every third hit by look alone, whatever it is."
        ),
    ] = False,
    least_likeness: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Likeness below which nothing is said to look like the photo: the share of the shop's own photos "
            "that would be told so; 0: never.",
            show_default="0.05",
        ),
    ] = None,
    every_photo: Annotated[
        bool,
        typer.Option(
            "--every-photo", help="With --listing: near to any of its photos, not the main one alone."
        ),
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write the query and its hits as a picture (PNG).")
    ] = None,
    store: Store = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Find the listings that look like a photo, or like a listing.

    [dim]Example:[/dim] lookalike search photo.jpg --sheet hits.png

    [dim]Example:[/dim] lookalike search --listing A17 --aspect colour=red

    [dim]Example:[/dim] lookalike search photo.jpg --text "this in red, for kids"
    """
    from lookalike.ranking.filters import Filters
    from lookalike.ranking.parameters import parse_aspects, parse_box, parse_price
    from lookalike.ranking.request import SearchRequest

    out, shop = Output(as_json=as_json), Shop(open_workplace(store, threads=threads))
    filters = Filters(parse_aspects(aspect or ()), *(parse_price(price) if price else ()))
    part = None if box is None else parse_box(box)
    request = SearchRequest(
        k=k,
        categories=tuple(category or ()),
        everything=everything,
        filters=filters,
        text=text,
        blend=alpha,
        colour=colour,
        least_likeness=least_likeness,
        every_photo=every_photo,
    )
    data = None
    if listing is None:
        data = read_query(photo)
        (found,) = shop.search_all([data], request, box=part)
    elif photo is None and part is None:
        found = shop.search_like(listing, request)
    else:
        raise QueryError("--listing searches with the listing's own photo: give no other photo and no --box")
    show_answer(out, found.answer)
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
