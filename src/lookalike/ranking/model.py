"""The request of a search, declared once: what a query string, a form and a JSON body may say, and what it means.

Each parameter is one line of `PARAMETERS`. From it follow how its text is read (`asked`), where a JSON body has it
(`serving.json_bodies`), and both descriptions in openapi.json (`serving.description`). A JSON body is turned into the
texts of a query string, so whatever is refused in one is refused in the other, with the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lookalike.ranking.filters import LABELS
from lookalike.ranking.request import MAXIMUM_COLOUR, MAXIMUM_K, MAXIMUM_REACH
from lookalike.ranking.words import MAXIMUM_TEXT as MAXIMUM_WORDS

Kind = Literal["text", "integer", "number", "flag", "box", "texts", "choices", "range", "ranges"]
"""Text: one value. Texts: several. Choices: values of names, ``name=value``. Range: ``low..high``."""
REPEATED = frozenset({"texts", "choices", "ranges"})
"""Kinds that a query string repeats."""
MAXIMUM_TEXT = 500
MAXIMUM_VALUES = 1000
MAXIMUM_QUERY_ID = 20_000
_NUMBER = "[-+0-9.eE ]*"
_RANGE = {
    "type": "object",
    "properties": {"from": {"type": "number"}, "to": {"type": "number"}},
    "minProperties": 1,
    "additionalProperties": False,
}
_TEXT = {"type": "string", "maxLength": MAXIMUM_TEXT}
_TEXTS = {"type": "array", "items": _TEXT, "maxItems": MAXIMUM_VALUES}
_VALUES = {"type": "array", "items": {**_TEXT, "minLength": 1}, "maxItems": MAXIMUM_VALUES, "minItems": 1}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a search."""

    name: str
    kind: Kind
    meaning: str
    at: tuple[str, ...] = ()
    """Objects of a JSON body that it lies in, outermost first, and its name there if that is another."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema's keywords for its value."""
    example: Any = None
    """In a query string."""

    @property
    def longest(self) -> int:
        """Characters that a value may have."""
        return int(self.limits.get("maxLength", MAXIMUM_TEXT))

    @property
    def path(self) -> tuple[str, ...]:
        """Where a JSON body has it."""
        return self.at or (self.name,)

    @property
    def text_schema(self) -> dict[str, Any]:
        """Of its value in a query string."""
        match self.kind:
            case "text":
                return _TEXT | dict(self.limits)
            case "integer" | "number":
                return {"type": self.kind, **self.limits}
            case "flag":
                return {"type": "boolean"}
            case "box":
                return {"type": "string"}
            case "range":
                return {"type": "string", "pattern": rf"^{_NUMBER}\.\.{_NUMBER}$"}
            case _:
                return _TEXTS

    @property
    def json_schema(self) -> dict[str, Any]:
        """Of its value in a JSON body."""
        match self.kind:
            case "box":
                found: dict[str, Any] = {
                    "type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4,
                }  # fmt: skip
            case "range":
                found = dict(_RANGE)
            case "ranges":
                found = {"type": "object", "additionalProperties": _RANGE}
            case "choices":
                found = {"type": "object", "additionalProperties": _VALUES}
            case _:
                found = self.text_schema
        return {**found, "description": self.meaning}


def _label(name: str) -> Parameter:
    said = f"Only listings with this `{name}`, in the shop's words; several: any of them."
    return Parameter(name, "texts", said, ("filters", name))


def _label_not(name: str) -> Parameter:
    said = f"No listings with this `{name}`. Those that state none pass."
    return Parameter(f"{name}_not", "texts", said, ("filters", "not", name))


PARAMETERS = (
    Parameter("listing_id", "text", "More like this listing, instead of a photo."),
    Parameter(
        "query_id",
        "text",
        "The photo of an earlier search, by the `query_id` of its reply, instead of sending it again: for further "
        "pages, other filters and shared addresses. It holds for 15 minutes (`ServingConfig.query_seconds`), for the "
        "API key that got it; then, or where the model release has changed, the reply is a 410 (`query-expired`).",
        limits={"maxLength": MAXIMUM_QUERY_ID},
    ),
    Parameter(
        "image_url",
        "text",
        "The web address of a photo, instead of the photo. Only of hosts that the process may ask "
        "(`ServingConfig.image_hosts`; by default none). A 422 (`image-url`) says that no photo came from there.",
        limits={"maxLength": 2000},
    ),
    Parameter(
        "k",
        "integer",
        "How many hits. An answer does not depend on it: ten hits are the first of two hundred.",
        limits={"minimum": 1, "maximum": MAXIMUM_K, "default": 24},
    ),
    Parameter(
        "offset",
        "integer",
        "Hits to pass over, for a next page of the same search; `offset` and `k` together are at most "
        f"{MAXIMUM_REACH}.",
        limits={"minimum": 0, "maximum": MAXIMUM_REACH - 1, "default": 0},
    ),
    Parameter(
        "categories",
        "texts",
        "Search these leaf categories, or all below a path, instead of the likeliest ones. A leaf that has others "
        "below it is searched alone, and with them when a slash follows.",
        ("filters", "categories"),
    ),
    Parameter(
        "categories_not",
        "texts",
        "Search none of these leaf categories, nor of those below a path.",
        ("filters", "not", "categories"),
    ),
    Parameter(
        "everything",
        "flag",
        "Search all categories, and give every third place to what looks alike, whatever it is. Not together with "
        "`categories`.",
    ),
    Parameter(
        "aspects",
        "choices",
        "`name=value`: only listings that state it. The same name repeated means either value, different names mean "
        "all of them. A name that `/v1/catalogue` does not list and no photo is predicted to have is refused with a "
        "400 that lists those there are; a value that no listing states is no error and finds nothing.",
        ("filters", "aspects"),
        example=["colour=red", "colour=pink", "brand=Acme"],
    ),
    Parameter(
        "aspects_not",
        "choices",
        "`name=value`: no listings that state it. Those that state nothing of that name pass.",
        ("filters", "not", "aspects"),
        example=["brand=Acme"],
    ),
    Parameter(
        "price",
        "range",
        "A range, both ends included: `10..50`, `10..` or `..50`, each end a finite number of at least 0 as any "
        "language prints one. Listings without a price do not pass.",
        ("filters", "price"),
    ),
    Parameter(
        "ranges",
        "ranges",
        "`name=low..high`: a range as of the price, of one of the shop's own numbers (`extra`) or of any aspect whose "
        "values are numbers (`size=40..42.5`). Listings that state no number do not pass.",
        ("filters", "ranges"),
        example=["size=40..42.5"],
    ),
    *(each for name in LABELS for each in (_label(name), _label_not(name))),
    Parameter(
        "sort",
        "text",
        "Order by `price`, or by a number of the shop's own (`extra`), instead of by likeness; `-price` is the dearest "
        "first. Ordered are the nearest 300 listings that pass the filters (`RankingConfig.candidates`), of each "
        "product the one that comes first, those without a number last. The answer ends with them.",
        limits={"minLength": 1},
        example="price",
    ),
    Parameter(
        "show",
        "texts",
        "Aspects that hits carry in `aspects`, whatever the query's are; `*` for all.",
    ),
    Parameter(
        "explain",
        "flag",
        "Say how the answer and each score came about: `explain` of the reply and of each hit. For people; its fields "
        "may change.",
    ),
    Parameter(
        "facets",
        "flag",
        "Count what the nearest 300 listings that pass the filters state (`RankingConfig.candidates`), whatever `k` "
        "and `offset` are: `facets` of the reply.",
    ),
    Parameter(
        "text",
        "text",
        "Words beside the photo, such as `in red` or `for kids`: listings that state what they name come first, in "
        "whatever language the catalogue states it. They prefer and do not filter. `text` of the reply says what was "
        "understood.",
        limits={"maxLength": MAXIMUM_WORDS},
        example="this in red",
    ),
    Parameter(
        "box",
        "box",
        "The part of the photo to search for, drawn tightly: `x,y,width,height` as fractions of the upright photo. A "
        "margin of a tenth of its width and height is added on each side, as far as the photo reaches, finite numbers "
        "as any language prints them (`0.25`, `1e-7`, seventeen digits). A box that reaches over an edge by 0.01 at "
        "most, as rounding makes it, is cut off there; one that reaches further is refused.",
        example="0.1,0.2,0.5,0.5",
    ),
    Parameter(
        "alpha",
        "number",
        "Weight of appearance against aspects in the score; the process's own setting (0.75 if unchanged) where it is "
        "left out.",
        limits={"minimum": 0, "maximum": 1},
    ),
    Parameter(
        "colour",
        "number",
        "How many times the object's colours count in its appearance: 0 leaves them out, 16 puts the same colour "
        "before the same cut; the process's own setting (4 if unchanged) where it is left out. Without effect where "
        "the model release has no bits about colours.",
        limits={"minimum": 0, "maximum": MAXIMUM_COLOUR},
    ),
    Parameter(
        "least_likeness",
        "number",
        "Likeness below which `nothing_alike` is true: the share of the catalogue's own photos that would be told so; "
        "the process's own setting (0.05 if unchanged) where it is left out, 0 for never.",
        limits={"minimum": 0, "maximum": 1},
    ),
    Parameter(
        "photos",
        "text",
        "Of a listing as query: look for what is near to its main photo, or to any of its photos.",
        limits={"enum": ["main", "all"], "default": "main"},
    ),
    Parameter("exclude", "texts", "Listings that are not to be answered."),
    Parameter(
        "exclude_group",
        "texts",
        "Products none of whose listings is to be answered: `group` of a hit that was shown.",
    ),
)  # fmt: skip
BY_NAME: Mapping[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}
BY_PATH: Mapping[tuple[str, ...], Parameter] = {parameter.path: parameter for parameter in PARAMETERS}


def query_parameters() -> list[dict[str, Any]]:
    """The parameters of a query string, as OpenAPI describes them."""
    found = []
    for each in PARAMETERS:
        said = {"name": each.name, "in": "query", "required": False, "schema": each.text_schema}
        said["description"] = each.meaning + (" Repeat for several." if each.kind in REPEATED else "")
        if each.kind in REPEATED:
            said |= {"style": "form", "explode": True}
        if each.example is not None:
            said["example"] = each.example
        found.append(said)
    return found


def body_schema() -> dict[str, Any]:
    """A search as a JSON object, as JSON Schema describes it."""
    body: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "photo": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "The photo's bytes in base64; 15 MB of them at most.",
            }
        },
    }
    for each in PARAMETERS:
        place = body
        for name in each.path[:-1]:
            inner = {"type": "object", "additionalProperties": False, "properties": {}}
            place = place["properties"].setdefault(name, inner)
        place["properties"][each.path[-1]] = each.json_schema
    return body
