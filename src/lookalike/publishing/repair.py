"""What to do where the live ref cannot be read: somebody edited it, or a disk or a proxy damaged it.

Enters: a store, and the index snapshot that is to be live. Leaves: a live ref that can be read. The damaged bytes are
kept beside it. The records before are gone with them; the new one's number is above any that can be found in them.
Publishing is held, as after a roll-back: nothing unattended should act on a ref that somebody has just pieced together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from lookalike.errors import CorruptObject, LookalikeError, ObjectNotFound, SettingsError
from lookalike.progress import Progress, silent
from lookalike.publishing import live_ref, publication
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref
from lookalike.storage.objects import ObjectStore
from lookalike.storage.verification import damages

_INDEX = re.compile(rb"index/[0-9a-f]{8,64}@[0-9a-f]{64}")
_SEQUENCE = re.compile(rb'"sequence"\s*:\s*([0-9]{1,9})')


def repair(
    store: ObjectStore, index: Ref | None = None, *, by: str, progress: Progress = silent
) -> live_ref.LiveRef:
    """Replace a live ref that cannot be read by one that names `index`, or the last whole one that it mentions.

    A live ref that can be read is left alone. Raises `SettingsError` where there is none, or none of the indexes that
    it mentions is whole; `CorruptObject` or `ObjectNotFound` where `index` is not.
    """
    try:
        data, etag = store.get_with_etag(keys.LIVE_REF)
    except ObjectNotFound as error:
        raise SettingsError(f"{store.uri}: there is no live ref to repair; publish something") from error
    try:
        found = live_ref.read_live(store)
    except CorruptObject as error:
        if _newer(data):
            raise SettingsError(f"nothing to repair: {error}") from error
    else:
        if found is not None:
            return found
    if index is None:
        index = _last_whole(store, data, progress)
    elif broken := next(damages(store, index, progress=progress), None):
        raise broken
    release = publication.release_of(store, index)
    store.put(keys.damaged_ref(datetime.now(UTC).isoformat(timespec="seconds")), data)
    sequence = max((int(number) for number in _SEQUENCE.findall(data)), default=0) + 1
    why = "the live ref was damaged and has been repaired"
    return live_ref.restore(store, release, index, by=by, sequence=sequence, etag=etag, why=why)


def _newer(data: bytes) -> bool:
    """Whether it is a whole live ref of another version of this program."""
    try:
        body = json.loads(data)
    except ValueError:
        return False
    return isinstance(body, dict) and isinstance(body.get("format"), int) and body["format"] > live_ref.FORMAT


def _last_whole(store: ObjectStore, data: bytes, progress: Progress) -> Ref:
    """The last index that the damaged bytes mention and that is whole: records stand in order, the live one last."""
    mentioned: Sequence[Ref] = [Ref.parse(text.decode()) for text in _INDEX.findall(data)]
    for ref in dict.fromkeys(reversed(mentioned)):
        try:
            release = publication.release_of(store, ref)
            if not any(next(damages(store, each, progress=progress), None) for each in (ref, release)):
                return ref
        except LookalikeError:
            continue
    raise SettingsError(
        f"{store.uri}/{keys.LIVE_REF} names no index that is whole; `lookalike inspect` lists those there are: "
        "`lookalike repair --index ID`"
    )
