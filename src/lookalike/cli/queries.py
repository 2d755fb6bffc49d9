"""The photo of a search, from wherever a person at a shell has it: a file, an address, or a pipe.

An address is fetched by whoever runs the command, with their own rights, and only as far as a query photo may be large.
"""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

from lookalike.errors import QueryError
from lookalike.imaging.limits import QueryLimits

_TIMEOUT_S = 20


def read_query(photo: str | None) -> bytes:
    """The bytes that `photo` names: a path, ``http(s)://...``, or ``-`` for standard input. Raises `QueryError`."""
    if photo is None:
        raise QueryError("give a photo (a file, an address, or - for standard input) or --listing ID")
    if photo == "-":
        if sys.stdin.isatty():
            raise QueryError(
                "- reads the photo from standard input: pipe one in, as in `cat photo.jpg | ...`"
            )
        return sys.stdin.buffer.read()
    if photo.startswith(("http://", "https://")):
        return _fetch(photo)
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise QueryError(f"{photo}: {error.strerror}") from error


def _fetch(address: str) -> bytes:
    most = QueryLimits().max_bytes
    request = urllib.request.Request(address, headers={"User-Agent": "lookalike", "Accept": "image/*"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
            data: bytes = reply.read(most + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise QueryError(f"{address}: {reason}") from error
    if len(data) > most:
        raise QueryError(f"{address}: larger than {most:,} bytes, the most that a query photo may have")
    return data
