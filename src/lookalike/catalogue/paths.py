"""Categories as shops write them become slash paths: ``A > B > C``, ``A/B/C``, ``/A/B``, ``A » B``, ``A|B``.

A slash that belongs to a name becomes a hyphen: in a cell of ``A > B/C`` the leaf is `B-C`.
"""

from __future__ import annotations

import re

_SPACED = re.compile(r"\s+[>»›→]\s*|\s*[>»›→]\s+")
_BARE = re.compile(r"[>»›→]")
_IN_NAME = "\0"


def as_path(text: str, separator: str = "", escape: str = "") -> str:
    """`text` as a slash path, without empty names at its ends; what lies between two separators may be empty."""
    if escape:
        text = re.sub(re.escape(escape) + "(.)", lambda found: _kept(found[1], separator), text)
    if separator:
        parts = text.split(separator)
    elif _SPACED.search(text):
        parts = _SPACED.split(text)
    elif "/" not in text and _BARE.search(text):
        parts = _BARE.split(text)
    else:
        parts = text.strip("/ \t").split("/")
    names = [re.sub(r"\s*[/\0]\s*", "-", part.strip().strip("/").strip()) for part in parts]
    while names and not names[0]:
        names = names[1:]
    while names and not names[-1]:
        names = names[:-1]
    return "/".join(names)


def _kept(character: str, separator: str) -> str:
    return _IN_NAME if character in (separator, "/", ">") else character
