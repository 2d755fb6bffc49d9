"""A `progress.Progress` that people see.

On a terminal each stage is a bar. Elsewhere it is a line as the stage begins and ends, and every ten seconds between:
logs and notebooks stay readable.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

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

_LINE_EVERY_S = 10.0


class Bars:
    """Draws what steps report on `console`; use as a context."""

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
