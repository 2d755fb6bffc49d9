"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike import starts
from lookalike.catalogue.knobs import Knob, knobs_of
from lookalike.catalogue.rules import CurationConfig
from lookalike.columns import OFFERED
from lookalike.errors import SettingsError
from lookalike.settings import DataGateSettings, FlowSettings, load

if TYPE_CHECKING:
    from lookalike.index.searchable import Photos

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URI",
        help="Where artefacts live: s3://bucket/prefix, file:///dir or a directory.",
        envvar="LOOKALIKE_STORE",
        show_default="./lookalike-store",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ProbePort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Answer /livez, /readyz and /metrics on this port, too: whatever fills the other does not reach it.",
        envvar="LOOKALIKE_PROBE_PORT",
        show_default="no port of their own",
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        min=0,
        help="Threads to use; 0 takes what the settings say, or every core this process may use.",
    ),
]
CatalogueUri = Annotated[
    str,
    typer.Option(
        "--catalogue",
        metavar="URI",
        help="File (CSV, JSON lines, Excel, Parquet, product feed; .gz, .zst, .zip), folder or database, local or "
        "s3://, with listing_id, image, category, or as a shop system exports it: see --preset. "
        f"Optional: {', '.join(column.name for column in OFFERED)}, aspect_*, number_*, text_*.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How the export is laid out: shopify, woocommerce, google, magento, etsy, kaggle-styles, abo, sop, one of "
        "\\[presets.NAME] in lookalike.toml, or none.",
        show_default="recognised by its columns",
    ),
]
PhotosIn = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Folder, or s3://bucket/prefix, that the photos lie in.",
        show_default="the catalogue's own folder",
    ),
]
Query = Annotated[
    str | None,
    typer.Option(
        metavar="SQL",
        help="What to ask a database (sqlite:///shop.db, postgresql://user@host/db, mysql://user@host/db); "
        "@file.sql reads it from a file.",
    ),
]
Exclude = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Listings to leave out: a table with a column listing_id, as `lookalike suspects` writes it, or one id a "
        "line; rows with anything in a column keep stay. A re-index goes on leaving them out; none: leave out nobody.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="OURS=THEIRS", help="A column that the file names otherwise: seller=sender_id."
    ),
]
PhotoRoots = Annotated[
    list[str] | None,
    typer.Option(
        "--photo-root",
        metavar="PLACE",
        help="A folder, or s3://bucket/prefix, that photos may lie in beside the catalogue's own folder or bucket.",
        show_default="LOOKALIKE_PHOTO_ROOTS",
    ),
]
Accept = Annotated[
    bool,
    typer.Option(
        "--accept", help="Publish beyond the data gate's bounds; who did and the numbers go on record."
    ),
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--bound",
        metavar="NAME=NUMBER",
        help="A bound of the data gate: fewer_listings, fewer_photos, fewer_categories, more_left_out, fewer_prices "
        "(shares, 0 to 1), slack (a number that may always change). Also \\[data_gate] in lookalike.toml.",
        show_default="0.2, 0.2, 0.1, 0.1, 0.1, 5",
    ),
]


def _known_recipe(name: str) -> str:
    """Refused while options are parsed, before a store is opened or a catalogue curated."""
    asked = name or load(FlowSettings).recipe
    return starts.known_recipe(asked)


Recipe = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Training recipe: `lookalike train --help` lists them.",
        callback=_known_recipe,
        show_default="auto",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="START",
        help="Where to start: scratch, lite0, lite2, torchvision:NAME, timm:NAME, a release (releases/...@...), or a "
        "file of safetensors. Published weights bring their network. `lookalike train --help` says more.",
        show_default="as the recipe says",
    ),
]
IndexSplits = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Index only the listings of these splits (for measuring with the others as queries).",
        show_default="all listings",
    ),
]

IndexPhotos = Annotated[
    str | None,
    typer.Option(
        metavar="all|main|N",
        help="Which photos of each listing become searchable: all of them, the main one, or the first N.",
        show_default="as the live index, or all",
    ),
]


def with_curation(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each knob of `CurationConfig`, where it has a parameter of that type."""
    given = inspect.signature(command, eval_str=True)
    [taken] = (name for name, asked in given.parameters.items() if asked.annotation is CurationConfig)
    knobs = knobs_of(CurationConfig)

    @functools.wraps(command)
    def asked(**values: Any) -> None:
        config = load(CurationConfig, **{knob.name: values.pop(knob.option) for knob in knobs})
        command(**values, **{taken: config})

    parameters: list[inspect.Parameter] = []
    for name, parameter in given.parameters.items():
        parameters += map(_option, knobs) if name == taken else [parameter]
    asked.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    asked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return asked


def _option(knob: Knob) -> inspect.Parameter:
    return inspect.Parameter(
        knob.option,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[
            knob.type | None, typer.Option(min=knob.least, help=knob.said, show_default=str(knob.default))
        ],
    )


def parse_columns(pairs: Sequence[str] | None) -> dict[str, str]:
    """``["seller=sender_id"]`` as a mapping from our name to the file's. Raises `SettingsError`."""
    columns = {}
    for pair in pairs or ():
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise SettingsError(f"--column {pair!r}: write it as OURS=THEIRS, such as seller=sender_id")
        columns[ours] = theirs
    return columns


def parse_query(text: str | None) -> str | None:
    """The query, or that of the file after ``@``. Raises `SettingsError`."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except (OSError, ValueError) as error:
        raise SettingsError(f"--query {text}: the file cannot be read: {error}") from error


def parse_bounds(pairs: Sequence[str] | None) -> DataGateSettings:
    """``["fewer_listings=0.5"]`` over what the settings say. Raises `SettingsError`."""
    given = {}
    for pair in pairs or ():
        name, _, number = pair.partition("=")
        if name not in DataGateSettings.model_fields:
            known = ", ".join(DataGateSettings.model_fields)
            raise SettingsError(f"--bound {pair!r}: write it as NAME=NUMBER; the bounds are {known}")
        given[name] = number
    try:
        return load(DataGateSettings, **given)
    except SettingsError as error:
        raise SettingsError(f"the data gate's bound {error}") from error


def parse_photos(text: str | None) -> Photos | None:
    """``"all"``, ``"main"`` or a number. Raises `SettingsError`."""
    match text:
        case None:
            return None
        case "all":
            return "all"
        case "main":
            return "main"
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise SettingsError(f"--index-photos is all, main or a number of at least 1, not {text!r}")
    return int(text)


def parse_names(text: str | None) -> frozenset[str] | None:
    """``"train,catalogue"`` as a set; None for None."""
    return None if text is None else frozenset(name.strip() for name in text.split(",") if name.strip())
