"""Plans: the new photos of a curation, written down once, so that machines can share them and a kill costs little.

References to new photos enter, in order; runs of some thousand of them (`run_photos` of the
table `catalogue`) leave. A run's packs hold what the photo log did not
know when the plan was made, whatever other runs have found since. So packs, and the snapshot that names them, are the
same whoever takes which run, in one process or on many machines, killed or not. For that, a photo that two runs meet
under two addresses is stored by both, and the log takes it from one of them (`photo_log`). Whoever works on a run keeps
beside the plan, lot by lot, which photo each reference led to, and goes on from there when started again.

A plan is known by the references of its whole catalogue, so that the next curation of the same one finds it. It goes
when that has ended, or is passed over once nothing was added for a day. While it is young it tells retention that a
curation is under way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.catalogue.parts import add_part, read_parts
from lookalike.catalogue.photo_log import PhotoLog, way_of
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.rules import CurationConfig
from lookalike.errors import LostRace, ObjectNotFound, OutcomeUnknown, SettingsError
from lookalike.storage import keys

_FRESH = timedelta(hours=24)
_BLOCK = 1 << 16
_PLAN = "plan.parquet"
_RUNS = "run-"
_KEPT = pa.schema(
    [
        pa.field("place", pa.int32(), nullable=False),  # of the reference in the plan
        pa.field("photo_id", pa.string()),  # null where it led to none
    ]
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What references of a plan led to."""

    places: NDArray[np.int32]
    ids: NDArray[np.bytes_]
    """Of photos: S32[n], empty where there is none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """References to photos that were new when it was made."""

    name: str
    images: pa.StringArray
    sizes: pa.Int64Array
    """Bytes of each photo; null where that takes a question of its own."""
    run: int
    """References of a run; the last one has fewer."""
    parts: tuple[str, ...]
    """Keys of the photo log's parts when it was made."""

    @property
    def runs(self) -> int:
        """How many there are."""
        return -(-len(self.images) // self.run)

    def share(self, part: int, parts: int) -> range:
        """The runs of part `part` (from 0) of `parts`, which follow one another. Raises `SettingsError`."""
        if not 0 <= part < parts:
            raise SettingsError(f"part {part} of {parts}: parts are numbered from 0")
        return range(self.runs * part // parts, self.runs * (part + 1) // parts)

    def size(self, place: int) -> int | None:
        """Bytes of the photo at that place, where they are known."""
        found: int | None = self.sizes[place].as_py()
        return found

    def keep(self, log: PhotoLog, number: int, found: Sequence[tuple[int, str | None]]) -> None:
        """Keep what references of a run led to, once the log knows it: their places and photo ids."""
        rows = [{"place": place, "photo_id": photo_id} for place, photo_id in found]
        prefix = keys.planned(self.name, _RUNS + _of_run(number))
        add_part(log.store, prefix, pa.Table.from_pylist(rows, schema=_KEPT))

    def kept(self, log: PhotoLog, runs: Iterable[int] | None = None) -> Kept:
        """What was kept of some runs, or of all."""
        prefixes = [""] if runs is None else [_of_run(number) for number in runs]
        tables = [
            read_parts(log.store, log.cache_dir, keys.planned(self.name, _RUNS + prefix), _KEPT)
            for prefix in prefixes
        ]
        rows = pa.concat_tables([_KEPT.empty_table(), *tables])
        return Kept(rows["place"].to_numpy(), pc.fill_null(rows["photo_id"], "").to_numpy().astype("S32"))


def _of_run(number: int) -> str:
    return f"{number:06d}-"


def plan_name(places: PhotoPlaces, images: pa.StringArray, config: CurationConfig) -> str:
    """What a plan of a catalogue with these references is called: 16 hexadecimal digits."""
    sha = hashlib.sha256(f"{places.folder}\n{way_of(config)}\n{config.shard_bytes}".encode())
    for at in range(0, len(images), _BLOCK):
        sha.update("".join(f"\n{image}" for image in images[at : at + _BLOCK].to_pylist()).encode())
    return sha.hexdigest()[:16]


def any_plan(log: PhotoLog) -> bool:
    """Whether there is a plan of any catalogue; where there is none nobody needs a name."""
    return any(info.key.endswith(f"/{_PLAN}") for info in log.store.list(keys.CURATING))


def find_plan(log: PhotoLog, name: str) -> Plan | None:
    """The plan of that name that somebody was at work on within a day."""
    found = list(log.store.list(keys.planned(name, "")))
    if not found or max(info.modified for info in found) < datetime.now(UTC) - _FRESH:
        return None
    with contextlib.suppress(ObjectNotFound):
        return open_plan(log, name)
    return None


def open_plan(log: PhotoLog, name: str) -> Plan:
    """The plan of that name. Raises `ObjectNotFound`, and `SettingsError` where photos are decoded otherwise here."""
    key = keys.planned(name, _PLAN)
    try:
        table = pq.read_table(pa.BufferReader(log.store.get(key)))
    except ObjectNotFound as error:
        raise ObjectNotFound(key, f"{log.store.uri}/{key} is gone: its curation has ended") from error
    said = json.loads(table.schema.metadata[b"lookalike"])
    if said["way"] != log.way:
        raise SettingsError(f"{key} is for photos that are stored in another way; use the same [curation]")
    images, sizes = (table[column].combine_chunks() for column in ("image", "size"))
    return Plan(name, images, sizes, said["run"], tuple(said["parts"]))


def make_plan(log: PhotoLog, name: str, images: pa.StringArray, sizes: pa.Int64Array, run: int) -> Plan:
    """Write a plan down, in runs of so many photos; where somebody else has just done so, theirs."""
    remove_plan(log, name)  # one of long ago
    said = json.dumps({"way": log.way, "run": run, "parts": log.parts()}, allow_nan=False)
    table = pa.table({"image": images, "size": sizes}).replace_schema_metadata({"lookalike": said})
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd")
    with contextlib.suppress(LostRace, OutcomeUnknown):  # either way the one that is there decides
        log.store.put(keys.planned(name, _PLAN), out.getvalue().to_pybytes(), if_absent=True)
    return open_plan(log, name)


def remove_plan(log: PhotoLog, name: str) -> None:
    """Remove a plan and what was kept of its runs."""
    for info in list(log.store.list(keys.planned(name, ""))):
        log.store.delete(info.key)
    shutil.rmtree(log.cache_dir / keys.planned(name, ""), ignore_errors=True)
