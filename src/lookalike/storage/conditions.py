"""Whether a store honours conditional writes, which the safety of publishing rests on.

A server that does not know `If-None-Match` and `If-Match` may refuse them (501), or pass them over and write: then two
publishers overwrite each other without a word. So they are tried once on an object of their own, and an object beside
the live ref remembers that they held.
"""

from __future__ import annotations

import contextlib
import uuid

from lookalike.errors import LostRace, ObjectNotFound, StoreUnsupported
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore

_OTHER_ETAG = '"' + "0" * 32 + '"'
"""Of no object: an MD5 that nobody will meet."""


def require_conditional_writes(store: ObjectStore) -> None:
    """One read where the store is known to honour them, else five writes. Raises `StoreUnsupported`."""
    with contextlib.suppress(ObjectNotFound):
        store.head(keys.CONDITIONS)
        return
    key = keys.condition(uuid.uuid4().hex)
    try:
        etag = store.put(key, b"1", if_absent=True)
        _refused(store, key, "If-None-Match", if_absent=True)
        _refused(store, key, "If-Match", if_match=_OTHER_ETAG)
        try:
            store.put(key, b"2", if_match=etag)
        except LostRace as error:
            message = (
                f"{store.uri}: the store refuses If-Match with an object's own ETag, so the live ref could be written "
                "once only; an old Ceph radosgw wants it without quotes: LOOKALIKE_S3_IF_MATCH_QUOTED=false"
            )
            raise StoreUnsupported(key, message) from error
    finally:
        store.delete(key)
    store.put(keys.CONDITIONS, b'{"held": ["If-None-Match", "If-Match"]}\n')


def _refused(
    store: ObjectStore, key: str, name: str, *, if_absent: bool = False, if_match: str | None = None
) -> None:
    """Raises `StoreUnsupported` where a write goes through whose condition does not hold."""
    try:
        store.put(key, b"overwritten", if_absent=if_absent, if_match=if_match)
    except LostRace:
        return
    message = (
        f"{store.uri}: the store passes over {name}, so two publishers would overwrite each other unnoticed; "
        "use a store with conditional writes (AWS S3, MinIO, Ceph 16 or later), or a directory"
    )
    raise StoreUnsupported(key, message)
