"""What the runs of the pipeline need: memory, CPU, bytes and disk of each, the first time and every hour.

Enters: a catalogue, and how many listings change between two re-indexes. Leaves: one line for each run, and the job
variables by which the templates in k8s/jobs have to be raised. Work on photos follows what changes; passes over columns
follow what there is (docs/scale.md). The formulas are in docs/operations.md, "Sizing"; `MeasuredRuns` is the only place
with numbers from benchmarks, and says from which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lookalike.errors import SettingsError
from lookalike.sizing import GB, Catalogue, Measured

Pool = Literal["cpu", "gpu"]
GIB = 2**30
_BESIDE_GIB = 3
"""What `disk_limit` of a template has beside `scratch`: /tmp and logs."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a pod of a work pool has unless told otherwise: k8s/jobs, and `LOOKALIKE_SQUARES_GIB` of the ConfigMap."""

    memory_gib: int
    scratch_gib: int
    squares_gib: int


TEMPLATES: Mapping[Pool, Template] = {"cpu": Template(4, 20, 10), "gpu": Template(32, 200, 100)}


@dataclass(frozen=True, slots=True)
class MeasuredRuns:
    """What `lookalike plan` reckons runs of the pipeline with: numbers of benchmarks, on 2 cores of an AMD EPYC VM
    shared with other work."""

    table: ClassVar[str] = "sizing_runs"

    curation_gb: float = 0.25
    """Memory of a curation without listings, and its packages (benchmarks/growth.py, 2,000 and 10,000 listings)."""
    listing_bytes: float = 130.0
    """Memory of a listing in a curation, as columns (benchmarks/rows.py, 1,000,000 listings)."""
    row_bytes: float = 330.0
    """Memory of a listing in the row group that is written, of a million at most (benchmarks/rows.py)."""
    photo_bytes: float = 700.0
    """Memory of a photo in a curation: 400 of the photo log, 300 to find copies (docs/scale.md)."""
    looks_bytes: float = 14_000.0
    """Memory of a photo where labels are doubted by looks, so in catalogues of at most 30,000 photos
    (benchmarks/growth.py, and --without-looks)."""
    lot_bytes: float = 8000.0
    """Memory of a photo that is taken in, until its pack is stored: its prints (benchmarks/growth.py, first)."""
    decoding_gb: float = 0.43
    """Photos that a curation decodes at a time: usual ones 0.13, a heavy one 0.30 (docs/operations.md, "Sizing")."""
    curation_s: float = 2.0
    """CPU time of a curation of hardly anything, with its report (benchmarks/growth.py, 2,000 listings, 10 changed)."""
    listing_ms: float = 0.025
    """CPU time of a listing in a curation that takes no photo in: reading, splits, writing tables
    (benchmarks/rows.py, 100,000 and 1,000,000 listings)."""
    looks_ms: float = 0.2
    """CPU time of a photo where labels are doubted by looks (benchmarks/growth.py, 10 changed)."""
    photo_ms: float = 18.4
    """CPU time to identify, decode, shrink and describe a photo of 2 megapixels and 150 kB
    (benchmarks/preparing.py, with other work on the machine; 10.5 without). One of 0.07 megapixels takes 2.5."""
    copies_ms: float = 2.7
    """CPU time to find the copies of a photo (docs/scale.md: 5,301 photos of clothing)."""
    log_bytes: float = 4000.0
    """Bytes of a photo in the photo log's sheets and tables (benchmarks/growth.py: 3,200; photos of shops 4,000)."""
    log_row_bytes: float = 400.0
    """Of these what every curation fetches (docs/scale.md)."""
    table_bytes: float = 400.0
    """Bytes of a listing in the tables of a snapshot (docs/scale.md; benchmarks/growth.py, whose rows are short,
    has 100)."""
    report_bytes: float = 600_000.0
    """Bytes of a snapshot's report (benchmarks/growth.py: tables of 2,000 and 10,000 listings)."""
    code_bytes: float = 4100.0
    """Bytes of a photo in a code shard beside its code: 2,048 features of two bytes each (docs/scale.md)."""
    listed_bytes: float = 20.0
    """Bytes of a photo in the lists of what code shards hold (docs/scale.md)."""
    id_bytes: float = 450.0
    """Memory of a photo in an extraction: where it lies, its id, and those of all codes
    (benchmarks/growth.py --after-curation: 10,000 and 1,000,000 listings)."""
    index_gb: float = 0.25
    """Memory of a run that makes an index or a delta, without listings (benchmarks/deltas.py --memory)."""
    index_bytes: float = 1200.0
    """Memory of a photo in a run that makes an index or a delta
    (benchmarks/deltas.py --memory: 30,000 and 100,000 listings of one photo)."""
    index_ms: float = 0.038
    """Time of a photo in making an index: 38 s for a million (benchmarks/deltas.py)."""
    shoppers_gb: float = 0.36
    """Memory of a run that makes an index, for the encoder that photos taken anew go through (`coding.shoppers`; the
    demo's release: a run took 676 MB instead of 316)."""
    shopper_ms: float = 26.0
    """Time of a photo that is taken anew, beside encoding it: 7.7 s for 248 of the demo's with it."""
    compare_ms: float = 0.034
    """Time of a photo in making a delta: 33.8 s for a million, most of it comparing tables (benchmarks/deltas.py)."""
    delta_bytes: float = 25_000.0
    """Bytes of a delta of nothing: headers of segments, tables (benchmarks/deltas.py: 31 kB with ten changes)."""
    live_bytes: float = 20_000.0
    """Bytes that a pod fetches beside a delta: manifests and live ref (benchmarks/deltas.py: 51 kB with 31)."""
    training_gb: float = 0.25
    """Memory of a training without photos (benchmarks/training_memory.py, start)."""
    training_bytes: float = 1150.0
    """Memory of a photo while a training reads the tables: 1.4 GB for a million (benchmarks/training_memory.py)."""
    square_bytes: float = 196_608.0
    """Bytes of a decoded photo on a training's disk: 256 x 256 pixels (docs/training.md)."""
    features: int = 2048
    """Features of a photo; 100,000 photos' centre a hash layer, 200,000 photos' teach aspects (docs/training.md)."""


_TAKEN_ANEW = 500
"""Photos that the making of an index takes anew (`index.likeness.SHOPPERS`)."""
_MOST_LOOKS = 30_000
"""Photos up to which labels are doubted by looks (`catalogue.suspects.MOST_PHOTOS`)."""
_MOST_IN_A_LOT, _PACK_BYTES = 4096, 64 << 20
"""Photos and bytes after which a pack is stored (`catalogue.runs`, `CurationConfig.shard_bytes`)."""
_ROW_GROUP = 1 << 20
"""Rows that are written at a time (`catalogue.snapshot_tables.ROWS`)."""
_CENTRED, _TAUGHT = 100_000, 200_000


@dataclass(frozen=True, slots=True)
class Inventory:
    """How photos come in, and how often."""

    changed: float
    """Listings that are new or changed between two re-indexes, each with all its photos new: careful, since a price or
    a sale reads no photo."""
    photo_bytes: float = 150_000
    """Bytes of a photo as the shop has it."""
    stored_bytes: float = 19_300
    """Bytes of a photo in a pack: of 256 pixels' shorter side, as JPEG (benchmarks/preparing.py)."""
    measured: MeasuredRuns = field(default_factory=MeasuredRuns)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run needs. Bytes are in GB."""

    step: str
    pool: Pool
    memory_gb: float
    cpu_s: float | None
    """None: `lookalike train` says what a recipe takes."""
    photos: float
    """Photos read at the shop."""
    read_gb: float
    written_gb: float
    disk_gb: float
    """Local disk that fills up until the run ends."""

    @property
    def asks(self) -> Mapping[str, str]:
        """Job variables that its template has too little of; none where it suffices."""
        template, asked = TEMPLATES[self.pool], {}
        if self.memory_gb * GB > template.memory_gib * GIB:
            asked["memory_limit"] = f"{_gib(self.memory_gb)}Gi"
        if self.disk_gb * GB > template.scratch_gib * GIB:
            scratch = _gib(self.disk_gb)
            asked |= {"scratch": f"{scratch}Gi", "disk_limit": f"{scratch + _BESIDE_GIB}Gi"}
        return asked


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that make the first index, those of every hour after it, and what a pod fetches of each."""

    first: tuple[Run, ...]
    hourly: tuple[Run, ...]
    first_fetch_gb: float
    """Of an index, by one pod; a pod that holds a shard fetches its part."""
    hourly_fetch_gb: float

    @property
    def asks(self) -> Mapping[str, Mapping[str, str]]:
        """Step -> the job variables that it needs, for those whose template has too little."""
        most: dict[str, Mapping[str, str]] = {}
        for run in (*self.hourly, *self.first):
            if run.asks:
                most[run.step] = run.asks  # the first run of a step needs more than the hourly one
        return most

    @property
    def hourly_cpu_s(self) -> float:
        return math.fsum(run.cpu_s or 0.0 for run in self.hourly)


def plan_runs(catalogue: Catalogue, inventory: Inventory, measured: Measured, *, shards: int = 0) -> Runs:
    """What the runs of a catalogue need, whose index is in so many `shards` (0: whole in every pod).

    Raises `SettingsError` where a value cannot be.
    """
    known = {
        "photos of a listing": catalogue.photos,
        "changed": inventory.changed,
        "bytes of a photo": inventory.photo_bytes,
    }
    if wrong := [name for name, value in known.items() if not 0 < value < math.inf]:
        raise SettingsError(f"{', '.join(wrong)}: must be above 0")
    if inventory.changed > catalogue.listings:
        raise SettingsError(
            f"{inventory.changed:,.0f} listings change of {catalogue.listings:,.0f}: give --changed fewer"
        )
    steps = _Steps(catalogue, inventory, measured)
    delta = steps.delta_bytes / max(1, shards) + inventory.measured.live_bytes
    return Runs(
        first=(steps.curate(catalogue.listings), steps.train(), steps.extract(steps.photos), steps.index()),
        hourly=(steps.curate(inventory.changed), steps.extract(steps.new_photos), steps.delta()),
        first_fetch_gb=catalogue.index_bytes / max(1, shards) / GB,
        hourly_fetch_gb=delta / GB,
    )


class _Steps:
    """Each step by its formula; bytes until `_run`."""

    def __init__(self, catalogue: Catalogue, inventory: Inventory, measured: Measured) -> None:
        self.catalogue, self.inventory = catalogue, inventory
        self.search, self.m = measured, inventory.measured
        self.listings, self.photos = catalogue.listings, catalogue.listings * catalogue.photos
        self.new_photos = inventory.changed * catalogue.photos
        self.code = catalogue.bits / 8 + self.m.code_bytes
        self.tables = self.listings * self.m.table_bytes + self.m.report_bytes
        self.delta_bytes = self.m.delta_bytes + inventory.changed * catalogue.listing_bytes

    def curate(self, listings: float) -> Run:
        """With so many listings new, so all of them or a few."""
        m, new = self.m, listings * self.catalogue.photos
        looked = self.photos if self.photos <= _MOST_LOOKS else 0.0
        lot = min(new, _MOST_IN_A_LOT, _PACK_BYTES / self.inventory.stored_bytes)
        held = self.listings * m.listing_bytes + min(self.listings, _ROW_GROUP) * m.row_bytes
        held += self.photos * m.photo_bytes
        held += looked * m.looks_bytes + lot * m.lot_bytes
        work = self.listings * m.listing_ms + looked * m.looks_ms + new * (m.photo_ms + m.copies_ms)
        log = (self.photos - new) * m.log_row_bytes
        return _run(
            "curate",
            memory=(m.curation_gb + m.decoding_gb) * GB + held,
            cpu_ms=m.curation_s * 1e3 + work,
            photos=new,
            read=new * self.inventory.photo_bytes + log,
            written=new * (self.inventory.stored_bytes + m.log_bytes) + self.tables,
            disk=self.photos * m.log_row_bytes + _PACK_BYTES + 3 * self.tables,  # twice as rows
        )

    def train(self) -> Run:
        m, packs = self.m, self.photos * self.inventory.stored_bytes
        squares = self.photos * m.square_bytes
        once = squares <= TEMPLATES["gpu"].squares_gib * GIB  # else it decodes them for every batch
        features = (min(self.photos, _CENTRED) + min(self.photos, _TAUGHT)) * m.features * 4
        return _run(
            "train",
            pool="gpu",
            memory=m.training_gb * GB + self.photos * m.training_bytes + features,
            read=packs + self.tables,
            disk=packs + self.tables + (squares if once else 0.0),
        )

    def extract(self, photos: float) -> Run:
        """So many photos that have no code."""
        m, packs = self.m, photos * self.inventory.stored_bytes
        listed = (self.photos - photos) * m.listed_bytes
        return _run(
            "extract",
            memory=self.search.search_gb * GB + self.photos * m.id_bytes,
            cpu_ms=photos * self.search.encode_core_ms,
            read=packs + self.tables + listed,
            written=photos * (self.code + m.listed_bytes),
            disk=packs + self.tables,
        )

    def index(self) -> Run:
        codes, taken = self.photos * self.code, min(_TAKEN_ANEW, self.photos)
        return _run(
            "index",
            memory=(self.m.index_gb + self.m.shoppers_gb) * GB + self.photos * self.m.index_bytes,
            cpu_ms=self.photos * self.m.index_ms + taken * (self.m.shopper_ms + self.search.encode_core_ms),
            read=codes + self.tables,
            written=self.catalogue.index_bytes,
            disk=codes + self.tables + self.catalogue.index_bytes,
        )

    def delta(self) -> Run:
        read = 2 * self.tables + self.new_photos * self.code
        return _run(
            "delta",
            memory=self.m.index_gb * GB + self.photos * self.m.index_bytes,
            cpu_ms=self.photos * self.m.compare_ms,
            read=read,
            written=self.delta_bytes,
            disk=read + self.delta_bytes,
        )


def _run(
    step: str,
    *,
    memory: float,
    read: float,
    disk: float,
    written: float = 0.0,
    photos: float = 0.0,
    cpu_ms: float | None = None,
    pool: Pool = "cpu",
) -> Run:
    seconds = None if cpu_ms is None else cpu_ms / 1e3
    return Run(step, pool, memory / GB, seconds, photos, read / GB, written / GB, disk / GB)


def _gib(gb: float) -> int:
    """Whole GiB that hold it, with a tenth to spare."""
    return math.ceil(gb * GB / GIB * 1.1)
