"""XML product feeds: RSS 2.0 and Atom with Google Merchant's fields
(https://support.google.com/merchants/answer/7052112).

Each `item` (RSS), `entry` (Atom) or `product` is a row; its elements are columns, by their names without the namespace
prefix. An element that stands several times, as `additional_image_link` does, is a list. What stands inside an element
(`shipping` has `price`) is passed over. The parser refuses document types and entities (defusedxml), each item is
dropped once it is read, and one that never ends is refused, so memory stays bounded whatever the feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, ParseError

from lookalike.catalogue.sources.delimited import checked_header
from lookalike.catalogue.sources.files import TableFile
from lookalike.catalogue.tables import Rows, Table
from lookalike.errors import CatalogueError, SettingsError

_ITEMS = frozenset({"item", "entry", "product", "offer"})
_LOOKED_AT = 1_000
"""Items whose elements make the header."""
_LONGEST_ITEM = 4 << 20
"""Bytes between the ends of two items."""
_DEEPEST = 200
"""Elements inside of one another."""
_STEP = 64 << 10


def feed(file: TableFile) -> Table:
    """The table in `file`. Raises `CatalogueError`, and `SettingsError` where defusedxml is not installed."""
    columns: dict[str, None] = {}
    for number, item in enumerate(_items(file)):
        columns |= dict.fromkeys(item)
        checked_header(file.uri, tuple(columns))
        if number == _LOOKED_AT:
            break
    if not columns:
        raise CatalogueError(f"{file.uri} is XML without products: no item, entry or product element in it")

    def rows(_: object) -> Rows:
        for number, item in enumerate(_items(file), 1):
            yield number, dict.fromkeys(columns, "") | item

    return Table(tuple(columns), "item", rows)


class _Watched:
    """A stream that counts what was read since the last item ended."""

    def __init__(self, uri: str, stream: BinaryIO) -> None:
        self._uri, self._stream, self.since = uri, stream, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, _STEP) if size > 0 else _STEP)
        self.since += len(data)
        if self.since > _LONGEST_ITEM:
            raise CatalogueError(
                f"{self._uri}: more than {_LONGEST_ITEM:,} bytes without the end of a product"
            )
        return data


def _items(file: TableFile) -> Iterator[dict[str, Any]]:
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import iterparse
    except ImportError as error:
        raise SettingsError(f"{file.uri}: feeds need defusedxml: pip install 'lookalike[sources]'") from error
    with file.open() as stream:
        watched = _Watched(file.uri, stream)
        above: list[Element] = []
        inside = 0
        try:
            for event, element in iterparse(watched, ("start", "end"), forbid_dtd=True):
                if event == "start":
                    above.append(element)
                    inside += _local(element.tag) in _ITEMS
                    if len(above) > _DEEPEST:
                        raise CatalogueError(
                            f"{file.uri} is nested more than {_DEEPEST} elements deep: is it a feed?"
                        )
                    continue
                above.pop()
                if _local(element.tag) in _ITEMS:
                    inside -= 1
                    if not inside:
                        yield _row(element)
                        watched.since = 0
                if not inside:  # nothing of a finished element is needed above an item
                    element.clear()
                    if above:
                        above[-1].clear()
        except DefusedXmlException as error:
            raise CatalogueError(
                f"{file.uri} declares a document type or entities, which no feed needs; refused"
            ) from error
        except (ParseError, ValueError, LookupError) as error:
            raise CatalogueError(f"{file.uri} is not readable as XML: {error}") from error


def _row(item: Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for child in item:
        name, value = _local(child.tag), _value(child)
        if not value:
            continue
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    for name, value in item.attrib.items():
        found.setdefault(_local(name), value)
    return found


def _value(element: Element) -> str:
    """Its text; of an Atom link its address; nothing of one that holds elements."""
    if len(element):
        return ""
    return (element.text or element.get("href") or "").strip()


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]
