"""The segment format: one Arrow IPC file, one record batch per leaf category (docs/index-format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

FORMAT = 1
METADATA_KEY = b"lookalike"


def segment_name(shard: int, shards: int) -> str:
    """The name of a segment within its index snapshot."""
    return f"segment-{shard:03d}-of-{shards:03d}.arrow"


def schema(bits: int, aspects: Sequence[str], header: Mapping[str, Any]) -> pa.Schema:
    """The Arrow schema of a segment; `header` is what its metadata says about the file as a whole."""
    values = pa.dictionary(pa.int32(), pa.utf8())
    fields = [
        pa.field("listing_id", pa.utf8(), nullable=False),
        pa.field("photo_id", pa.utf8(), nullable=False),
        pa.field("code", pa.binary(bits // 8), nullable=False),
        pa.field("group", pa.utf8(), nullable=False),
        pa.field("price", pa.float64()),
        *(pa.field(f"aspect_{name}", pa.list_(values), nullable=False) for name in aspects),
    ]
    text = json.dumps(dict(header), sort_keys=True, ensure_ascii=True)
    return pa.schema(fields, metadata={METADATA_KEY: text.encode()})
