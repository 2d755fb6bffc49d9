"""GIF: GIF89a specification (CompuServe 1990). Of a moving picture the first frame counts."""

from __future__ import annotations

import struct

from lookalike.errors import PhotoError
from lookalike.imaging.formats.header import Header

_MAXIMUM_BLOCKS = 70_000
"""Blocks before the end of the first frame: of up to 255 bytes in a file of 15 MB."""


def read(data: bytes) -> Header:
    """What the header says; a first frame that sticks out makes the photo larger. Raises `PhotoError`."""
    at, _ = _frame(data)
    left, top, width, height = struct.unpack_from("<4H", data, at + 1)
    screen = struct.unpack_from("<2H", data, 6)
    return Header("GIF", max(screen[0], left + width), max(screen[1], top + height))


def pixels(data: bytes) -> tuple[bytes, int]:
    """Screen, palette and first frame, and how many bytes code it. Raises `PhotoError`."""
    at, control = _frame(data)
    start = at + 10 + _palette(data[at + 9])
    end = _end_of_blocks(data, start + 1)
    head = data[: 13 + _palette(data[10])]
    return b"".join([head, control, data[at:end], b";"]), end - start


def _frame(data: bytes) -> tuple[int, bytes]:
    """Where the first frame's descriptor begins, and the control block that tells of its transparency."""
    if len(data) < 13:
        raise PhotoError("truncated", "the GIF ends within its header")
    at, control = 13 + _palette(data[10]), b""
    for _ in range(_MAXIMUM_BLOCKS):
        match data[at : at + 1]:
            case b"!":
                end = _end_of_blocks(data, at + 2)
                if data[at + 1] == 0xF9 and end - at == 8:
                    control = data[at:end]
                at = end
            case b"," if len(data) >= at + 11:
                return at, control
            case b"":
                raise PhotoError("truncated", "the GIF ends before its first frame")
            case _:
                raise PhotoError("damaged", "a GIF without a frame")
    raise PhotoError("damaged", f"a GIF of more than {_MAXIMUM_BLOCKS:,} blocks")


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    """The place behind the empty block that ends a row of blocks. Raises `PhotoError`."""
    for _ in range(_MAXIMUM_BLOCKS):
        if at >= len(data):
            break
        size = data[at]
        at += 1 + size
        if not size:
            return at
    raise PhotoError("truncated", "the GIF ends within a block")
