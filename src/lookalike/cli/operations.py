"""`console`, `retain` and `migrate`: what an operator needs beside the steps."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lookalike import steps
from lookalike.cli.options import Json, Store
from lookalike.cli.output import Output
from lookalike.storage.versions import old_versions
from lookalike.workplace import open_workplace


def console(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8001,
    store: Store = None,
) -> None:
    """Serve the operations page: what is live, what runs; Retrain, Re-index and Roll back behind a token.

    The token is LOOKALIKE_CONSOLE_TOKEN, or made up and said at the start. PREFECT_API_URL says where Prefect is.

    [dim]Example:[/dim] LOOKALIKE_CONSOLE_TOKEN=... lookalike console --store s3://shop/lookalike
    """
    from lookalike import console as operations

    place = open_workplace(store)
    operations.run(place.store, cache_dir=place.cache_dir, host=host, port=port)


def retain(
    records: Annotated[
        int | None, typer.Option(min=0, help="Earlier live pairs that stay whole.", show_default="3")
    ] = None,
    grace_hours: Annotated[
        float | None, typer.Option(min=0, help="Nothing younger is removed.", show_default="24")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Remove artefacts that nothing live, recent or referred to needs. Finished work of the last day always stays.

    [dim]Example:[/dim] lookalike retain --dry-run
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    with out.progress() as progress:
        planned = steps.retain(
            place, records=records, grace_hours=grace_hours, dry_run=dry_run, progress=progress
        )
    out.table("", ("goes",), [(name,) for name in planned.removed])
    verb = "would remove" if dry_run else "removed"
    kept, unknown = old_versions(place.store)
    out.result(
        planned.to_json() | {"dry_run": dry_run, "old_versions": kept and asdict(kept)},
        f"{verb} {len(planned.keys):,} objects, {planned.bytes / 1e6:,.1f} MB; {len(planned.kept)} artefacts stay",
    )
    if kept is not None:
        out.note(
            f"The bucket keeps what goes as old versions, {kept.bytes / 1e6:,.1f} MB in {kept.count:,} of them now, "
            "until its lifecycle removes them (docs/operations.md)."
        )
    elif unknown:
        out.note(f"Whether the bucket keeps old versions, and how large they are, is not known: {unknown}.")


def migrate(store: Store = None, as_json: Json = False) -> None:
    """Make the photos of a store of version 0.1 known to its photo log. Nothing is copied or removed.

    Such a store opens without it; the next curation then decodes and stores every photo once more.

    [dim]Example:[/dim] lookalike migrate --store s3://shop/lookalike
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    with out.progress() as progress:
        found = steps.migrate(place, progress=progress)
    out.result(
        asdict(found),
        f"{found.snapshots:,} old snapshots: {found.added:,} photos added to the log, {found.known:,} were in it, "
        f"{found.left:,} are left to the next curation",
    )
