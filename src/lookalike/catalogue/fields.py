"""Cells of a catalogue's table become fields of a listing.

A required field that cannot be used leaves its row out (`RowProblem`). An optional one never does: it is left empty,
and what was not understood is handed back beside it, so that it can be counted and shown.
"""

from __future__ import annotations

import html
import json
import math
import re
from typing import Any

from lookalike.catalogue.paths import as_path
from lookalike.catalogue.prices import parse_price
from lookalike.catalogue.tables import RowProblem
from lookalike.columns import NUMBER_PREFIX, OFFERED

REQUIRED = ("listing_id", "image", "category")
OPTIONAL = tuple(column.name for column in OFFERED)
FURTHER = tuple(name for name in OPTIONAL if name not in {"split", "title", "price", "product", "seller"})
"""Those that curation passes on and does not look at."""
ASPECT_PREFIX = "aspect_"

_IMAGE = re.compile(r"image(_[0-9]{1,3})?")
_NUMBERED = re.compile(r"images?_?([0-9]{1,3})?")
_PHOTO_FILE = re.compile(r".+\.(jpe?g|png|webp|gif|avif|hei[cf]|tiff?|bmp)(\?.*)?", re.IGNORECASE)
LONGEST = {"listing_id": 200, "image": 2_000, "category": 300, "split": 60}
LONGEST_OTHER = 10_000
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}([.,][0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # a title may hold tabs and line breaks
_SHOWN = 60
_SPLITS = {
    "train": "train", "training": "train", "trainset": "train", "val": "val", "valid": "val", "validate": "val",
    "validation": "val", "dev": "val", "test": "test", "testing": "test", "testset": "test", "holdout": "test",
}  # fmt: skip
"""Whatever their case. Any other name that begins with a letter stays as it is: such listings are only searched for."""


def listing_id(value: Any) -> str:
    """`listing_id` as text. Raises `RowProblem`."""
    text = _needed("listing_id", value)
    if not text:
        raise RowProblem("no listing id", "listing_id is empty")
    return text


def category(value: Any) -> str:
    """`category` as a path, empty where the row states none. Raises `RowProblem`."""
    text = _needed("category", value)
    return _category(text) if text else ""


def images(name: str, value: Any) -> list[str | RowProblem]:
    """The photos that a cell names: a list, as such or in JSON, or text parted by ``|``, or by ``,`` or ``;`` where
    every part is a photo's name. What is wrong with one is in its place."""
    if isinstance(value, RowProblem):
        return [RowProblem("malformed image", f"{name} {value.detail}")]
    try:
        parts = value if isinstance(value, list) else listed_photos(as_text(value))
    except UnicodeDecodeError:
        return [RowProblem("malformed image", f"{name} is not UTF-8")]
    found: list[str | RowProblem] = []
    for part in parts:
        try:
            text = _needed("image", part)
            found.append(text if "://" in text else text.replace("\\", "/"))
        except RowProblem as problem:
            found.append(problem)
    return [image for image in found if image]


def listed_photos(text: str) -> list[str]:
    """The photos that a cell of text names; see `images`."""
    if text.startswith("[") and text.endswith("]"):
        try:
            told = json.loads(text)
        except ValueError:
            told = None
        if isinstance(told, list) and all(isinstance(part, str) for part in told):
            return told
    for mark in "|;,":
        parts = text.split(mark)
        if len(parts) > 1 and (mark == "|" or all(_PHOTO_FILE.fullmatch(part.strip()) for part in parts)):
            return parts
    return [text]


def _needed(name: str, value: Any) -> str:
    spoken = name.replace("_", " ")
    if isinstance(value, RowProblem):
        raise RowProblem(f"malformed {spoken}", f"{name} {value.detail}")
    try:
        text = as_text(value).strip()
    except UnicodeDecodeError as error:
        raise RowProblem(f"malformed {spoken}", f"{name} is not UTF-8") from error
    if len(text) > (limit := LONGEST[name]):
        raise RowProblem(
            "field too long", f"{name} has {len(text):,} characters; at most {limit:,} are taken"
        )
    if _CONTROL.search(text):
        raise RowProblem(f"malformed {spoken}", f"{name} has a control character: {text!r}")
    return text


def optional(name: str, value: Any) -> tuple[str, str]:
    """`title`, `split` or another optional text, and what of it was not understood, else empty."""
    text, unclear = _text(name, value)
    if name != "split" or not text:
        return text, unclear
    if split := _SPLITS.get(text.casefold()):
        return split, ""
    return (text, "") if text[0].isalpha() else ("", shown(text))


def price(value: Any, mark: str = "") -> tuple[float | None, str, str]:
    """A number of at least 0, its currency, and the cell as it stands where it is no price.

    `mark` is the column's decimal mark, where that is known.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return (float(value), "", "") if value >= 0 else (None, "", shown(str(value)))
    text, unclear = _text("price", value)
    if not text:
        return None, "", unclear
    found = parse_price(text, mark)
    return (*found, "") if found else (None, "", shown(text))


def own(name: str, value: Any) -> tuple[float | str, str]:
    """A cell of a shop's own column (`columns.own_column`): a text, or a number as ``1.5``, ``1,5`` or ``-2e3``; empty
    where there is none, and what was not understood."""
    text, unclear = _text(name, value)
    if not name.startswith(NUMBER_PREFIX) or not text:
        return text, unclear
    return (float(text.replace(",", ".")), "") if _NUMBER.fullmatch(text) else ("", shown(text))


def ours(column: str) -> str:
    """How we call a column of an export: ``Listing ID`` is `listing_id`, ``Image2`` is `image_2`; else its own name."""
    name = re.sub(r"[\s_]+", "_", column.strip().casefold())
    if found := _NUMBERED.fullmatch(name):
        return f"image_{int(found[1])}" if found[1] else "image"
    if name.startswith(ASPECT_PREFIX):
        return ASPECT_PREFIX + column.strip()[len(ASPECT_PREFIX) :]
    return name if name in REQUIRED + OPTIONAL else column


def values(name: str, value: Any) -> tuple[tuple[str, ...], str]:
    """The values of an aspect, each once, and the first that was not understood."""
    if isinstance(value, RowProblem):
        return (), value.detail
    try:
        parts = value if isinstance(value, list) else as_text(value).split("|")
    except UnicodeDecodeError:
        return (), "not UTF-8"
    understood = [_text(name, part) for part in parts]
    unclear = next((problem for _, problem in understood if problem), "")
    return tuple(dict.fromkeys(text for text, _ in understood if text)), unclear


def is_aspect(name: str) -> bool:
    """Whether a column of this name holds an aspect."""
    return name.startswith(ASPECT_PREFIX) and len(name) > len(ASPECT_PREFIX)


def is_image(name: str) -> bool:
    """Whether a column of this name holds photos: ``image``, ``image_2``, ``image_3`` and so on."""
    return _IMAGE.fullmatch(name) is not None


def as_text(value: Any) -> str:
    """A cell as text. A NaN is empty, since that is how data frames write it. Raises `UnicodeDecodeError`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "|".join(as_text(part) for part in value)
    return value.decode() if isinstance(value, bytes) else str(value)


def shown(text: str) -> str:
    """A cell in quotes, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _text(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, RowProblem):
        return "", value.detail
    try:
        text = as_text(value).strip()
    except UnicodeDecodeError:
        return "", "not UTF-8"
    if len(text) > (limit := LONGEST.get(name, LONGEST_OTHER)):
        return "", f"{len(text):,} characters, of at most {limit:,}"
    return ("", shown(text)) if _CONTROL_IN_TEXT.search(text) else (text, "")


def _category(text: str) -> str:
    path = as_path(html.unescape(text))
    parts = path.split("/")
    if not all(parts) or any(part in (".", "..") for part in parts):
        raise RowProblem("malformed category", f"not a path like clothing/tops/shirt: {text!r}")
    return path
