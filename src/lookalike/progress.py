"""How long work reports on itself: one callable that steps call and that the CLI draws or a flow records."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called often and cheaply: `done` of `total` units of `stage` are finished (`total` 0: unknown)."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """A `Progress` that tells nobody."""
