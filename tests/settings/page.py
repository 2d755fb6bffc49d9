"""The lists of `docs/settings.md`, made from the fields and their docstrings.

``python -m tests.settings.page`` writes them anew between the page's marks; `test_page` fails where somebody forgot.
"""

from __future__ import annotations

import re
from dataclasses import MISSING
from pathlib import Path

from lookalike import sections
from lookalike.cli.config import toml
from lookalike.layers import Entry, entries

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
BEGIN, END = "<!-- made by tests/settings/page.py -->\n", "<!-- to here -->\n"


def lists() -> str:
    """Every table with its settings, as Markdown."""
    parts = []
    for name in sections.SECTIONS:
        config = sections.SECTIONS[name]()
        parts.append(_list(f"`[{name}]`" if name else "Above the tables", config.__doc__, entries(config)))
    for name, table in sections.NAMED.items():
        below = table.entries(name)
        parts.append(_list(f"`[{name}.NAME]`", table.said, below, variables=False))
    return "\n".join(parts)


def whole() -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + "\n" + lists() + "\n" + END + rest.partition(END)[2]


def _list(title: str, said: str | None, found: tuple[Entry, ...], *, variables: bool = True) -> str:
    lines = [f"### {title}\n", f"{_markdown(said or '')}\n"]
    tables = list(dict.fromkeys(entry.key[:-1] for entry in found))
    for table in tables:
        if table != tables[0]:
            lines.append(f"\n`[{'.'.join(table)}]`:\n")
        lines += [_item(entry, variables=variables) for entry in found if entry.key[:-1] == table]
    return "\n".join(lines) + "\n"


def _item(entry: Entry, *, variables: bool) -> str:
    more = (
        f" Also {', '.join(f'`{name}`' for name in entry.variables[1:])}."
        if variables and entry.variables[1:]
        else ""
    )
    default = "" if entry.default in (None, MISSING) else f" = {toml(entry.default)}"
    return f"- `{entry.key[-1]}{default}`: {_markdown(entry.said)}{more}"


def _markdown(docstring: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(docstring.split()))


if __name__ == "__main__":
    PAGE.write_text(whole())
