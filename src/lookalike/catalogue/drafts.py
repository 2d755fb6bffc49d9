"""Drafts: rows that name the same listing become one listing.

A shop may write one row per photo or per variant. All photos count, in the order of the rows and, within a row, of its
image columns. Everything else belongs to the listing: the first row that states it decides. A later row that states
something else is a contradiction, which is counted and shown, and an empty cell says nothing. What no row states and
one needs (a photo, a category) leaves out all rows of the listing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookalike.catalogue import fields
from lookalike.catalogue.fields import ASPECT_PREFIX, FURTHER, OPTIONAL, is_aspect
from lookalike.catalogue.listings import LeftOut, Listing
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.tables import RowProblem
from lookalike.errors import PhotoOutside, SettingsError


class Draft:
    """What the rows of one listing have said so far."""

    def __init__(self, listing_id: str, line: int, unit: str) -> None:
        self.listing_id, self.line = listing_id, line
        self.rows = 0
        self._unit = unit
        self._images: dict[str, None] = {}
        self._lost: list[LeftOut] = []
        self._stated: dict[
            str, tuple[Any, int]
        ] = {}  # column -> the value, and the line that states it first
        self._unclear: dict[str, str] = {}
        self._contradictions: dict[str, str] = {}

    def add(self, line: int, values: Mapping[str, Any], places: PhotoPlaces) -> None:
        """Take in one row. Raises `RowProblem` for a row that cannot be used, and then takes nothing of it."""
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
                self._state(name, *fields.price(value), line)
            elif name in OPTIONAL:
                self._state(name, *fields.optional(name, value), line)
            elif is_aspect(name):
                self._state(name, *fields.values(name, value), line)

    def finished(self) -> Listing | LeftOut:
        """The listing, or why its rows are left out."""
        if not self._images:
            return LeftOut(self.line, self.listing_id, "no image", "image is empty", self.rows)
        if "category" not in self._stated:
            detail = "category is empty, so it can be neither learnt nor found"
            return LeftOut(self.line, self.listing_id, "no category", detail, self.rows)
        said = {name: value for name, (value, _) in self._stated.items()}
        aspects = {name: said.pop(name) for name in [*said] if is_aspect(name)}
        further = {name: said.pop(name) for name in FURTHER if name in said}
        return Listing(
            self.listing_id,
            tuple(self._images),
            line=self.line,
            rows=self.rows,
            aspects={name.removeprefix(ASPECT_PREFIX): found for name, found in aspects.items()},
            unclear=self._unclear,
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
