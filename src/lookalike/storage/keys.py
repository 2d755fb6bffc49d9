"""Every key of the object store, in one place.

::

    curated/<id>/manifest.json      curated snapshots
    releases/<id>/manifest.json     model releases
    codes/<release>/<digest>.parquet    code shards of one model release (each named by its content)
    extractions/<id>/manifest.json  which code shards cover a curated snapshot
    index/<id>/manifest.json        index snapshots
    deltas/<id>/manifest.json       deltas: what has changed since an index snapshot
    <kind>/<id>/sequence-<number>   the artefact's place among those of its kind, by when they were finished
    photos/packs/<digest>.tar       packs of photos, shared by all curated snapshots
    photos/<how>/log/<digest>.parquet   what is known of photos that were decoded in one way
    photos/<how>/seen/<digest>.parquet  which photo an address led to, at which version
    photos/prints/<digest>.bin      sheets: prints of photos, to find copies by
    photos/<how>/sketches/<digest>.parquet  in which sheet the prints of a photo are
    photos/<how>/copies/<version>/...   what was found out about pairs of photos
    photos/<how>/looks/<version>/...    what photos look like, and which look most alike
    refused/<catalogue>.html        why nothing was left of a catalogue
    refused/<catalogue>.csv         all rows of a catalogue of which nothing was left, with their reasons
    checkpoints/<id>/...            work in progress on the artefact of that id: what it is made from, where it stands
    checkpoints/curation-<id>/...   a curation under way, or a plan of new photos and what its runs have found
    refs/live.json                  the one mutable object
    refs/damaged/<time>.json        a live ref that could not be read, as `lookalike repair` found it
    refs/conditions.json            the store was seen to honour conditional writes
    measures/<release>.json         what the quality gate measured of a model release
    traffic/<day>/<process>.parquet     how many searches came, and how they went
    events/<day>/<time>-<random>.parquet   what shoppers saw and clicked, a file for each process and minute
    audit/<time>-<action>-<random>.json    who asked for what (old ones lack the action)
"""

from __future__ import annotations

import hashlib

LIVE_REF = "refs/live.json"
CONDITIONS = "refs/conditions.json"
MANIFEST = "manifest.json"
AUDIT = "audit/"
EVENTS = "events/"
CHECKPOINTS = "checkpoints/"
CODES = "codes/"
TRAFFIC = "traffic/"
PHOTOS = "photos/"
PACKS = "photos/packs/"
SHEETS = "photos/prints/"
CURATING = "checkpoints/curation-"
"""Notes of curations under way, each of which may use any pack, and their plans (`planned`)."""
_SEQUENCE = "sequence-"


def artefact(kind: str, artefact_id: str) -> str:
    """Folder of one artefact, without the last slash."""
    return f"{kind}/{artefact_id}"


def manifest(kind: str, artefact_id: str) -> str:
    """The object whose presence makes an artefact visible."""
    return f"{kind}/{artefact_id}/{MANIFEST}"


def content_addressed(kind: str, artefact_id: str, name: str, sha256: str) -> str:
    """Where a file of an artefact lies: its digest is part of the name, so no file is ever replaced."""
    stem, dot, suffix = name.partition(".")
    return f"{kind}/{artefact_id}/{stem}.{sha256[:12]}{dot}{suffix}"


def sequence(kind: str, artefact_id: str, number: int) -> str:
    """The empty object that says an artefact is the `number`-th of its kind."""
    return f"{kind}/{artefact_id}/{_SEQUENCE}{number:012d}"


def sequence_number(key: str) -> int | None:
    """The number that a key of `sequence` says; None for everything else."""
    number = key.rpartition("/")[2].removeprefix(_SEQUENCE)
    return int(number) if key.endswith(f"/{_SEQUENCE}{number}") and number.isdecimal() else None


def folder(key: str) -> str:
    """Where an object lies, without the last slash."""
    return key.rpartition("/")[0]


def code_shards(release_id: str) -> str:
    """Prefix of all code shards of one model release."""
    return f"codes/{release_id}/"


def code_shard(release_id: str, sha256: str) -> str:
    """One code shard, named by its content."""
    return f"codes/{release_id}/{sha256}.parquet"


def code_shard_photos(shard: str) -> str:
    """The ids of the photos in the code shard of that key."""
    return f"{shard.removesuffix('.parquet')}.photos"


def refused(catalogue: str) -> str:
    """The rows of a catalogue, by its address, of which nothing was left at its last curation."""
    return f"refused/{hashlib.sha256(catalogue.encode()).hexdigest()[:16]}.csv"


def refused_page(catalogue: str) -> str:
    """The report of a catalogue of which nothing was left at its last curation."""
    return refused(catalogue).removesuffix("csv") + "html"


def pack(sha256: str) -> str:
    """One pack of photos, named by its content."""
    return f"{PACKS}{sha256}.tar"


def photo_log(how: str) -> str:
    """Prefix of what is known of photos; `how` is the digest of how they were decoded."""
    return f"{PHOTOS}{how}/log/"


def seen_photos(how: str) -> str:
    """Prefix of what addresses led to; `how` as in `photo_log`."""
    return f"{PHOTOS}{how}/seen/"


def sketches(how: str) -> str:
    """Prefix of sketches of photos, and where their prints are; `how` as in `photo_log`."""
    return f"{PHOTOS}{how}/sketches/"


def sheet(sha256: str) -> str:
    """Prints of some photos, named by their content."""
    return f"{SHEETS}{sha256}.bin"


def way(key: str) -> str | None:
    """The `how` of a table of the photo log, or None for packs, sheets and everything else."""
    if not key.startswith(PHOTOS) or key.startswith((PACKS, SHEETS)):
        return None
    return key.split("/", 2)[1]


def copies(how: str, version: int) -> str:
    """Prefix of what was found out about pairs of photos; `how` as in `photo_log`."""
    return f"{PHOTOS}{how}/copies/{version}/"


def looks(how: str, version: int, what: str) -> str:
    """Prefix of descriptors of photos (``described``) or of which look most alike (``near``)."""
    return f"{PHOTOS}{how}/looks/{version}/{what}/"


def copies_version(key: str) -> int | None:
    """The version of verdicts that lie at this key; None for everything else."""
    parts = key.split("/")
    is_one = way(key) is not None and len(parts) > 4 and parts[2] == "copies" and parts[3].isdecimal()
    return int(parts[3]) if is_one else None


def curating(unique: str) -> str:
    """The note of one curation under way."""
    return f"{CURATING}{unique}/inputs.json"


def planned(plan_id: str, name: str) -> str:
    """What a plan of new photos, and the machines that share it, keep under that name until the curation has ended."""
    return f"{CURATING}{plan_id}/{name}"


def checkpoints(training_id: str) -> str:
    """Prefix of everything a training in progress keeps to resume from."""
    return f"checkpoints/{training_id}/"


def in_progress(artefact_id: str) -> str:
    """The note of what goes into an artefact that is being made."""
    return f"checkpoints/{artefact_id}/inputs.json"


def condition(unique: str) -> str:
    """An object that conditional writes are tried on, and that is then removed."""
    return f"refs/conditions/{unique}"


def damaged_ref(at: str) -> str:
    """Where a live ref that cannot be read is kept; `at` is the time (ISO 8601, UTC)."""
    return f"refs/damaged/{at.replace(':', '').removesuffix('+0000')}.json"


def traffic(day: str, process: str) -> str:
    """The searches of one process on one day (ISO 8601, UTC)."""
    return f"{TRAFFIC}{day}/{process}.parquet"


def measures(release_id: str) -> str:
    """What the quality gate measured of a model release."""
    return f"measures/{release_id}.json"


def events(at: str, unique: str) -> str:
    """One file of events, written at that time (ISO 8601, UTC)."""
    day, _, time = at.removesuffix("+00:00").partition("T")
    return f"{EVENTS}{day}/{time.replace(':', '')}-{unique}.parquet"


def audit(at: str, action: str, unique: str) -> str:
    """One audit record; the time (ISO 8601, UTC) comes first so that records list in order."""
    return f"{AUDIT}{at.replace(':', '').removesuffix('+0000')}-{action}-{unique}.json"


def audited_action(key: str) -> str:
    """The action that an audit record's key names; empty for those written before keys named one."""
    parts = key.removeprefix(AUDIT).removesuffix(".json").split("-", 3)  # a date has two hyphens of its own
    return parts[3].rpartition("-")[0] if len(parts) == 4 else ""
