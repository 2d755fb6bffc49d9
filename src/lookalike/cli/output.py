"""What commands print: progress and notes to stderr for a person, the result to stdout for a person or a program.

With `--json` stdout carries one JSON object and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from lookalike.bars import Bars
from lookalike.strict_json import plain

_UNBROKEN = 100_000
"""Columns of what is no terminal: a path that is cut in two is no path."""


def _console(stream: TextIO, *, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _UNBROKEN)


class Output:
    """Where one command's words go."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._said = False
        self.stderr = _console(sys.stderr, stderr=True)
        self.stdout = _console(sys.stdout)

    def result(self, value: Mapping[str, Any], text: str = "") -> None:
        """The command's result: `value` as JSON, which a command has once, or `text` (rich markup) for a person."""
        if self.as_json:
            assert not self._said, "a second JSON object: stdout would be no JSON any more"
            self._said = True
            sys.stdout.write(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        elif text:
            self.stdout.print(text, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table for a person; nothing with `--json`."""
        if self.as_json:
            return
        table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
        numeric = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(name, justify="right" if right else "left")
        for row in rows:
            table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
        self.stdout.print(table)

    def note(self, text: str) -> None:
        """Something the person should know while work goes on."""
        self.stderr.print(text)

    def progress(self) -> Bars:
        """A context in which steps report their progress."""
        return Bars(self.stderr)
