"""A form with one photo, taken apart in memory.

Enters: a whole ``multipart/form-data`` body. Leaves: the photo's bytes and the other fields. python-multipart does the
parsing; no temporary files are made, since a search pod may have no disk to write to, and a form that is cut off
leaves nothing open.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

_MAXIMUM_FIELDS = 2000
_MAXIMUM_HEADERS = 16


class FormError(ValueError):
    """The body is not a form that we take; the message says why."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What came in: the photo's bytes (empty where there was none) and the form's other fields."""

    photo: bytes
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)


def parse_form(content_type: str, body: bytes) -> Upload:
    """The one file and the other fields of a form. Raises `FormError`."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise FormError("the form names no boundary")
    parts: list[_Part] = []
    ended = False

    def begin() -> None:
        if len(parts) > _MAXIMUM_FIELDS:
            raise FormError(f"the form has more than {_MAXIMUM_FIELDS} fields")
        parts.append(_Part())

    def header_end() -> None:
        part = parts[-1]
        if len(part.headers) == _MAXIMUM_HEADERS:
            raise FormError("a field of the form has too many headers")
        part.headers[bytes(part.header_name).lower()] = bytes(part.header_value)
        part.header_name, part.header_value = bytearray(), bytearray()

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin,
                "on_header_field": lambda data, start, stop: parts[-1].header_name.extend(data[start:stop]),
                "on_header_value": lambda data, start, stop: parts[-1].header_value.extend(data[start:stop]),
                "on_header_end": header_end,
                "on_part_data": lambda data, start, stop: parts[-1].data.extend(data[start:stop]),
                "on_end": end,
            },
        )
        parser.write(body)
    except FormParserError as error:
        raise FormError("the form cannot be parsed") from error
    if not ended:
        raise FormError("the form ends early")
    return _upload(parts)


def _upload(parts: list[_Part]) -> Upload:
    photos: list[bytes] = []
    fields: list[tuple[str, str]] = []
    for part in parts:
        options = parse_options_header(part.headers.get(b"content-disposition", b""))[1]
        if b"filename" in options:
            photos.append(bytes(part.data))
        else:
            try:
                fields.append((options[b"name"].decode(), part.data.decode()))
            except (KeyError, UnicodeDecodeError) as error:
                raise FormError("a field of the form has no name or is not text") from error
    if len(photos) > 1:
        raise FormError("the form has more than one photo")
    return Upload(photos[0] if photos else b"", tuple(fields))
