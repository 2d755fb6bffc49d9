"""What a forward pass said of one photo, in some two kilobytes: enough to search by it again without the photo.

Enters: code, probabilities and aspects of a photo. Leaves: bytes, and from them the same again. So that it is the very
same, and a page follows from the page before, encoding itself keeps no more than fits here (`kept_probabilities`,
`kept_categories`): of each bit how sure it is in 8 steps (3 bits), or in 128 where codes are short and the re-score
counts for more; and the likeliest categories, those that a reply would show with a probability above zero and at
least 16: where the index has only unlikely ones, the search opens the likeliest of them.

Layout, little endian: the code, bits / 8 bytes; for each bit of sureness a plane of as many; f32 cosine (NaN: none);
u16 count, and so many (u32 category, f32 probability); then the predicted aspects as JSON, deflated.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lookalike.coding.release import ModelCard
from lookalike.errors import QueryError

_LONG = 1024
"""Bits of a code beyond which 8 steps of sureness are enough: the re-score gains nothing there (docs/ranking.md)."""
_LEAST = 5e-5
"""A less likely category is shown as one of probability 0."""
_FEWEST = 16
_MOST = 255
_LONGEST = 100_000
"""Bytes of JSON, inflated; aspects have five values each."""
_PAIR = np.dtype([("category", "<u4"), ("probability", "<f4")])
_HEAD = "<fH"


@dataclass(frozen=True, slots=True)
class Carried:
    """What is kept of one photo."""

    code: np.ndarray
    """u8[bits / 8]"""
    bit_probabilities: np.ndarray
    """f32[bits]"""
    categories: np.ndarray
    """f32[C]"""
    cosine: float | None
    """Of its features with the catalogue's mean, by the index that served then; None where it had none."""
    aspects: Mapping[str, list[tuple[str, float]]]
    """Predicted values with probability."""


def kept_probabilities(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """f32[n, bits] of what is kept of `probabilities` f32[n, bits], whose bits are those of `codes` u8[n, bits / 8]."""
    steps = 2 ** _depth(probabilities.shape[-1]) - 1
    return _probabilities(np.unpackbits(codes, axis=-1), _levels(probabilities, steps), steps)


def kept_categories(probabilities: np.ndarray) -> np.ndarray:
    """f32[n, C] of what is kept of `probabilities` f32[n, C]: the likeliest, zero for the others."""
    place = np.argsort(np.argsort(-probabilities, axis=-1, kind="stable"), axis=-1)
    kept = (place < _FEWEST) | ((place < _MOST) & (probabilities >= _LEAST))
    return np.where(kept, probabilities, np.float32(0)).astype(np.float32)


def kept_cosine(cosine: float | None) -> float | None:
    """What is kept of it: a float32."""
    return None if cosine is None else float(np.float32(cosine))


def pack(photo: Carried) -> bytes:
    """The bytes of what was kept of one photo."""
    depth = _depth(len(photo.bit_probabilities))
    levels = _levels(photo.bit_probabilities, 2**depth - 1)
    planes = [np.packbits(levels >> place & 1).tobytes() for place in range(depth)]
    likely = np.flatnonzero(photo.categories)
    pairs = np.empty(len(likely), _PAIR)
    pairs["category"], pairs["probability"] = likely, photo.categories[likely]
    said = json.dumps(photo.aspects, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    head = struct.pack(_HEAD, np.nan if photo.cosine is None else photo.cosine, len(pairs))
    return b"".join((photo.code.tobytes(), *planes, head, pairs.tobytes(), zlib.compress(said, 1)))


def unpack(data: bytes, card: ModelCard) -> Carried:
    """The inverse of `pack`, for codes of a release. Raises `QueryError` where they are none."""
    width, depth = card.bits // 8, _depth(card.bits)
    try:
        planes = np.frombuffer(data, np.uint8, width * (1 + depth)).reshape(1 + depth, width)
        cosine, count = struct.unpack_from(_HEAD, data, planes.size)
        at = planes.size + struct.calcsize(_HEAD)
        pairs = np.frombuffer(data, _PAIR, count, at)
        inflated = _inflated(data[at + pairs.nbytes :])
        aspects = {
            name: [(str(v), float(p)) for v, p in values] for name, values in json.loads(inflated).items()
        }
        categories = np.zeros(len(card.categories), np.float32)
        categories[pairs["category"]] = pairs["probability"]
    except (ValueError, IndexError, TypeError, AttributeError, struct.error, zlib.error) as error:
        raise QueryError("these are not the bytes of a query") from error
    bits = np.unpackbits(planes, axis=1)
    levels = sum(
        (bits[1 + place].astype(np.int64) << place for place in range(depth)), np.zeros(card.bits, np.int64)
    )
    kept = _probabilities(bits[0], levels, 2**depth - 1)
    return Carried(planes[0], kept, categories, None if np.isnan(cosine) else cosine, aspects)


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    found = stream.decompress(data, _LONGEST)
    if not stream.eof or stream.unused_data:
        raise ValueError("it is cut off, or too long")
    return found


def _depth(bits: int) -> int:
    return 3 if bits > _LONG else 7


def _levels(probabilities: np.ndarray, steps: int) -> np.ndarray:
    """u8[...]: how sure each bit is, 0 to `steps`, which is at most 127."""
    sure = np.abs(probabilities - np.float32(0.5))
    found: np.ndarray = (sure * np.float32(2 * steps) + np.float32(0.5)).astype(np.uint8)
    return found


def _probabilities(bits: np.ndarray, levels: np.ndarray, steps: int) -> np.ndarray:
    parts = levels.astype(np.float32) / np.float32(2 * steps)
    found: np.ndarray = np.float32(0.5) + np.where(bits, parts, -parts)
    return found
