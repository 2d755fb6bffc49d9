"""A search as a JSON object: taken apart into the photo and the texts that a query string would have.

Enters: the bytes of a body. Leaves: an `Upload`. What a value must be follows from the declared model; what it may be
is checked where all texts are (`ranking.asked`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from lookalike import strict_json
from lookalike.errors import QueryError, unknown
from lookalike.ranking.model import BY_PATH, Parameter
from lookalike.serving.forms import Upload

PHOTO = "photo"
_OBJECTS = frozenset(path[:depth] for path in BY_PATH for depth in range(1, len(path)))
_NAMES = {
    place: sorted(
        {path[len(place)] for path in BY_PATH if path[: len(place)] == place}
        | ({PHOTO} if not place else set())
    )
    for place in ((), *_OBJECTS)
}


def parse_json(data: bytes) -> Upload:
    """The photo and the parameters of a JSON body. Raises `QueryError`."""
    try:
        body = strict_json.parse(data)
    except ValueError as error:
        raise QueryError(f"the body is not JSON: {error}") from error
    return upload_of(body)


def parse_batch(data: bytes) -> list[Upload | QueryError]:
    """The searches of a batch, each as above or what is wrong with it. Raises `QueryError` where it is no batch."""
    try:
        body = strict_json.parse(data)
    except ValueError as error:
        raise QueryError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict) or set(body) != {"searches"} or not isinstance(body["searches"], list):
        raise QueryError('the body is not {"searches": [...]}')
    if not body["searches"]:
        raise QueryError("searches: give at least one")
    found: list[Upload | QueryError] = []
    for search in body["searches"]:
        try:
            found.append(upload_of(search))
        except QueryError as error:
            found.append(error)
    return found


def upload_of(body: Any) -> Upload:
    """The same of a JSON value."""
    if not isinstance(body, dict):
        raise QueryError("the body is not a JSON object")
    photo = body.get(PHOTO)
    fields = tuple(_fields({name: value for name, value in body.items() if name != PHOTO}, ()))
    return Upload(b"" if photo is None else _decoded(photo), fields)


def _decoded(photo: Any) -> bytes:
    if not isinstance(photo, str):
        raise QueryError("photo: give the photo's bytes in base64")
    try:
        return base64.b64decode(photo, validate=True)
    except (binascii.Error, ValueError) as error:
        raise QueryError("photo: this is not base64") from error


def _fields(values: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        path = (*place, name)
        if path in _OBJECTS:
            if not isinstance(value, dict):
                raise QueryError(f"{'.'.join(path)}: give an object")
            yield from _fields(value, path)
        elif path in BY_PATH:
            parameter = BY_PATH[path]
            for text in _texts(".".join(path), parameter, value):
                yield parameter.name, text
        else:
            raise QueryError(
                unknown("parameter", ".".join(path), [".".join((*place, n)) for n in _NAMES[place]])
            )


def _texts(name: str, parameter: Parameter, value: Any) -> Iterator[str]:
    match parameter.kind, value:
        case "text", str():
            yield value
        case "flag", bool():
            yield "true" if value else "false"
        case "integer", int() | float() if not isinstance(value, bool) and value == int(value):
            yield str(int(value))
        case "number", int() | float() if not isinstance(value, bool):
            yield repr(value)
        case "box", list():
            yield ",".join(_number(name, each) for each in value)
        case "texts", list():
            yield from (_text(name, each) for each in value)
        case "choices", dict():
            for aspect, values in value.items():
                _named(name, aspect)
                if not isinstance(values, list) or not values:
                    raise QueryError(f"{name}.{aspect[:40]}: give a list of at least one text")
                yield from (f"{aspect}={_text(name, each)}" for each in values)
        case "range", dict():
            yield _range(name, value)
        case "ranges", dict():
            for column, bounds in value.items():
                _named(name, column)
                if not isinstance(bounds, dict):
                    raise QueryError(f"{name}.{column[:40]}: give an object with from, to or both")
                yield f"{column}={_range(name, bounds)}"
        case _:
            raise QueryError(f"{name}: give {_WANTED[parameter.kind]}")


_WANTED = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "flag": "true or false",
    "box": "four numbers",
    "texts": "a list of texts",
    "choices": "an object with a list of texts for each name",
    "range": "an object with from, to or both",
    "ranges": "an object with an object of from and to for each name",
}


def _range(name: str, bounds: Mapping[str, Any]) -> str:
    if not bounds or set(bounds) - {"from", "to"}:
        raise QueryError(f"{name}: give from, to or both")
    low, high = ("" if end not in bounds else _number(name, bounds[end]) for end in ("from", "to"))
    return f"{low}..{high}"


def _named(name: str, key: str) -> None:
    if not key or "=" in key:
        raise QueryError(f"{name}: {key[:40]!r} cannot be a name")


def _number(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise QueryError(f"{name}: give numbers")
    return repr(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise QueryError(f"{name}: give texts")
    return value
