"""`rank` and `plan`: an index that outgrows one process, and what a load of a certain size needs."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike.cli.options import Store, Threads, open_workplace


def rank(
    part: Annotated[
        str,
        typer.Option(
            metavar="P/N",
            help="Hold every shard whose number is P modulo N. [bold]ordinal/N[/bold] takes P from the "
            "number of this pod in its StatefulSet.",
            envvar="LOOKALIKE_PART",
        ),
    ] = "0/1",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8001,
    store: Store = None,
    threads: Threads = 0,
) -> None:
    """Hold some shards of the live index and scan them for search processes.

    Build an index in shards ([bold]lookalike index --shards 3[/bold]), start a ranker for each part, each twice
    if one may fail, and give a search process all their addresses:

    [dim]Example:[/dim] lookalike rank --part 0/3 --port 8001 &
    lookalike serve --rankers http://127.0.0.1:8001 --rankers http://127.0.0.1:8002 ...
    """
    from lookalike import serving

    uri = open_workplace(store).store.uri
    serving.run_ranker(uri, part, host=host, port=port, threads=threads)
