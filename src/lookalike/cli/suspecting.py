"""`suspects`: what a trained model finds odd about the listings it was trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lookalike import steps
from lookalike.cli.options import Json, Store, Threads, parse_names
from lookalike.cli.output import Output
from lookalike.errors import SettingsError
from lookalike.storage.artefacts import Kind
from lookalike.workplace import open_workplace


def suspects(
    extraction: Annotated[
        str | None, typer.Option(metavar="REF", help="Extraction; the newest by default.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The CSV to write.")] = Path("suspects.csv"),
    only: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Kinds to look for: label, odd photo, blurred, dark, copies.",
            show_default="all",
        ),
    ] = None,
    store: Store = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """List listings to look at: labels that photos contradict, odd, blurred and dark photos, copies.

    A label is judged by a model that saw neither the listing nor others of its product. Go through the CSV, put
    something into `keep` where a listing is fine, and give it to --exclude of curate, run or reindex.

    [dim]Example:[/dim] lookalike suspects --only label

    [dim]Example:[/dim] lookalike run --catalogue listings.csv --exclude suspects.csv
    """
    from lookalike.quality.suspects import KINDS, write_suspects

    out, place = Output(as_json=as_json), open_workplace(store, threads=threads)
    with out.progress() as progress:
        source = place.ref(Kind.EXTRACTION, extraction)
        found = steps.suspects(place, source, kinds=parse_names(only), progress=progress)
    try:
        write_suspects(output, found)
    except OSError as error:
        raise SettingsError(f"--output {output}: {error.strerror}") from error
    counts = Counter(suspect.kind for suspect in found)
    told = ", ".join(f"{kind} {counts[kind]:,}" for kind in KINDS if counts[kind]) or "nothing"
    lines = [f"[bold]{escape(str(output))}[/bold]: {told}"]
    lines += [
        f"  {escape(x.listing_id)}: says {escape(x.category)}, rather {escape(x.rather)} ({x.score:.2f})"
        for x in found[:5]
        if x.kind == KINDS[0]
    ]
    out.result({"extraction": str(source), "file": str(output), "found": dict(counts)}, "\n".join(lines))
