"""`config show` and `config init`: what is set, where, and a file to begin with."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike import sections, settings_file
from lookalike.cli.options import Json
from lookalike.cli.output import Output
from lookalike.errors import SettingsError
from lookalike.layers import Entry, Setting, entries
from lookalike.settings import found_file, layers
from lookalike.strict_json import plain

app = typer.Typer(
    name="config",
    help="What is set, where, and a settings file to begin with.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command()
def show(
    changed: Annotated[bool, typer.Option("--changed", help="Leave out what has its default.")] = False,
    as_json: Json = False,
) -> None:
    """Print each setting, its value, and where it comes from: default, file and line, variable, or --set.

    [dim]Example:[/dim] lookalike config show --changed

    [dim]Example:[/dim] lookalike --config shop.toml --set ranking.blend=0.5 config show --json
    """
    out, said, file = Output(as_json=as_json), layers(), found_file()
    found = [each for each in sections.all_settings(said) if not (changed and each.origin == "default")]
    named = list(sections.named_settings(said))
    path = None if file is None else str(file.path)
    out.note(f"settings file: {path or f'none (no {settings_file.NAME} here)'}")
    rows = [(each.entry.name, shown(each), each.origin) for each in found]
    rows += [(name, str(value), origin) for name, value, origin in named]
    out.table("", ("setting", "value", "from"), rows)
    values = {each.entry.name: {"value": _plain(each), "from": each.origin} for each in found}
    values |= {name: {"value": plain(value), "from": origin} for name, value, origin in named}
    out.result({"file": path, "settings": values})


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(settings_file.NAME),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a settings file that names every setting with its default, commented out.

    [dim]Example:[/dim] lookalike config init
    """
    if path.exists() and not force:
        raise SettingsError(f"{path} exists; name another file, or overwrite it with --force")
    path.write_text(example())
    Output(as_json=as_json).result({"file": str(path)}, f"wrote {path}: take the # from what you change")


def example() -> str:
    """The file of `init`: each table and key as a comment, with what is said of it."""
    parts = ["# Settings of Lookalike. docs/settings.md has the same, to read.\n"]
    for name in sections.SECTIONS:
        if (config := sections.imported(name)) is None:
            continue
        tables: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries(config):
            tables.setdefault(entry.key[:-1], []).append(entry)
        for table, below in tables.items():
            parts.append(f"\n[{'.'.join(table)}]\n" if table else "\n")
            for entry in below:
                parts += [f"# {line}\n" for line in textwrap.wrap(entry.said, 110)]
                parts.append(f"# {entry.key[-1]} = {toml(entry.default)}\n")
    return "".join(parts)


def shown(setting: Setting) -> str:
    """The value for a person; a secret is not shown."""
    if setting.entry.secret and setting.value:
        return "(set)"
    return "" if setting.value is None or setting.value is MISSING else str(setting.value)


def _plain(setting: Setting) -> Any:
    value = setting.value
    if setting.entry.secret and value:
        return "(set)"
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return plain(value) if isinstance(value, str | int | float | Mapping | list | tuple) else str(value)


def toml(value: Any) -> str:
    """A value as TOML writes it; ``"..."`` for None, which it cannot write."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    text = "..." if value is None or value is MISSING else str(value)
    return json.dumps(text, ensure_ascii=False, allow_nan=False)
