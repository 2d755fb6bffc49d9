"""`keys`: an API key for a search endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lookalike.cli.options import Json
from lookalike.cli.output import Output
from lookalike.errors import SettingsError


def keys(
    name: Annotated[str, typer.Argument(help="Who will use it, such as shop-page; logs name it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: search, events (say what was seen and clicked), or admin (everything).",
            show_default="search",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Append its line to this file, which `serve --keys-file` reads.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key. It is shown once; the file holds its digest alone. To withdraw a key, delete its line.

    [dim]Example:[/dim] lookalike keys shop-page --file keys.txt

    [dim]Example:[/dim] curl -H "Authorization: Bearer KEY" ...
    """
    from lookalike.serving.keys import line_of, new_key, parse_keys

    out, key = Output(as_json=as_json), new_key()
    line = line_of(key, name, tuple(scope or ("search",)))
    if file is not None:
        try:
            before = file.read_text() if file.exists() else ""
            parse_keys(before, str(file))
            with file.open("a") as opened:
                opened.write(("" if before.endswith("\n") or not before else "\n") + line + "\n")
        except OSError as error:
            raise SettingsError(f"{file}: {error.strerror}") from error
    where = f"its line is in {file}" if file else f"its line for the file of keys:\n  {line}"
    out.result(
        {"name": name, "key": key, "line": line},
        f"[bold]{key}[/bold]\nthis key is shown once; {escape(where)}",
    )
