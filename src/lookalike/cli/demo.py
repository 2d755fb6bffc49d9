"""`demo`: the main job on a generated catalogue, from nothing to a search answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli import searching, steps
from lookalike.cli.options import Json, open_workplace
from lookalike.cli.output import Output


def demo(
    directory: Annotated[Path, typer.Option(help="Where catalogue, store and pictures go.")] = Path(".demo"),
    once: Annotated[
        bool, typer.Option("--once", help="End after the answer instead of serving the page.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page and the API.")] = 8000,
    as_json: Json = False,
) -> None:
    """Generate a catalogue, learn it, index it, answer a query photo, and serve the search page.

    Takes a few minutes on two cores; done again, it goes on where it was.

    [dim]Example:[/dim] lookalike demo --once
    """
    from lookalike.catalogue.sample import write_sample
    from lookalike.ranking.request import SearchRequest

    began = time.monotonic()
    out, place = Output(as_json=as_json), open_workplace(str(directory / "store"))
    with out.progress() as progress:
        sample = write_sample(directory / "catalogue", progress=progress)
        refs = steps.run_all(
            place,
            str(sample.catalogue),
            {},
            steps.curation_config(min_category=20, seller_cap=0, sellers_apart=False),
            "demo",
            1,
            None,
            0,
            progress,
        )
    steps.show_curated(out, place, refs["curated"]) if not as_json else None
    quiet = Output(as_json=False) if not as_json else out
    page = directory / "quality.html"
    report = searching.evaluate_live(quiet, place, str(sample.queries), page=page)
    photo = next(iter(sorted((sample.queries.parent).rglob("*.jpg"))))
    data, live = photo.read_bytes(), searching.live_record(place)
    answer = searching.answer_photo(place, live, data, SearchRequest(k=10), None, 0)
    sheet = directory / "answer.png"
    searching.write_sheet(place, live, data, answer, sheet)
    seconds = time.monotonic() - began
    if as_json:
        out.result(
            {"seconds": seconds, "report": report, "answer": {"hits": [h.listing_id for h in answer.hits]}}
        )
    else:
        searching.show_report(out, report)
        out.stdout.print(f"\n[bold]{photo}[/bold] looks like:")
        searching.show_answer(out, answer)
        out.stdout.print(
            f"\ndone in {seconds:.0f} s\n  the hits as a picture  {sheet}\n  quality, query by query {page}"
        )
    if not once:
        out.note(f"[bold]the search page:[/bold] http://127.0.0.1:{port}  (Ctrl-C ends)")
        searching.serve(host="127.0.0.1", port=port, index=None, store=place.store.uri, threads=0)
