"""`publish`, `rollback` and `resume`: move the live ref, hold and go on, and say what is live."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from lookalike import steps
from lookalike.cli.options import Accept, Bounds, Json, Store, parse_bounds
from lookalike.cli.output import Output
from lookalike.cli.showing import passed_data_gate, show_live
from lookalike.errors import SettingsError
from lookalike.publishing import publication
from lookalike.storage import audit
from lookalike.storage.artefacts import Kind
from lookalike.workplace import open_workplace


def publish(
    index: Annotated[
        str | None, typer.Option(metavar="REF", help="Index snapshot; the newest by default.")
    ] = None,
    rejected: Annotated[
        bool,
        typer.Option("--rejected", help="Publish it although a roll-back rejected it or its model release."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="End the hold of a roll-back, once this is live.")
    ] = False,
    accept: Accept = False,
    bound: Bounds = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Make an index snapshot live, with the model release it was built for.

    It must not fall behind the live one by more than the data gate's bounds, and every file of both is read at the
    store first. Search processes that follow the live ref swap to it without failing a request. Publishing what is
    live already changes nothing. While a roll-back holds publishing, the index
    must be named, and the hold stays.

    [dim]Example:[/dim] lookalike publish --index 9c41
    """
    out, place, bounds = Output(as_json=as_json), open_workplace(store), parse_bounds(bound)
    if rejected and index is None:
        raise SettingsError("--rejected: name the index snapshot with --index")
    ref = place.index(index)
    with out.progress() as progress:
        move = partial(
            steps.publish,
            place,
            ref,
            bounds=bounds,
            accept=accept,
            told=passed_data_gate(out, accept=accept),
            attended=index is not None,
            rejected_too=rejected,
            progress=progress,
        )
        if rejected or resume:
            detail = {"index": str(ref), "rejected": rejected, "resume": resume}
            with audit.recorded(place.store, by=publication.somebody(), action="publish", detail=detail):
                live = move()
                if resume:
                    live = publication.resume(place.store)
        else:
            live = move()
    show_live(out, live)


def rollback(
    model: Annotated[
        bool, typer.Option("--model", help="Return to the model release before the live one.")
    ] = False,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, kept with the hold.")] = "",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Return to what was live before, and hold publishing until `lookalike resume`. Done twice, it goes back two.

    What was left is rejected: no scheduled run publishes it again. With --model the way leads to the release before the
    live one, with the newest of its indexes that is whole, however many re-indexes there were since.

    [dim]Example:[/dim] lookalike rollback --model --why "sandals are taken for boots"
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    publication.published(place.store)
    by, detail = publication.somebody(), {"model": model, "why": why}
    with audit.recorded(place.store, by=by, action="rollback", detail=detail), out.progress() as progress:
        live = publication.roll_back(
            place.store, by=by, cache_dir=place.cache_dir, model=model, why=why, progress=progress
        )
    show_live(out, live)
    out.note(publication.what_next(place.store, live))


def resume(store: Store = None, as_json: Json = False) -> None:
    """End the hold of a roll-back: scheduled runs publish again, save what was rejected.

    [dim]Example:[/dim] lookalike resume --store s3://shop/lookalike
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    publication.published(place.store)
    with audit.recorded(place.store, by=publication.somebody(), action="resume", detail={}):
        live = publication.resume(place.store)
    show_live(out, live)


def repair(
    index: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="The index snapshot to be live.",
            show_default="the last whole one that it names",
        ),
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Replace a live ref that cannot be read. Its bytes are kept, and publishing is held until `lookalike resume`.

    One that can be read is left alone. Where a search Deployment serves another index, `lookalike publish --index`
    rolls it to this one.

    [dim]Example:[/dim] lookalike repair --index 9c41
    """
    from lookalike.publishing.repair import repair as replace_damaged

    out, place = Output(as_json=as_json), open_workplace(store)
    ref, by = None if index is None else place.ref(Kind.INDEX, index), publication.somebody()
    with (
        audit.recorded(place.store, by=by, action="repair", detail={"index": str(ref or "")}),
        out.progress() as progress,
    ):
        live = replace_damaged(place.store, ref, by=by, progress=progress)
    show_live(out, live)
