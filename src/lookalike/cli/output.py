"""What commands print: progress and notes to stderr for a person, the result to stdout for a person or a program.

With `--json` stdout carries one JSON object and nothing else. Progress is a bar on a terminal; elsewhere a line as a
stage begins and ends and every ten seconds between, so that logs stay readable.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from lookalike.strict_json import plain

_LINE_EVERY_S = 10.0


class Output:
    """Where one command's words go."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._said = False
        self.stderr = Console(stderr=True, highlight=False)
        self.stdout = Console(highlight=False)

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


class Bars:
    """A `lookalike.progress.Progress` that draws; use as a context."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if self._live:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total or None, note=note)
            self._bars.update(self._tasks[stage], completed=done, total=total or None, note=note)
            return
        now = time.monotonic()
        began, last = self._said.get(stage, (now, -_LINE_EVERY_S))
        finished = bool(total) and done >= total
        if now - last >= _LINE_EVERY_S or (finished and last < float("inf")):
            self._console.print(f"{stage}: {done:,}/{total:,} {note} ({now - began:.0f} s)", markup=False)
            self._said[stage] = (began, float("inf") if finished else now)
