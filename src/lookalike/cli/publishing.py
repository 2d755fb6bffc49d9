"""`publish` and `rollback`: move the live ref, and say what is live."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from lookalike.cli.options import Json, Store, Workplace, open_workplace
from lookalike.cli.output import Output
from lookalike.errors import SettingsError
from lookalike.storage import refs
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest


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
    live = refs.read_live(place.store)
    if live is None:
        raise SettingsError(
            f"{place.store.uri}: nothing has been published, so there is nothing to roll back"
        )
    show_live(out, refs.roll_back(place.store, by=_somebody(), expected=live))


def publish_step(place: Workplace, index: Ref) -> refs.LiveRef:
    """Verify the index snapshot and its model release file by file, then move the live ref."""
    expected = refs.read_live(place.store)
    release = Ref.parse(str(read_manifest(place.store, index).meta["release"]))
    for ref in (release, index):
        fetch(place.store, ref, place.cache_dir)
    return refs.publish(place.store, release, index, by=_somebody(), expected=expected)


def show_live(out: Output, live: refs.LiveRef) -> None:
    record = live.live
    out.result(
        {"live": record.to_json()},
        f"[bold green]live[/bold green] #{record.sequence} ({record.action} by {record.by}, {record.at})\n"
        f"  model release  {record.release.id}\n  index snapshot {record.index.id}",
    )


def _somebody() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return socket.gethostname()
