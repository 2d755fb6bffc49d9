"""Aspect models of releases that version 0.1 trained: one file of XGBoost's own binary JSON per aspect.

Enters: ``aspects/<name>.ubj``. Leaves: the values and the forest of each. Newer releases have `trees_file`, and a
search process loads this module only for a release that has none: XGBoost, which could read these files, is not
installed with search. Only what the specification of UBJSON (Universal Binary JSON, draft 12) calls its value types is
read; anything else is a `ValueError` that says where. Numbers are big endian. It is Python all through, 120 ns a byte,
and holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

import json
from pathlib import Path
from struct import Struct, error
from typing import Any
from urllib.parse import quote

import numpy as np

from lookalike.aspects.forest import Forest
from lookalike.aspects.xgboost_model import forest_of

_NUMBERS = {ord(marker): Struct(f">{code}") for marker, code in zip("iUIlLdD", "bBhiqfd", strict=True)}
_ARRAYS = {
    marker: (np.dtype(number.format), np.dtype(number.format[1:])) for marker, number in _NUMBERS.items()
}
_LENGTHS = frozenset(b"iUIlL")
_CONSTANTS: dict[int, Any] = {ord("Z"): None, ord("T"): True, ord("F"): False}
_ARRAY, _ARRAY_END, _OBJECT, _OBJECT_END, _TEXT, _CHARACTER, _TYPE, _COUNT = b"[]{}SC$#"
_DEEPEST = 64


def file_name(aspect: str) -> str:
    """The file of an aspect's model: its name with everything unusual percent-encoded, and ``.ubj``."""
    return "aspects/" + quote(aspect, safe=" -_").replace(".", "%2E") + ".ubj"


def read(path: Path) -> tuple[tuple[str, ...], Forest]:
    """The values that an aspect's model tells apart, and its forest. Raises `OSError`, `ValueError`."""
    forest, attributes = forest_of(parse(path.read_bytes()))
    values = json.loads(attributes.get("values", "[]"))
    if not isinstance(values, list) or len(values) != forest.groups:
        raise ValueError(f"{forest.groups} outputs for the values {values}")
    return tuple(values), forest


def parse(data: bytes) -> Any:
    """The value that `data` holds. Raises `ValueError` where it is damaged, or more than one value."""
    reader = _Reader(data)
    try:
        value = reader.value(reader.marker(), 0)
    except (IndexError, error) as reason:
        raise ValueError(f"not UBJSON: it ends early, at byte {reader.at}") from reason
    if reader.at != len(data):
        raise reader.damaged("more than one value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def damaged(self, what: str) -> ValueError:
        return ValueError(f"not UBJSON: {what} at byte {self.at}")

    def marker(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def follows(self, marker: int) -> bool:
        """Whether `marker` comes next; if so it is passed."""
        found = self.data[self.at] == marker
        self.at += found
        return found

    def value(self, marker: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self.damaged(f"more than {_DEEPEST} levels")
        if marker == _ARRAY:
            return self.array(depth)
        if marker == _OBJECT:
            return self.object(depth)
        if marker == _TEXT:
            return self.text()
        if marker in _NUMBERS:
            return self.number(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == _CHARACTER:
            return chr(self.marker())
        raise self.damaged(f"unknown type {chr(marker)!r}")

    def number(self, marker: int) -> int | float:
        number = _NUMBERS[marker]
        value: int | float = number.unpack_from(self.data, self.at)[0]
        self.at += number.size
        return value

    def length(self) -> int:
        marker = self.marker()
        length = self.number(marker) if marker in _LENGTHS else -1
        if not 0 <= length <= len(self.data):
            raise self.damaged("a length that it cannot have")
        return int(length)

    def text(self) -> str:
        length = self.length()
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def head(self) -> tuple[int | None, int | None]:
        """Type and number of a container's items, where it states them."""
        marker = self.marker() if self.follows(_TYPE) else None
        count = self.length() if self.follows(_COUNT) else None
        if marker is not None and count is None:
            raise self.damaged("a typed container without a count")
        return marker, count

    def array(self, depth: int) -> Any:
        marker, count = self.head()
        if marker in _ARRAYS:
            stored, native = _ARRAYS[marker]
            if (count or 0) * stored.itemsize > len(self.data) - self.at:
                raise self.damaged("an array that goes beyond the end")
            numbers = np.frombuffer(self.data, stored, count or 0, self.at).astype(native)
            self.at += numbers.nbytes
            return numbers
        items: list[Any] = []
        while not self.follows(_ARRAY_END) if count is None else len(items) < count:
            items.append(self.value(marker or self.marker(), depth + 1))
        return items

    def object(self, depth: int) -> dict[str, Any]:
        marker, count = self.head()
        items: dict[str, Any] = {}
        read = 0
        while not self.follows(_OBJECT_END) if count is None else read < count:
            name = self.text()
            items[name] = self.value(marker or self.marker(), depth + 1)
            read += 1
        return items
