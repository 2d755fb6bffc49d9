"""The settings file, `lookalike.toml`: its tables as read, and where each key stands.

Enters: a file's path. Leaves: a `SettingsFile`. What tables and keys there may be is not known here: see
`lookalike.sections`. `tomllib` tells no lines, so `_lines` looks for them; a key that it misses is named without one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lookalike.errors import SettingsError

NAME = "lookalike.toml"
"""What the file is called where nobody names another."""

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")

Key = tuple[str, ...]
"""Table names and a key, outermost first: ``("serving", "photo", "max_bytes")``."""


@dataclass(frozen=True, slots=True, eq=False)
class SettingsFile:
    """What one file says."""

    path: Path
    tables: Mapping[str, Any]
    """As `tomllib` reads them."""
    lines: Mapping[Key, int]
    """Line of each table and key, from 1."""

    def where(self, key: Key) -> str:
        """``lookalike.toml:12``; without the line where it is not known."""
        for length in range(len(key), 0, -1):
            if line := self.lines.get(key[:length]):
                return f"{self.path}:{line}"
        return str(self.path)


def read(path: Path) -> SettingsFile:
    """Raises `SettingsError` where there is no such file, or where it is no TOML."""
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise SettingsError(f"{path}: the settings file cannot be read: {error.strerror}") from error


@lru_cache(maxsize=4)
def _read(path: Path, modified: int, size: int) -> SettingsFile:
    try:
        return parse(path.read_bytes().decode(), path)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: the settings file is no TOML: {error}") from error


@lru_cache(maxsize=4)
def parse(text: str, path: Path) -> SettingsFile:
    """A file's text; `path` is what messages call it. Raises `SettingsError` where it is no TOML."""
    try:
        return SettingsFile(path, tomllib.loads(text), _lines(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: the settings file is no TOML: {error}") from error


def parsed(text: str) -> Any:
    """A value as the file would write it; what is no TOML is taken as a text: ``0.5``, ``true``, ``s3://shop``."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lines(text: str) -> dict[Key, int]:
    found: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            parts = _parts(key[1])
            for length in range(1, len(parts) + 1):
                found.setdefault((*table, *parts[:length]), number)
    return found


def _parts(dotted: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))
