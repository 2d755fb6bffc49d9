"""Intake: references to photos enter, photo ids leave, and whatever is new is in the photo log.

A photo whose version the log has seen is not read; all others are read once (`runs`). Where these are many they are
planned (`plans`): cut into runs, which any number of machines may take beforehand. A curation then takes what they have
found, and does the rest itself: all runs where nobody has taken any, and photos that were refused, once more. So a run
that was killed goes on after its last pack, and makes the same packs as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.listings import Catalogue
from lookalike.catalogue.lots import Refusal, merge_packs
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.places import PhotoPlaces, Version
from lookalike.catalogue.plans import Kept, Plan, any_plan, find_plan, make_plan, plan_name
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.runs import DENIED, Known, Reader, Run
from lookalike.errors import AccessDenied
from lookalike.progress import Progress
from lookalike.settings import CatalogueSettings, load

_STAGE = "read photos"
_ASKED = 1 << 16
"""Files that are asked for their version at a time."""


def take_in(
    catalogue: Catalogue,
    images: pa.StringArray,
    log: PhotoLog,
    config: CurationConfig,
    *,
    folder: Path,
    note: Callable[[], None],
    progress: Progress,
) -> Taken:
    """Every reference's photo id, or why there is none. What is new is in `log` afterwards, and its packs in its store.

    Packs are put together in `folder`; `note` is called with each, so that the work is known to go on. That a photo
    cannot be decoded stands in the log; its reference has a photo id nevertheless.

    Raises `StoreUnavailable` where photos lie in a store that does not answer, and `AccessDenied` where some are denied
    and none can be read: then it is not the photos.
    """
    found, versioned, stored = _seen(catalogue.places, images, log)
    new = _open(found)
    plan = _plan(catalogue.places, images, log, config, new, stored)
    reader = Reader(catalogue.places, log, config, folder, note)
    done = len(images) - len(new)

    def read(
        asked: pa.StringArray, size: Callable[[int], int | None], runs: list[Run], at: NDArray[np.int64]
    ) -> None:
        nonlocal done
        for place, outcome in reader.read(asked, size, runs):
            if isinstance(outcome, Refusal):
                found.refused[int(at[place])] = outcome
            else:
                found.ids[at[place]] = outcome.encode()
            done += 1
            progress(_STAGE, done, len(images), f"{len(new):,} new")

    if plan is not None:
        found.plan = plan.name
        at = pc.index_in(plan.images, images).to_numpy().astype(np.int64)
        is_new = np.zeros(len(images), bool)
        is_new[new] = True
        kept = plan.kept(log)
        to = at[kept.places]
        usable = is_new[to] & ~versioned[to] & _among(kept.ids, log.ids())
        found.ids[to[usable]] = kept.ids[usable]
        done += int(np.count_nonzero(usable))
        runs = _runs(plan, log, is_new[at], kept)
        progress(_STAGE, done, len(images), f"{len(new):,} new")
        read(plan.images, plan.size, runs, at)
        log.settle()
        del plan, runs, at, to, kept
        new = _open(found)
    else:
        progress(_STAGE, done, len(images), f"{len(new):,} new")
    if len(new):
        read(
            images,
            lambda place: stored[place].size if place in stored else None,
            [Run(new, Known(log.ids()))],
            np.arange(len(images)),
        )
    merge_packs(log, found.photo_ids(), config, folder)
    log.compact()
    denied = [x.detail for x in found.refused.values() if x.reason == DENIED]
    if denied and not (found.ids != b"").any():
        message = f"none of {len(images):,} photos can be read, and access to {len(denied):,} is denied"
        raise AccessDenied(catalogue.uri, f"{catalogue.uri}: {message}; the first: {denied[0]}")
    return found


def plan_intake(
    places: PhotoPlaces, images: pa.StringArray, log: PhotoLog, config: CurationConfig
) -> Plan | None:
    """The plan of what `take_in` would read; None where one run does it."""
    found, _, stored = _seen(places, images, log)
    return _plan(places, images, log, config, _open(found), stored)


def take_part(plan: Plan, part: int, parts: int, reader: Reader, progress: Progress) -> int:
    """Read the photos of one part's runs, but for those that it has read before; how many references it read."""
    share = plan.share(part, parts)
    wanted = np.zeros(len(plan.images), bool)
    wanted[share.start * plan.run : share.stop * plan.run] = True
    runs = _runs(plan, reader.log, wanted, plan.kept(reader.log, share))
    total = sum(len(run.places) for run in runs)
    progress(_STAGE, 0, total)
    done = 0
    for done, _ in enumerate(reader.read(plan.images, plan.size, runs), 1):
        progress(_STAGE, done, total)
    return done


@dataclass(slots=True)
class Taken:
    """What references lead to, by their places."""

    ids: NDArray[np.bytes_]
    """Of photos: S32[n], empty where there is none."""
    refused: dict[int, Refusal]
    """Why there is none."""
    plan: str = ""
    """The name of the plan that they were read by, if there is one."""

    def photo_ids(self) -> pa.StringArray:
        """Each once, in order."""
        distinct = np.unique(self.ids)
        return pa.array(distinct[distinct != b""]).cast(pa.string())

    def is_refused(self) -> NDArray[np.bool_]:
        """bool[n]."""
        found = np.zeros(len(self.ids), bool)
        found[list(self.refused)] = True
        return found


def _open(found: Taken) -> NDArray[np.int64]:
    """Places of references of which nothing is known yet."""
    return np.flatnonzero((found.ids == b"") & ~found.is_refused())


def _among(ids: NDArray[np.bytes_], known: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Which of `ids` are photos that are `known`, in order."""
    if not len(known):
        return np.zeros(len(ids), bool)
    at = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return np.asarray(known[at] == ids)


def _plan(
    places: PhotoPlaces,
    images: pa.StringArray,
    log: PhotoLog,
    config: CurationConfig,
    new: NDArray[np.int64],
    stored: dict[int, Version],
) -> Plan | None:
    """The plan that the last curation of this catalogue has left, or a new one where more than a run is new.

    What a store calls the same by its size and ETag stands together, so that it is stored once.
    """
    run, planned = load(CatalogueSettings).run_photos, any_plan(log)
    if len(new) <= run and not planned:
        return None
    name = plan_name(places, images, config)
    if planned and (plan := find_plan(log, name)) is not None:
        return plan
    if len(new) <= run:
        return None
    if stored:
        first: dict[tuple[str, int], int] = {}
        alike = [
            first.setdefault((found.token, found.size), place)
            if (found := stored.get(place)) is not None and found.token
            else place
            for place in new.tolist()
        ]
        new = new[np.argsort(alike, kind="stable")]
    sizes = [stored[place].size if place in stored else None for place in new.tolist()]
    return make_plan(log, name, images.take(pa.array(new)), pa.array(sizes, pa.int64()), run)


def _runs(plan: Plan, log: PhotoLog, wanted: NDArray[np.bool_], kept: Kept) -> list[Run]:
    """The runs of references that are `wanted`, without those that were read before."""
    wanted = wanted.copy()
    wanted[kept.places] = False
    if not wanted.any():
        return []
    before, found = log.ids_in(plan.parts), []
    for number in np.unique(np.flatnonzero(wanted) // plan.run).tolist():
        first = number * plan.run
        own = kept.ids[kept.places // plan.run == number]
        known = Known(before, (photo_id.decode() for photo_id in own if photo_id))
        left = np.flatnonzero(wanted[first : first + plan.run]) + first
        found.append(Run(left, known, partial(plan.keep, log, number)))
    return found


def _seen(
    where: PhotoPlaces, images: pa.StringArray, log: PhotoLog
) -> tuple[Taken, NDArray[np.bool_], dict[int, Version]]:
    """What the log knows of photos at their versions of now, which have one, and those of photos in a store."""
    found, stored = Taken(np.zeros(len(images), "S32"), {}), dict[int, Version]()
    on_web = pc.any(pc.starts_with(images, "http", ignore_case=True)).as_py()
    files = len(images) and not on_web and where.is_local(images[0].as_py())
    places, addresses, tokens = [], [], []
    step = _ASKED if files else max(1, len(images))  # a store lists a folder once for all
    for at in range(0, len(images), step):
        block = images[at : at + step].to_pylist()
        versions = where.versions(block, log.addresses_of(block) if on_web else ())
        here = [(place, versions[image]) for place, image in enumerate(block, at) if image in versions]
        places.append(np.array([place for place, _ in here], np.int64))
        addresses.append(pa.array([version.address for _, version in here], pa.string()))
        tokens.append(pa.array([version.token for _, version in here], pa.string()))
        if not files:
            stored = dict(here)
    known = log.look_up(pa.chunked_array(addresses, pa.string()), pa.chunked_array(tokens, pa.string()))
    asked = np.concatenate([np.zeros(0, np.int64), *places])
    ids = known["photo_id"]
    found.ids[asked] = pc.fill_null(ids, "").to_numpy().astype("S32")
    bad = pc.and_(pc.is_null(ids), pc.is_valid(known["reason"]))
    told = known.select(["reason", "detail"]).filter(bad)
    for place, row in zip(asked[bad.to_numpy()].tolist(), told.to_pylist(), strict=True):
        found.refused[place] = Refusal(row["reason"], row["detail"])
    versioned = np.zeros(len(images), bool)
    versioned[asked] = True
    return found, versioned, stored
