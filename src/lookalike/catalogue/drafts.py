"""Drafts: rows that name the same listing become one listing.

A shop may write one row per photo or per variant. All photos count, in the order of the rows and, within a row, of
its image columns. Values of aspects count as well: each variant may have a size of its own. Everything else belongs
to the listing: the first row that states it decides. A later row that states something else is a contradiction, which
is counted and shown, and an empty cell says nothing. What no row states and one needs (a photo, a category) leaves
out all rows of the listing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lookalike.catalogue import fields
from lookalike.catalogue.fields import ASPECT_PREFIX, FURTHER, OPTIONAL, is_aspect
from lookalike.catalogue.listings import LeftOut, Listing
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.tables import RowProblem
from lookalike.errors import PhotoOutside, SettingsError


class Spellings:
    """How values of aspects are written: ``Blue`` and ``blue`` are one value, written as in the first row."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}

    def all_of(self, aspect: str, values: Iterable[str]) -> list[str]:
        """`values` as they were written first."""
        return [self._first.setdefault((aspect, value.casefold()), value) for value in values]


class Draft:
    """What the rows of one listing have said so far."""

    def __init__(self, listing_id: str, line: int, unit: str, spellings: Spellings) -> None:
        self.listing_id, self.line = listing_id, line
        self.rows = 0
        self._unit, self._spellings = unit, spellings
        self._images: dict[str, None] = {}
        self._lost: list[LeftOut] = []
        self._stated: dict[
            str, tuple[Any, int]
        ] = {}  # column -> the value, and the line that states it first
        self._aspects: dict[str, dict[str, None]] = {}
        self._currency = ""  # as a price states it, beside a column of its own
        self._unclear: dict[str, str] = {}
        self._contradictions: dict[str, str] = {}

    def add(self, line: int, values: Mapping[str, Any], places: PhotoPlaces, mark: str = "") -> None:
        """Take in one row; `mark` is the decimal mark of prices.

        Raises `RowProblem` for a row that cannot be used, and then takes nothing of it."""
        images, problems = _images(values, places)
        if problems and not images:
            raise problems[0]
        category = fields.category(values["category"])
        self.rows += 1
        self._images |= dict.fromkeys(images)
        self._lost += [LeftOut(line, self.listing_id, x.reason, x.detail) for x in problems]
        self._state("category", category, "", line)
        for name, value in values.items():
            if name == "price":
                price, currency, unclear = fields.price(value, mark)
                self._state(name, price, unclear, line)
                self._currency = self._currency or currency
            elif name in OPTIONAL:
                self._state(name, *fields.optional(name, value), line)
            elif is_aspect(name):
                found, self._unclear[name] = fields.values(name, value)
                self._aspects.setdefault(name, {}).update(
                    (text, None) for text in self._spellings.all_of(name, found)
                )

    def finished(self) -> Listing | LeftOut:
        """The listing, or why its rows are left out."""
        if not self._images:
            return LeftOut(self.line, self.listing_id, "no image", "image is empty", self.rows)
        if "category" not in self._stated:
            detail = "category is empty, so it can be neither learnt nor found"
            return LeftOut(self.line, self.listing_id, "no category", detail, self.rows)
        said = {name: value for name, (value, _) in self._stated.items()}
        pictured = next((image for image in self._images if image.startswith(("https://", "http://"))), "")
        implied = {
            name: text for name, text in (("currency", self._currency), ("image_url", pictured)) if text
        }
        further = implied | {name: said.pop(name) for name in FURTHER if name in said}
        return Listing(
            self.listing_id,
            tuple(self._images),
            line=self.line,
            rows=self.rows,
            aspects={name.removeprefix(ASPECT_PREFIX): tuple(x) for name, x in self._aspects.items() if x},
            unclear={name: text for name, text in self._unclear.items() if text},
            contradictions=self._contradictions,
            lost=tuple(self._lost),
            further=further,
            **said,
        )

    def _state(self, name: str, value: Any, unclear: str, line: int) -> None:
        if unclear and name not in self._stated:
            self._unclear.setdefault(name, unclear)
        if value is None or (not value and value != 0):
            return
        if not unclear and name not in self._stated:
            self._unclear.pop(name, None)  # of a row before
        first, said_in = self._stated.setdefault(name, (value, line))
        if first != value and name not in self._contradictions:
            new, old = (
                fields.shown(fields.as_text([*x] if isinstance(x, tuple) else x)) for x in (value, first)
            )
            self._contradictions[name] = f"{self._unit} {line} says {new}, {self._unit} {said_in} {old}"


def _images(values: Mapping[str, Any], places: PhotoPlaces) -> tuple[list[str], list[RowProblem]]:
    """The photos that a row names, and what is wrong with others."""
    good: list[str] = []
    problems: list[RowProblem] = []
    for name, value in values.items():
        if not fields.is_image(name):
            continue
        for image in fields.images(name, value):
            if isinstance(image, RowProblem):
                problems.append(image)
                continue
            try:
                places.check(image)
                good.append(image)
            except PhotoOutside as error:
                problems.append(RowProblem("outside the catalogue", str(error)))
            except SettingsError:
                problems.append(RowProblem("malformed image", f"not a usable place of a photo: {image!r}"))
    return good, problems
