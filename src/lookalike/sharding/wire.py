"""What a coordinator and a ranker say to each other: queries and candidates as Arrow streams, everything else as JSON.

The address of every question names an index snapshot and a shard of it; a ranker that does not hold them refuses it, so
no answer mixes snapshots. An answer has one record batch for each query, whose rows are the candidates, nearest first:
what ranking asks of a candidate, and nothing that it can work out itself. A query's weights go out and the re-scored
distances come back, which takes a tenth of the bytes of the codes that they are made from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from lookalike.columns import SHOWN, Column, own_columns
from lookalike.errors import LookalikeError
from lookalike.index.reader import Partition
from lookalike.ranking.candidates import MappedCandidates
from lookalike.ranking.filters import Choices, Filters
from lookalike.ranking.listings import Candidates, IndexedListing, Summary, Wanted

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
_KEY = b"lookalike"
_SINCE_0_1 = ("aspects", "price_from", "price_to")
"""The filters that every version knows."""
_ASPECT = "aspect_"
_SHOWN = "shown_"
"""Before the name of a column of the registry, which may be called as one of ours."""
_OWN = "own_"
_FIXED = [
    ("distance", pa.int32()),
    ("expected", pa.float32()),  # null where the query has no weights
    ("category", pa.int32()),  # counts within the query's categories
    ("listing_id", pa.utf8()),
    ("photo_id", pa.utf8()),
    ("photo_ordinal", pa.int32()),
    ("group", pa.utf8()),
    *((_SHOWN + column.name, column.type) for column in SHOWN),  # null where the listing states nothing
]


class WireError(LookalikeError):
    """What came from the other side is not what this version says."""


def wanted_bytes(wanted: Sequence[Wanted]) -> bytes:
    """Queries, at least one, as an Arrow stream of one record batch, a row for each."""
    width = len(wanted[0].code)
    weights = [_weight_bytes(w.weights) for w in wanted]
    batch = pa.RecordBatch.from_pydict(
        {
            "code": pa.array([w.code.tobytes() for w in wanted], pa.binary(width)),
            "weights": pa.array(weights, pa.binary(32 * width)),
            "other_codes": pa.array(
                [[code.tobytes() for code, _ in w.others] for w in wanted], pa.list_(pa.binary(width))
            ),
            "other_weights": pa.array(
                [[_weight_bytes(weights) for _, weights in w.others] for w in wanted],
                pa.list_(pa.binary(32 * width)),
            ),
            "categories": pa.array([list(w.categories) for w in wanted], pa.list_(pa.utf8())),
            "filters": pa.array(
                [json.dumps(_filters_json(w.filters), allow_nan=False) for w in wanted], pa.utf8()
            ),
            "k": pa.array([w.k for w in wanted], pa.int64()),
            "aspects": pa.array([list(w.aspects) for w in wanted], pa.list_(pa.utf8())),
            "own": pa.array([list(w.own) for w in wanted], pa.list_(pa.utf8())),
        }
    )
    return _stream(batch.schema, [batch])


def read_wanted(data: bytes, bits: int) -> list[Wanted]:
    """The inverse of `wanted_bytes`, for an index of that width. Raises `WireError`, or `QueryError` for a filter."""
    _, batches = _batches(data)
    try:
        (batch,) = batches
        wanted = [
            Wanted(
                code=np.frombuffer(row["code"], np.uint8),
                categories=tuple(row["categories"]),
                filters=_filters(json.loads(row["filters"])),
                k=int(row["k"]),
                weights=_weights(row["weights"]),
                aspects=tuple(row["aspects"]),
                own=tuple(row.get("own", ())),  # coordinators of 0.2 name none
                others=tuple(
                    (np.frombuffer(code, np.uint8), _weights(weights))
                    for code, weights in zip(row["other_codes"], row["other_weights"], strict=True)
                ),
            )
            for row in batch.to_pylist()
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise WireError(f"these are no queries that a ranker knows: {error}") from error
    pairs = [pair for w in wanted for pair in ((w.code, w.weights), *w.others)]
    widths = {(len(code) * 8, bits if weights is None else len(weights)) for code, weights in pairs}
    alike = all((weights is None) == (w.weights is None) for w in wanted for _, weights in w.others)
    if widths != {(bits, bits)} or not alike or any(w.k < 0 for w in wanted):
        raise WireError(f"a query is not one of {bits} bits")
    return wanted


def _weight_bytes(weights: np.ndarray | None) -> bytes | None:
    return None if weights is None else weights.astype("<f4").tobytes()


def _weights(data: bytes | None) -> np.ndarray | None:
    return None if data is None else np.frombuffer(data, "<f4")


def found_bytes(wanted: Sequence[Wanted], found: Sequence[Candidates]) -> bytes:
    """The candidates of every query, as an Arrow stream of one record batch each."""
    aspects, own = _aspects_of(wanted), _own_of(wanted)
    schema = _found_schema(aspects, own)
    batches = [_batch(w, each, aspects, own, schema) for w, each in zip(wanted, found, strict=True)]
    return _stream(schema, batches)


def read_found(data: bytes, wanted: Sequence[Wanted]) -> list[pa.RecordBatch]:
    """One record batch for each query. Raises `WireError` where they are no answer to `wanted`."""
    schema, batches = _batches(data)
    if len(batches) != len(wanted) or not schema.equals(_found_schema(_aspects_of(wanted), _own_of(wanted))):
        raise WireError("this is no answer to what was asked")
    for batch, w in zip(batches, wanted, strict=True):
        place = batch.column("category").to_numpy()
        if len(place) and not (place.min() >= 0 and place.max() < len(w.categories)):
            raise WireError("an answer has a category that was not asked for")
    return batches


def summary_json(summary: Summary) -> dict[str, Any]:
    """Without the likeness, which is the index's as a whole: who reads its manifest has it. Columns of the shop's own
    are named only where there are some: a coordinator of version 0.2 refuses what it does not know."""
    left_out = {"likeness"} | ({"own"} if not summary.own else set())
    body = {name: getattr(summary, name) for name in Summary.__dataclass_fields__ if name not in left_out}
    return body | {
        "preset": dict(summary.preset),
        "stated": {c: sorted(v) for c, v in summary.stated.items()},
    }


def read_summary(body: Mapping[str, Any]) -> Summary:
    """The inverse of `summary_json`. Raises `WireError`."""
    try:
        return Summary(
            **dict(body)
            | {
                "stated": {c: frozenset(v) for c, v in body["stated"].items()},
                "prices": None if body["prices"] is None else tuple(body["prices"]),
                "examples": {c: tuple(pair) for c, pair in body["examples"].items()},
                "own": {n: None if span is None else tuple(span) for n, span in body.get("own", {}).items()},
            }
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise WireError(f"this is no summary of an index: {error}") from error


def listing_json(found: tuple[IndexedListing, np.ndarray] | None) -> dict[str, Any]:
    """What `find` says, None included: that a shard does not have a listing is an answer, not an error."""
    if found is None:
        return {"found": None}
    listing, codes = found
    fields = asdict(listing)
    beside = {
        name: fields.pop(name) for name in ("photos", "extra")
    }  # an earlier version refuses further fields
    return {"found": fields | {"codes": [code.tobytes().hex() for code in codes]}, **beside}


def read_listing(body: Mapping[str, Any]) -> tuple[IndexedListing, np.ndarray] | None:
    """The inverse of `listing_json`. Raises `WireError`."""
    try:
        if body["found"] is None:
            return None
        fields = dict(body["found"])
        codes = np.stack([np.frombuffer(bytes.fromhex(code), np.uint8) for code in fields.pop("codes")])
        aspects = {name: tuple(values) for name, values in fields.pop("aspects").items()}
        listing = IndexedListing(
            **fields, aspects=aspects, photos=tuple(body.get("photos", ())), extra=dict(body.get("extra", {}))
        )
        if set(listing.columns) != {column.name for column in SHOWN}:
            raise ValueError(f"its columns are {sorted(listing.columns)}")
        return listing, codes
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise WireError(f"this is no listing: {error}") from error


def shown_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """What each candidate states in a column of the registry, null where it states nothing."""
    return batch.column(_SHOWN + name)


def own_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """What each candidate states in a column of the shop's own, null where it states nothing."""
    return batch.column(_OWN + name)


def aspect_column(batch: pa.RecordBatch, name: str) -> pa.ListArray:
    """list<utf8>[m]: what each candidate states of an aspect."""
    return batch.column(_ASPECT + name)


def _batch(
    wanted: Wanted,
    found: Candidates,
    aspects: Collection[str],
    own: Collection[Column],
    schema: pa.Schema,
) -> pa.RecordBatch:
    assert isinstance(found, MappedCandidates)  # a ranker has its shards in memory
    rows = len(found)
    if not rows:
        return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
    place = {category: i for i, category in enumerate(wanted.categories)}
    columns = [
        pa.array(found.distance),
        pa.nulls(rows, pa.float32()) if wanted.weights is None else pa.array(found.expected_distances()),
        pa.array([place[category] for category in found.categories()], pa.int32()),
        found.column(lambda partition, at: partition.listing_ids.take(pa.array(at))),
        found.column(lambda partition, at: partition.photo_ids.take(pa.array(at))),
        pa.array(found.photo_ordinals()),
        found.column(lambda partition, at: partition.groups.take(pa.array(at))),
        *map(found.shown, (*SHOWN, *own)),
    ]
    for name in aspects:
        columns.append(found.column(lambda partition, at, name=name: _stated(partition, at, name)))  # type: ignore[misc]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _stated(partition: Partition, rows: np.ndarray, aspect: str) -> pa.ListArray:
    """list<utf8>: what these rows state of an aspect that the index may not have."""
    lists = partition.aspects.get(aspect)
    texts = pa.list_(pa.utf8())
    return pa.array([[]] * len(rows), texts) if lists is None else lists.take(pa.array(rows)).cast(texts)


def _aspects_of(wanted: Sequence[Wanted]) -> list[str]:
    """The aspects that any of the queries will be asked about: the columns of all their answers."""
    return sorted({name for w in wanted for name in w.aspects})


def _own_of(wanted: Sequence[Wanted]) -> tuple[Column, ...]:
    """The same of the shop's own columns."""
    return own_columns(name for w in wanted for name in w.own)


def _found_schema(aspects: Collection[str], own: Collection[Column]) -> pa.Schema:
    lists = [(_ASPECT + name, pa.list_(pa.utf8())) for name in aspects]
    return pa.schema([*_FIXED, *((_OWN + column.name, column.type) for column in own), *lists])


def _filters_json(filters: Filters) -> dict[str, Any]:
    """What a ranker of an earlier version understands, or else what it refuses rather than pass over."""
    body = asdict(filters)
    return {name: body[name] for name in _SINCE_0_1} if filters == _of_0_1(body) else {"filters": body}


def _filters(body: Mapping[str, Any]) -> Filters:
    stated = body.get("filters")
    if stated is None:
        return _of_0_1(body)
    choices = {name: _choices(stated[name]) for name in ("aspects", "aspects_not", "labels", "labels_not")}
    ranges = tuple((name, low, high) for name, low, high in stated["ranges"])
    return Filters(**choices, price_from=stated["price_from"], price_to=stated["price_to"], ranges=ranges)


def _of_0_1(body: Mapping[str, Any]) -> Filters:
    return Filters(_choices(body["aspects"]), body["price_from"], body["price_to"])


def _choices(items: Sequence[Any]) -> Choices:
    return tuple((name, tuple(values)) for name, values in items)


def _stream(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _batches(data: bytes) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Schema and checked record batches of a stream."""
    try:
        with pa.ipc.open_stream(data) as reader:
            batches = list(reader)
            for batch in batches:
                batch.validate(full=True)
            return reader.schema, batches
    except (pa.ArrowException, OSError, ValueError) as error:
        raise WireError(f"this is no Arrow stream: {error}") from error
