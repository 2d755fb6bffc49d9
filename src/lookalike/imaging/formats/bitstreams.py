"""What coded pictures say of their own size: sequence headers of AV1 (specification, 5.5) and HEVC (H.265, 7.3.2.2).

Decoders allocate by these, whatever the file around them claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lookalike.errors import PhotoError

_MAXIMUM_UNITS = 10_000
_AV1_SEQUENCE, _AV1_FRAME_HEADER, _AV1_FRAME = 1, 3, 6
_HEVC_SEQUENCE = 33
_HEVC_LAST_PICTURE = 31

_Size = tuple[int, int, int]
"""Width, height, and pixels of the largest frame that is possible."""


@dataclass(frozen=True, slots=True)
class Coded:
    """The largest frame that is announced, and how many frames there are."""

    width: int
    height: int
    pixels: int
    """Of the largest frame that is possible."""
    frames: int


def av1(data: bytes) -> Coded:
    """The size of an AV1 stream, at most. Raises `PhotoError`."""
    width, height, pixels, frames = 0, 0, 0, 0
    for kind, body in _av1_units(data):
        if kind == _AV1_SEQUENCE:
            w, h, most = _guarded(_av1_size, body)
            width, height, pixels = max(width, w), max(height, h), max(pixels, most)
        frames += kind in (_AV1_FRAME_HEADER, _AV1_FRAME)
    if not width:
        raise PhotoError("damaged", "an AVIF without a sequence header")
    return Coded(width, height, pixels, frames)


def hevc(configuration: bytes, data: bytes) -> Coded:
    """The size of an HEVC picture, whose parameter sets are in its configuration (ISO/IEC 14496-15, 8.3.3.1).

    Sets among the data count as well. Raises `PhotoError`.
    """
    if len(configuration) < 23:
        raise PhotoError("damaged", "a HEIC without its configuration")
    sizes, pictures = [], 0
    for unit in (*_configured(configuration), *_hevc_units(data, 1 + (configuration[21] & 3))):
        kind = unit[0] >> 1 & 63 if unit else 0
        if kind == _HEVC_SEQUENCE:
            sizes.append(_guarded(_hevc_size, unit))
        pictures += bool(unit) and kind <= _HEVC_LAST_PICTURE and len(unit) > 2 and unit[2] >> 7
    if not sizes:
        raise PhotoError("damaged", "a HEIC without a sequence header")
    width, height, pixels = (max(size[n] for size in sizes) for n in range(3))
    return Coded(width, height, pixels, pictures)


class _Bits:
    """Bits of some bytes, most significant first. Raises `IndexError` at their end."""

    def __init__(self, data: bytes) -> None:
        self.number, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise IndexError
        return self.number >> self.left & ((1 << count) - 1)

    def exponential(self) -> int:
        """An Exp-Golomb number, of at most 32 bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise IndexError
        return (1 << zeros) - 1 + self.take(zeros)


def _guarded(read: Callable[[bytes], _Size], body: bytes) -> _Size:
    try:
        return read(body[:400])
    except IndexError as error:
        raise PhotoError("damaged", "the picture's sequence header ends early") from error


def _av1_units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and contents of every unit (5.3)."""
    at = 0
    for _ in range(_MAXIMUM_UNITS):
        if at >= len(data):
            return
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size = 0
            for place in range(8):
                if at >= len(data):
                    raise PhotoError("truncated", "the picture ends within a unit")
                byte = data[at]
                at += 1
                size |= (byte & 127) << 7 * place
                if not byte & 128:
                    break
        if at + size > len(data):
            raise PhotoError("truncated", "the picture ends within a unit")
        yield head >> 3 & 15, data[at : at + min(size, 1024)]
        at += size
    raise PhotoError("damaged", f"a picture of more than {_MAXIMUM_UNITS:,} units")


def _av1_size(body: bytes) -> _Size:
    bits = _Bits(body)
    bits.take(3)
    bits.take(1)
    if reduced := bits.take(1):
        bits.take(5)
    else:
        _av1_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(width_bits) + 1, bits.take(height_bits) + 1
    if reduced:
        return width, height, width * height
    return width, height, 1 << width_bits + height_bits  # a frame may have a size of its own


def _av1_operating_points(bits: _Bits) -> None:
    delay = model = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            bits.exponential()
        if model := bits.take(1):
            delay = bits.take(5) + 1
            bits.take(42)
    display = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if model and bits.take(1):
            bits.take(2 * delay + 1)
        if display and bits.take(1):
            bits.take(4)


def _configured(configuration: bytes) -> Iterator[bytes]:
    at = 23
    for _ in range(configuration[22]):
        count = int.from_bytes(configuration[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(configuration[at : at + 2], "big")
            if at + 2 + size > len(configuration):
                raise PhotoError("damaged", "the configuration of the HEIC ends early")
            yield configuration[at + 2 : at + 2 + size]
            at += 2 + size


def _hevc_units(data: bytes, wide: int) -> Iterator[bytes]:
    at = 0
    for _ in range(_MAXIMUM_UNITS):
        if at >= len(data):
            return
        size = int.from_bytes(data[at : at + wide], "big")
        if at + wide + size > len(data):
            raise PhotoError("truncated", "the picture ends within a unit")
        yield data[at + wide : at + wide + min(size, 1024)]
        at += wide + size
    raise PhotoError("damaged", f"a picture of more than {_MAXIMUM_UNITS:,} units")


def _hevc_size(unit: bytes) -> _Size:
    bits = _Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))  # bytes that keep start codes out (7.4.2)
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    bits.take(96)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.exponential()
    if bits.exponential() == 3:
        bits.take(1)
    width, height = bits.exponential(), bits.exponential()
    return width, height, width * height
