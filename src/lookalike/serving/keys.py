"""API keys: who may ask a search process for what.

Enters: a file of one line per key, ``name scopes sha256``, such as ``shop-page search 9f86d0...``. It holds digests
alone, so that nobody who reads it can search by it. A key is 256 random bits: nobody guesses one, and a plain SHA-256
is as good as a slow hash. The file is read anew when it changes, so that keys are added and withdrawn without a
restart; so is a mounted Secret. A change that cannot be read keeps the keys before it, and is logged.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lookalike.errors import SettingsError

Scope = Literal["search", "events", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "lk_"
"""What a key begins with: scanners of repositories for secrets know it by that."""

_LOG = logging.getLogger("lookalike.serving")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Key:
    """What a key's line says of it."""

    name: str
    scopes: frozenset[str]

    def allows(self, scope: Scope) -> bool:
        """`admin` may do everything."""
        return scope in self.scopes or "admin" in self.scopes


def new_key() -> str:
    """A key that nobody has had before."""
    return PREFIX + secrets.token_urlsafe(32)


def line_of(key: str, name: str, scopes: tuple[str, ...]) -> str:
    """The line that lets `key` in. Raises `SettingsError`."""
    line = f"{name} {','.join(scopes)} {_digest(key)}"
    parse_keys(line, "the key")
    return line


def parse_keys(text: str, file: str) -> Mapping[str, Key]:
    """The keys of a file by their digests. Raises `SettingsError` naming file and line."""
    found: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        place = f"{file}, line {number}"
        if len(fields) != 3:
            raise SettingsError(
                f"{place}: write a key as NAME SCOPES SHA256; `lookalike keys` makes such lines"
            )
        name, scopes, digest = fields
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{place}: a name has letters, digits, dots, dashes, up to 64: not {name[:80]!r}"
            )
        named = frozenset(scopes.split(","))
        if unknown := named - set(SCOPES):
            raise SettingsError(f"{place}: no scope {min(unknown)[:40]!r}; there are {', '.join(SCOPES)}")
        if not _DIGEST.fullmatch(digest):
            raise SettingsError(f"{place}: the last field is a key's SHA-256, 64 hexadecimal digits")
        if digest in found:
            raise SettingsError(f"{place}: the same key as {found[digest].name}")
        found[digest] = Key(name, named)
    return found


class KeyFile:
    """The keys of one file, as it is now. For one thread."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `SettingsError` where the file cannot be read or is none of keys."""
        self._path, self._clock = path, clock
        try:
            self._version, self._keys = _version(path), parse_keys(path.read_text(), path.name)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: the file of API keys cannot be read: {error}") from error
        self._looked = clock()

    def find(self, key: str) -> Key | None:
        """Who has this key; None where nobody has."""
        self._look()
        return self._keys.get(_digest(key))

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        try:
            if (version := _version(self._path)) == self._version:
                return
            self._version = version
            self._keys = parse_keys(self._path.read_text(), self._path.name)
        except (OSError, UnicodeDecodeError, SettingsError) as error:
            _LOG.error("the keys before stay in force: %s", error)
        else:
            _LOG.info("%d API keys are in force now", len(self._keys))


def _version(path: Path) -> tuple[int, int, int]:
    """What changes when the file does: a mounted Secret is another file each time."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
