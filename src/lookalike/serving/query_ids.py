"""A query's id: a text that stands for an uploaded photo for some minutes, and is its own memory.

Pods keep nothing of it. The id holds what the forward pass said of the photo (`ranking.carried`), so whichever pod a
load balancer picks can search by it, and no crowd of uploads fills anybody's memory. It is signed (HMAC-SHA256, cut to
16 bytes, RFC 2104) for the API key that uploaded the photo, and ends after a time.

The signing key is a digest of the model release's manifest: all pods of a release have it without being told, a pod of
another release cannot read the id anyway, and nobody else has it who cannot read the store. Where a release is
published for everybody, ids could be made up: all that gains is a search by a code of one's own choice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable

from lookalike.errors import QueryError, QueryExpired
from lookalike.storage.artefacts import Manifest

_VERSION = b"\x01"
_RELEASE, _SIGNATURE, _HEAD = 4, 16, 9  # bytes; the head is version, release and end


class QueryIds:
    """Makes and reads the ids of one model release."""

    def __init__(self, release: Manifest, seconds: float, *, clock: Callable[[], float] = time.time) -> None:
        files = sorted((file.name, file.sha256) for file in release.files)
        self._secret = hashlib.sha256(
            b"lookalike query id" + json.dumps(files, allow_nan=False).encode()
        ).digest()
        self._release = hashlib.sha256(self._secret).digest()[:_RELEASE]
        self._seconds, self._clock = seconds, clock

    def issue(self, carried: bytes, key: str) -> str:
        """The id of what an answer carried, for the API key of that name (empty: nobody's)."""
        end = int(self._clock() + self._seconds)
        said = _VERSION + self._release + end.to_bytes(4, "little") + carried
        return base64.urlsafe_b64encode(said + self._sign(said, key)).rstrip(b"=").decode()

    def read(self, query_id: str, key: str) -> bytes:
        """What an id carries. Raises `QueryExpired` where its time is over or its release gone, else `QueryError`."""
        try:
            whole = base64.b64decode(query_id + "=" * (-len(query_id) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise QueryError("query_id: this is none") from error
        said, signature = whole[:-_SIGNATURE], whole[-_SIGNATURE:]
        if len(said) < _HEAD or said[:1] != _VERSION:
            raise QueryError("query_id: this is none")
        if said[1 : 1 + _RELEASE] != self._release:
            raise QueryExpired("query_id: the photo was encoded by another model release; send it again")
        if not hmac.compare_digest(signature, self._sign(said, key)):
            raise QueryError("query_id: this is none of this API key")
        if int.from_bytes(said[1 + _RELEASE : _HEAD], "little") < self._clock():
            raise QueryExpired("query_id: its time is over; send the photo again")
        return said[_HEAD:]

    def _sign(self, said: bytes, key: str) -> bytes:
        return hmac.digest(self._secret, key.encode() + b"\0" + said, "sha256")[:_SIGNATURE]
