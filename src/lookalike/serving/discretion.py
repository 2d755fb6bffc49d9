"""What a search process says to strangers: why something failed, and not where its things lie.

Messages of our errors are written for the operator, and name stores, files and addresses. They go to the log as they
are; what a reply carries went through `discreet`. The keys of artefacts stay: whoever rolls a snapshot out is told
which file is damaged.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_BYTES = re.compile(r"""\bb'(?:[^'\\]|\\.)*'|\bb"(?:[^"\\]|\\.)*\"""")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s,;)\]'\"]+")
_PATH = re.compile(r"(?<![\w…/])/(?:[^\s/,;:)\]'\"]+/)*[^\s/,;:)\]'\"]+")
_GONE = "…"


def discreet(text: str, store: str = "", *folders: Path) -> str:
    """`text` without the place of `store` (its URI), `folders`, any other path or address, or quoted bytes."""
    for place in _places(store, folders):
        text = re.sub(re.escape(place) + r"(?![\w.-])", "the store", text)
    for pattern in (_BYTES, _ADDRESS, _PATH):
        text = pattern.sub(_GONE, text)
    return text


def _places(store: str, folders: tuple[Path, ...]) -> list[str]:
    """The longest first, so that none is left in halves."""
    found = {store.rstrip("/"), *map(str, folders)}
    if store.startswith("file:"):
        found.add(unquote(urlsplit(store).path).rstrip("/"))
    return sorted(found - {"", "/"}, key=len, reverse=True)
