"""What each flow can be asked for: one typed model per flow, also its form in Prefect and console.

Only references and plain settings stand here. Defaults fit a shop of some ten thousand listings.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from lookalike import sections
from lookalike.catalogue.knobs import knobs_of
from lookalike.catalogue.rules import CurationConfig
from lookalike.learning.choice import AUTO
from lookalike.learning.recipes import recipe_names
from lookalike.publishing.retention import RetentionConfig
from lookalike.quality.gate import GateConfig
from lookalike.settings import DataGateSettings, FlowSettings, layers, load
from lookalike.taken_over import LAYOUT

sections.check(layers())  # a misspelt table is said here, not passed over
_BOUNDS, _FLOWS = DataGateSettings(), FlowSettings()
_CURATION, _GATE, _RETENTION = load(CurationConfig), load(GateConfig), load(RetentionConfig)
"""Defaults: the settings where the flows are registered, or run without being asked for others."""

Reference = Annotated[str, Field(pattern=r"^[a-z]+/[0-9a-f]{16}@[0-9a-f]{64}$")]


RecipeName = StrEnum("RecipeName", [(name, name) for name in dict.fromkeys([AUTO, *recipe_names()])])  # type: ignore[misc]  # known when it runs
"""The training recipes: ours, those of packages and of the settings file, where flows are registered and run."""


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = Field(
        default="",
        title="Store",
        description="Where artefacts live: s3://bucket/prefix or file:///dir. Empty: the worker's LOOKALIKE_STORE.",
    )
    threads: int = Field(
        default=0, ge=0, le=256, title="Threads", description="Threads to use; 0 takes every core there is."
    )


class _Catalogue(_Parameters):
    catalogue: str = Field(
        default="",
        title="Catalogue",
        description="CSV or Parquet file, local or s3://. Empty: the worker's LOOKALIKE_CATALOGUE.",
    )


class _Sharded(_Parameters):
    shards: int = Field(
        default=_FLOWS.shards,
        ge=0,
        le=999,
        title="Shards",
        description="Segments to spread each category over; 0: as many as the live index has, or 1.",
    )


class _Training(_Parameters):
    recipe: RecipeName = Field(
        default=RecipeName(_FLOWS.recipe), title="Recipe", description="How the network is built and trained."
    )
    weights: str = Field(
        default=_FLOWS.weights,
        max_length=500,
        title="Starting weights",
        description="Empty: as the recipe says. live: the live model release. Else a model release's reference, or "
        "published weights: lite0, torchvision:resnet50, timm:convnext_tiny; scratch: none.",
    )


def _with_knobs(config: Any) -> Callable[[type[_Parameters]], type[_Parameters]]:
    """A model with a field for each knob of a configuration, after its own, with its value as default."""
    knobs: dict[str, Any] = {
        knob.name: (
            knob.type,
            Field(
                default=getattr(config, knob.name),
                ge=knob.least,
                le=knob.most,
                title=knob.title,
                description=knob.said,
            ),
        )
        for knob in knobs_of(type(config))
    }
    return lambda model: create_model(model.__name__, __base__=model, __module__=__name__, **knobs)


@_with_knobs(_CURATION)
class _Curation(_Catalogue):
    columns: dict[str, str] = Field(
        default_factory=dict,
        title="Columns",
        description="Columns that the file names otherwise, ours -> theirs, such as seller -> sender_id.",
    )

    preset: str = Field(
        default="",
        max_length=200,
        title="Preset",
        description="How the export is laid out: shopify, woocommerce and so on; none. Empty: the worker's settings.",
    )
    photos: str = Field(
        default="",
        max_length=1000,
        title="Folder of photos",
        description="A folder or s3://bucket/prefix that photos lie in. Empty: the worker's settings.",
    )
    query: str = Field(
        default="",
        max_length=100_000,
        title="Query",
        description="What to ask a database. Empty: the worker's settings.",
    )
    exclude: str = Field(
        default="",
        max_length=1000,
        title="Excluded listings",
        description="A list of listings to leave out: a path, s3://, a curated snapshot's reference, or none. "
        "Empty: the worker's settings.",
    )

    def layout(self) -> dict[str, str]:
        """How the export is laid out and who is left out, where it is said here."""
        return {name: said for name in LAYOUT if (said := getattr(self, name))}

    def curation(self) -> dict[str, Any]:
        """The knobs alone, to hand them on."""
        return self.model_dump(include={knob.name for knob in knobs_of(CurationConfig)})


class Curate(_Curation):
    """Check the catalogue and its photos: leave out what is broken, group duplicates, split."""

    release: str = Field(
        default="",
        pattern=r"^(releases/[0-9a-f]{16}@[0-9a-f]{64})?$",
        title="Model release",
        description="One that will search the result: its categories stay, however few photos are left. "
        "Empty: to learn from.",
    )
    parts: int = Field(
        default=_FLOWS.curate_parts,
        ge=1,
        le=256,
        title="Parts",
        description="Machines that share the new photos, where these are many; 1 does it in one run.",
    )


class CuratePart(Curate):
    """Read, check and store one part of the new photos of a curation."""

    plan: str = Field(
        pattern=r"^[0-9a-f]{16}$", title="Plan", description="The name of the plan of all of them."
    )
    part: int = Field(ge=0, title="Part", description="Its number, from 0.")


class Train(_Training):
    """Train a model release on a curated snapshot."""

    curated: Reference = Field(title="Curated snapshot", description="Its reference.")


class TrainOnNodes(Train):
    """Train a model release on several machines."""

    nodes: int = Field(ge=1, le=1000, title="Machines", description="Pods that train together.")
    processes: str = Field(
        default=_FLOWS.processes,
        pattern=r"^(gpu|[1-9][0-9]{0,2})$",
        title="Processes",
        description="Processes of each machine: gpu for one on each GPU, or a number.",
    )


class Extract(_Parameters):
    """Turn every photo that has no code yet into one."""

    curated: Reference = Field(title="Curated snapshot", description="Its reference.")
    release: Reference = Field(title="Model release", description="Its reference.")

    parts: int = Field(
        default=_FLOWS.extract_parts,
        ge=1,
        le=256,
        title="Parts",
        description="Machines that share the work, each making a part of the code shards; 1 does it in one run.",
    )
    shard_size: int = Field(
        default=_FLOWS.shard_size,
        ge=1,
        le=1_000_000,
        title="Shard size",
        description="Photos of one code shard.",
    )


class ExtractPart(Extract):
    """Make one part of a release's first code shards."""

    part: int = Field(ge=0, title="Part", description="Its number, from 0.")


class Index(_Sharded):
    """Build an index snapshot from the codes of an extraction."""

    extraction: Reference = Field(title="Extraction", description="Its reference.")
    difference: bool = Field(
        default=False,
        title="By difference",
        description="Make a delta over what is live, or nothing, where that is cheaper than a new index.",
    )


class _Gate(_Parameters):
    margin: float = Field(
        default=_GATE.margin,
        ge=0,
        le=1,
        title="Margin",
        description="By how much each measure may fall below the live model release's; 0.02 is two points.",
    )
    gate_queries: int = Field(
        default=_GATE.queries,
        ge=1,
        le=100_000,
        title="Gate queries",
        description="Held-out photos measured at most.",
    )


class DataGate(_Parameters):
    """Bounds of the data gate, and an operator's word that what lies beyond them is meant."""

    fewer_listings: float = Field(
        default=_BOUNDS.fewer_listings,
        ge=0,
        le=1,
        title="Fewer listings",
        description="Share of the live listings by which they may become fewer; 0.2 is a fifth.",
    )
    fewer_photos: float = Field(
        default=_BOUNDS.fewer_photos,
        ge=0,
        le=1,
        title="Fewer photos",
        description="Share of the live photos by which they may become fewer.",
    )
    fewer_categories: float = Field(
        default=_BOUNDS.fewer_categories,
        ge=0,
        le=1,
        title="Vanished categories",
        description="Share of the live categories that may vanish; one always may.",
    )
    more_left_out: float = Field(
        default=_BOUNDS.more_left_out,
        ge=0,
        le=1,
        title="More rows left out",
        description="By how much the share of catalogue rows left out may rise; 0.1 is ten points.",
    )
    fewer_prices: float = Field(
        default=_BOUNDS.fewer_prices,
        ge=0,
        le=1,
        title="Fewer prices",
        description="By how much the share of listings with a price may fall; 0.1 is ten points.",
    )
    slack: int = Field(
        default=_BOUNDS.slack,
        ge=0,
        title="Slack",
        description="Listings, photos or rows by which a number may always change.",
    )
    accept: bool = Field(
        default=False,
        title="Accept the numbers",
        description="Publish beyond the data gate's bounds; who did and the numbers go on record.",
    )

    def data_gate(self) -> dict[str, Any]:
        """These fields alone, to hand them on."""
        return self.model_dump(include=set(DataGate.model_fields) - set(_Parameters.model_fields))


class _Asked(_Parameters):
    asked_by: str = Field(
        default="",
        max_length=60,
        title="Asked for by",
        description="Who wants this, for the live ref's record. Empty: the user and machine that run it.",
    )


class Publish(_Gate, DataGate, _Asked):
    """Pass the quality gate and the data gate, verify every file, and move the live ref."""

    index: Reference = Field(title="Index snapshot", description="Its reference.")
    replaces: str = Field(
        default="anything",
        pattern=r"^(anything|nothing|releases/[0-9a-f]{16}@[0-9a-f]{64})$",
        title="Replaces",
        description="What must be live still: anything, nothing, or a model release.",
    )


class _Retention(_Parameters):
    keep_records: int = Field(
        default=_RETENTION.records,
        ge=0,
        le=100,
        title="Roll-back depth",
        description="Earlier live pairs that stay whole, so that one can return to them.",
    )
    grace_hours: float = Field(
        default=_RETENTION.grace_hours,
        ge=0,
        le=8760,
        title="Grace",
        description="Nothing younger than so many hours is removed from the store.",
    )


class Retrain(_Gate, DataGate, _Asked, _Retention, _Training, _Sharded, _Curation):
    """Train a new model release on the current catalogue and publish it with its index, if it is good enough."""

    nodes: int = Field(
        default=_FLOWS.nodes,
        ge=1,
        le=1000,
        title="Training machines",
        description="Machines that train together, each on all its GPUs; 1 trains in one process.",
    )
    curate_parts: int = Field(
        default=_FLOWS.curate_parts,
        ge=1,
        le=256,
        title="Curation parts",
        description="Machines that share the catalogue's new photos, where these are many.",
    )
    extract_parts: int = Field(
        default=_FLOWS.extract_parts,
        ge=1,
        le=256,
        title="Extraction parts",
        description="Machines that share the extraction of the new release's codes.",
    )


class Reindex(DataGate, _Asked, _Retention, _Sharded, _Catalogue):
    """Bring the live index up to the current catalogue, with the live model release.

    Curates as the live snapshot was curated: columns, smallest category and caps are taken from there, and what the
    live model release tells apart stays. Where little has changed a delta is published, where nothing has nothing is.
    """

    base: bool = Field(
        default=False,
        title="New base",
        description="Build the index anew, however little has changed.",
    )
