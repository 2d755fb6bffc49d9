"""Walks the chunks that PNG (W3C PNG 3, 5.3) and WebP (RFC 9649, 2.3) are made of."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lookalike.errors import PhotoError

_MAXIMUM_CHUNKS = 20_000
"""Chunks of 750 bytes in a file of 15 MB; encoders write 4 to 64 kB."""
MAXIMUM_BEFORE_PIXELS = 1000
"""Chunks among which orientation and colours are looked for."""


def chunks(data: bytes, at: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the contents of every chunk of a PNG (">") or a WebP ("<"), as far as the file goes."""
    for _ in range(_MAXIMUM_CHUNKS):
        if at + 8 > len(data):
            return
        if order == ">":
            length, name = struct.unpack_from(">I4s", data, at)
        else:
            name, length = struct.unpack_from("<4sI", data, at)
        start, end = at + 8, at + 8 + length
        yield name, start, end
        at = end + 4 if order == ">" else end + (length & 1)
    raise PhotoError("damaged", f"a file of more than {_MAXIMUM_CHUNKS:,} chunks")
