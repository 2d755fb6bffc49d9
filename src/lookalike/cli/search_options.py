"""The options of `lookalike search`, one for each parameter of a search (`ranking.model`).

Options enter as a shell has them. Leaves a `SearchParameters`, read where an endpoint reads the same texts
(`ranking.asked`). What is repeated for several values has its name in the singular.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lookalike.parameter_texts import parameter_texts
from lookalike.ranking.asked import SearchParameters, parse_parameters
from lookalike.ranking.filters import LABELS
from lookalike.ranking.model import BY_NAME, REPEATED

_QUERY, _FILTERS, _ORDER, _ANSWER = "What to look for", "Filters", "Order", "What to answer"
_TYPES: dict[str, Any] = {"flag": bool, "integer": int, "number": float}


@dataclass(frozen=True, slots=True)
class SearchOption:
    """One option: the parameter that it is, what `--help` says, and where."""

    name: str
    """Of the parameter."""
    flag: str
    panel: str
    said: str
    metavar: str | None = None
    default: Any = None
    shown_default: str | bool = False
    """What `--help` says where nothing is given; True: the default."""
    switch: str | None = None
    """The value that it stands for, where it takes none."""

    @property
    def parameter(self) -> inspect.Parameter:
        """As typer reads it of a command."""
        declared = BY_NAME[self.name]
        kind = bool if self.switch else _TYPES.get(declared.kind, str)
        option: Any = typer.Option(
            self.flag,
            help=self.said,
            metavar=self.metavar,
            rich_help_panel=self.panel,
            show_default=self.shown_default,
            min=declared.limits.get("minimum"),
            max=declared.limits.get("maximum"),
        )
        kind = list[str] if declared.kind in REPEATED else kind
        default = False if kind is bool else self.default
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind if default is not None else kind | None, option],
        )


def _label(name: str) -> tuple[SearchOption, SearchOption]:
    only = f"Only listings with this {name}, in the shop's words. Repeated: any of them."
    none = f"No listings with this {name}. Those that state none pass."
    return (
        SearchOption(name, f"--{name}", _FILTERS, only, "NAME"),
        SearchOption(f"{name}_not", f"--{name}-not", _FILTERS, none, "NAME"),
    )


OPTIONS = (
    SearchOption("listing_id", "--listing", _QUERY, "Search with the photo of this listing instead.", "ID"),
    SearchOption(
        "box",
        "--box",
        _QUERY,
        "Part of the photo to search with, as fractions of its size; a tenth is added on each side.",
        "X,Y,W,H",
    ),
    SearchOption(
        "text",
        "--text",
        _QUERY,
        'Words beside the photo, such as "in red": what fulfils them comes first. Not: filters.',
        "WORDS",
    ),
    SearchOption(
        "photos",
        "--every-photo",
        _QUERY,
        "With --listing: near to any of its photos, not the main one alone.",
        switch="all",
    ),
    SearchOption(
        "categories",
        "--category",
        _FILTERS,
        "Search in this category, or all below a path, instead of the predicted ones.",
        "PATH",
    ),
    SearchOption(
        "categories_not",
        "--category-not",
        _FILTERS,
        "Search neither in this category nor below this path; the next likeliest are searched instead.",
        "PATH",
    ),
    SearchOption(
        "aspects",
        "--aspect",
        _FILTERS,
        "Only listings that state it. One name repeated: either value; several names: all of them.",
        "NAME=VALUE",
    ),
    SearchOption(
        "aspects_not",
        "--aspect-not",
        _FILTERS,
        "No listings that state it. Those that state nothing of that name pass.",
        "NAME=VALUE",
    ),
    SearchOption(
        "price",
        "--price",
        _FILTERS,
        "Only listings of this price, ends included: 10..50, 10.. or ..50. Those without one do not pass.",
        "A..B",
    ),
    SearchOption(
        "ranges",
        "--range",
        _FILTERS,
        "The same of an aspect whose values are numbers: size=40..42.5. Several names: all of them.",
        "NAME=A..B",
    ),
    *(option for name in LABELS for option in _label(name)),
    SearchOption("exclude", "--exclude", _FILTERS, "A listing that is not to be answered.", "ID"),
    SearchOption(
        "exclude_group",
        "--exclude-group",
        _FILTERS,
        "A product none of whose listings is to be answered: `group` of a hit, as --json has it.",
        "GROUP",
    ),
    SearchOption(
        "everything",
        "--everything",
        _FILTERS,
        "Search all categories; every third hit by look alone, whatever it is.",
    ),
    SearchOption(
        "sort",
        "--sort",
        _ORDER,
        "price: the cheapest first, -price: the dearest, of the nearest 300 listings that pass the filters; or another "
        "number of the shop's own.",
        "NAME",
        shown_default="by likeness",
    ),
    SearchOption(
        "alpha",
        "--alpha",
        _ORDER,
        "Weight of appearance against aspects.",
        shown_default="ranking.blend, 0.75",
    ),
    SearchOption(
        "colour",
        "--colour",
        _ORDER,
        "How many times colours count; 0 leaves them out.",
        shown_default="ranking.colour, 4",
    ),
    SearchOption(
        "least_likeness",
        "--least-likeness",
        _ORDER,
        "Likeness below which nothing is said to look like the photo: the share of the shop's own photos that "
        "would be told so; 0: never.",
        shown_default="0.05",
    ),
    SearchOption("k", "-k", _ANSWER, "Hits to answer.", default=12, shown_default=True),
    SearchOption(
        "offset",
        "--offset",
        _ANSWER,
        "Hits to pass over, for a next page: 12, then 24.",
        default=0,
        shown_default=True,
    ),
    SearchOption(
        "show",
        "--show",
        _ANSWER,
        "Also show what hits state of this aspect; '*': of all. A shop's own columns are aspects.",
        "NAME",
    ),
    SearchOption(
        "facets",
        "--facets",
        _ANSWER,
        "Count what the nearest 300 listings that pass the filters state, as options to narrow the search by.",
    ),
    SearchOption("explain", "--explain", _ANSWER, "Say how the answer and the score of each hit came about."),
)


def with_search(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with these options in place of its parameter of type `SearchParameters`.

    Typer calls the result. It raises `QueryError` where a value is wrong, before the command runs.
    """
    given = inspect.signature(command, eval_str=True)
    [taken] = (name for name, asked in given.parameters.items() if asked.annotation is SearchParameters)

    @functools.wraps(command)
    def asked(**values: Any) -> None:
        said = {option.name: values.pop(option.name) for option in OPTIONS}
        said |= {option.name: option.switch for option in OPTIONS if option.switch and said[option.name]}
        command(**values, **{taken: parse_parameters(parameter_texts(said))})

    parameters: list[inspect.Parameter] = []
    for name, parameter in given.parameters.items():
        keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += [*(option.parameter for option in OPTIONS)] if name == taken else [keyword]
    asked.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    asked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return asked
