"""`publish` and `rollback`: move the live ref, and say what is live."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike import publishing
from lookalike.cli.options import Json, Store, Workplace, open_workplace
from lookalike.cli.output import Output
from lookalike.storage import refs
from lookalike.storage.artefacts import Kind, Ref


def publish(
    index: Annotated[
        str | None, typer.Option(metavar="REF", help="Index snapshot; the newest by default.")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Make an index snapshot live, with the model release it was built for.

    Every file of both is verified first. Search processes that follow the live ref swap to it without
    failing a request. Publishing what is live already changes nothing.

    [dim]Example:[/dim] lookalike publish --index 9c41
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    show_live(out, publish_step(place, place.ref(Kind.INDEX, index)))


def rollback(store: Store = None, as_json: Json = False) -> None:
    """Return to what was live before. Done twice, it goes back two.

    [dim]Example:[/dim] lookalike rollback --store s3://shop/lookalike
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    live = publishing.roll_back(place.store, by=publishing.somebody(), cache_dir=place.cache_dir)
    show_live(out, live)


def publish_step(place: Workplace, index: Ref) -> refs.LiveRef:
    """Verify the index snapshot and its model release file by file, then move the live ref."""
    return publishing.publish_index(place.store, index, by=publishing.somebody(), cache_dir=place.cache_dir)


def show_live(out: Output, live: refs.LiveRef) -> None:
    record = live.live
    out.result(
        {"live": record.to_json()},
        f"[bold green]live[/bold green] #{record.sequence} ({record.action} by {record.by}, {record.at})\n"
        f"  model release  {record.release.id}\n  index snapshot {record.index.id}",
    )
