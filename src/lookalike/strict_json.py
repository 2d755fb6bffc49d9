"""JSON that every language reads alike (RFC 8259, and RFC 7493 for what it advises against): bytes in, values out.

Python's own `json` reads and writes NaN, Infinity and halves of surrogate pairs, keeps the last of two equal keys,
and takes whole numbers of any length; browsers and other languages do not. `parse` is for what strangers send,
`plain` for what goes out: it leaves nothing that ``json.dumps(..., allow_nan=False)`` or UTF-8 would stumble over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

DEPTH = 32
"""Brackets within brackets that a document may have."""
LARGEST_INTEGER = 2**53 - 1
"""Beyond it a browser, whose numbers are doubles, would see another number."""
_SHOWN = 40


def parse(data: bytes, *, depth: int = DEPTH) -> Any:
    """The value of a JSON document in UTF-8. Raises `ValueError` with what is wrong, fit to be shown."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_too_deep(depth)) from None
    _check(value, depth)
    return value


def plain(value: Any) -> Any:
    """A copy of a JSON-like value: numbers that are not finite become None, halves of surrogate pairs U+FFFD."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return (
                value
                if _is_unicode(value)
                else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            )
        case Mapping():
            return {plain(key) if isinstance(key, str) else key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    return value


def _check(value: Any, depth: int) -> None:
    """Without recursion: how deep it goes is what is asked."""
    level = [value]
    for _ in range(depth + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                _check_text(each)
            elif isinstance(each, dict):
                for key in each:
                    _check_text(key)
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        if not below:
            return
        level = below
    raise ValueError(_too_deep(depth))


def _too_deep(depth: int) -> str:
    return f"brackets are nested more than {depth} deep"


def _check_text(text: str) -> None:
    if not _is_unicode(text):
        raise ValueError(f"{_shown(text)} is not Unicode: half of a surrogate pair")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(digits: str) -> int:
    if len(digits) > 17:
        raise ValueError(f"a whole number of {len(digits.lstrip('-'))} digits is too large")
    value = int(digits)
    if abs(value) > LARGEST_INTEGER:
        raise ValueError(f"the whole number {digits} is too large: the largest is {LARGEST_INTEGER}")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:_SHOWN]} is too large")
    return value


def _constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON: numbers are finite")


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {_shown(key)} is given twice")
        found[key] = value
    return found


def _shown(text: str) -> str:
    return json.dumps(text[:_SHOWN], allow_nan=False)


_DECODER = json.JSONDecoder(
    parse_float=_number, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_object
)
