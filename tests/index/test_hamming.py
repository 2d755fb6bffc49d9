"""The scan gives what numpy gives, over shapes, k, ties, filters, sketches and any number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit

from lookalike.errors import QueryError
from lookalike.index import hamming, kernels, pruning, sketch
from lookalike.index.hamming import Neighbours, Scanner, bitmap
from lookalike.index.reader import Partition

CPU = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
SCANNERS = {threads: Scanner(threads) for threads in (1, 3)}


def partition(
    codes: npt.NDArray[np.uint8],
    ids: Sequence[str],
    *,
    sketched: bool = False,
    alive: npt.NDArray[np.bool_] | None = None,
) -> Partition:
    found = sketch.fit(codes[: sketch.SAMPLE]) if sketched else None
    return Partition(
        "c",
        codes,
        pa.array(sorted(ids), pa.utf8()),
        pa.array(ids, pa.utf8()),
        pa.array(ids, pa.utf8()),
        np.zeros(len(ids)),
        {},
        sketch.Sketch(found, found.counter()(codes), found.counter()) if found else None,
        None if alive is None else bitmap(alive),
    )


def oracle(
    queries: npt.NDArray[np.uint8],
    partitions: Sequence[Partition],
    k: int,
    masks: Sequence[npt.NDArray[np.bool_]],
) -> list[list[tuple[int, int, int]]]:
    """All allowed rows, sorted by distance and listing id: (distance, partition, row) of the first k."""
    answers = []
    for query in queries:
        rows = [
            (
                int(np.bitwise_count(part.codes[row] ^ query).sum()),
                part.listing_ids[int(row)].as_py(),
                number,
                int(row),
            )
            for number, (part, mask) in enumerate(zip(partitions, masks, strict=True))
            for row in np.flatnonzero(mask)
        ]
        answers.append([(distance, number, row) for distance, _, number, row in sorted(rows)[:k]])
    return answers


def as_tuples(found: Neighbours) -> list[list[tuple[int, int, int]]]:
    return [
        list(zip(*(a.tolist() for a in rows), strict=True))
        for rows in zip(found.distance, found.partition, found.row, strict=True)
    ]


def correlated(rng: np.random.Generator, n: int, bits: int, factors: int = 8) -> npt.NDArray[np.uint8]:
    """Codes of which many bits rise and fall together, as a network's do."""
    hidden = rng.normal(size=(n, factors)) @ rng.normal(size=(factors, bits)) + rng.normal(size=bits) * 2
    return np.packbits(hidden + 0.1 * rng.normal(size=(n, bits)) > 0, axis=1)


def test_no_query_compiles_anything() -> None:
    """First in this file: later tests compile the kernels for other widths."""
    kernel = [
        getattr(kernels, name) for name in dir(kernels) if hasattr(getattr(kernels, name), "signatures")
    ]
    assert len(kernel) > 5
    codes = correlated(np.random.default_rng(1), 600, 4096)
    codes.flags.writeable = False  # as a mapped file
    parts = [
        partition(codes, [f"{i:03d}" for i in range(600)], sketched=sketched) for sketched in (True, False)
    ]
    assert parts[0].sketch is not None
    compiled = [len(function.signatures) for function in kernel]
    for part in parts:
        for count in (1, 9):
            for allowed in (None, bitmap(np.arange(600) % 3 == 0), bitmap(np.arange(600) == 5)):
                SCANNERS[3].top_k(codes[:count], [part], 10, allowed=[allowed])
    assert [len(function.signatures) for function in kernel] == compiled


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([0, 1, 7, 8, 9, 31, 33, 64, 130]), max_size=4),
    bits=st.sampled_from([64, 192, 512, 1536, 4096]),
    queries=st.sampled_from([0, 1, 2, 33]),
    k=st.sampled_from([0, 1, 5, 40, 1000]),
    distinct=st.sampled_from([1, 4, 1000]),
    keep=st.sampled_from([None, 0.0, 0.02, 0.5, 1.0]),
    dead=st.sampled_from([None, 0.0, 0.02, 0.5, 1.0]),
    threads=st.sampled_from([1, 3]),
)
def test_equals_the_oracle(
    seed: int,
    sizes: list[int],
    bits: int,
    queries: int,
    k: int,
    distinct: int,
    keep: float | None,
    dead: float | None,
    threads: int,
) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (distinct, bits // 8), np.uint8)  # few distinct codes: many ties
    ids = [f"{i:x}" for i in rng.permutation(sum(sizes))]
    cuts = np.cumsum([0, *sizes])
    alive = [None if dead is None else rng.random(n) >= dead for n in sizes]
    partitions = [
        partition(pool[rng.integers(0, distinct, n)], ids[start : start + n], alive=living)
        for start, n, living in zip(cuts.tolist(), sizes, alive, strict=False)
    ]
    masks = [rng.random(n) < (1.0 if keep is None else keep) for n in sizes]
    returned = [m & (part.alive_mask()) for m, part in zip(masks, partitions, strict=True)]
    wanted = pool[rng.integers(0, distinct, queries)] ^ (rng.integers(0, 8, (queries, bits // 8)) == 0)
    found = SCANNERS[threads].top_k(
        wanted.astype(np.uint8),
        partitions,
        k,
        allowed=None if keep is None else [bitmap(mask) for mask in masks],
    )
    assert as_tuples(found) == oracle(wanted.astype(np.uint8), partitions, k, returned)
    assert found.row.shape == (queries, min(k, sum(int(mask.sum()) for mask in returned)))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("keep", [None, 0.5, 0.01])
@pytest.mark.parametrize("dead", [0.0, 0.002, 0.7])
def test_sketches_change_no_answer(
    threads: int, keep: float | None, dead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hamming, "PIECE_ROWS", 256)
    monkeypatch.setattr(pruning, "READ_NS", 10.0)  # prune even where it would not pay
    rng = np.random.default_rng(5)
    codes = correlated(rng, 2003, 1024)
    ids = [f"{i:05d}" for i in rng.permutation(2003)]
    alive = rng.random(2003) >= dead
    partitions = [
        partition(codes[:1000], ids[:1000], sketched=True, alive=alive[:1000] if dead else None),
        partition(codes[1000:1010], ids[1000:1010], alive=alive[1000:1010] if dead else None),
        partition(codes[1010:], ids[1010:], sketched=True, alive=alive[1010:] if dead else None),
    ]
    assert partitions[0].sketch is not None
    assert partitions[2].sketch is not None
    queries = np.concatenate([codes[:2], correlated(rng, 1, 1024), rng.integers(0, 256, (1, 128), np.uint8)])
    masks = [rng.random(len(part)) < (keep or 1.0) for part in partitions]
    allowed = [bitmap(mask) for mask in masks] if keep else None
    returned = [mask & part.alive_mask() for mask, part in zip(masks, partitions, strict=True)]
    expected = oracle(queries, partitions, 2003, returned)
    for k in (1, 10, 100, 1500):
        found = SCANNERS[threads].top_k(queries, partitions, k, allowed=allowed)
        assert as_tuples(found) == [rows[:k] for rows in expected]


def test_a_sketch_bounds_the_distance_from_below_and_saves_most_reads() -> None:
    rng = np.random.default_rng(3)
    codes = correlated(rng, 3000, 1024)
    grouping = sketch.fit(codes[: sketch.SAMPLE])
    assert grouping is not None
    count = grouping.counter()
    planes, query = count(codes), codes[7:8] ^ (np.arange(128) == 3).astype(np.uint8)
    bounds, histogram = np.empty(3008, np.uint16), np.zeros(4096, np.int64)
    kernels.lower_bounds(
        planes, 0, 3000, np.ascontiguousarray(count(query)[:, 0]), hamming.ALL, bounds, histogram
    )
    distances = np.bitwise_count(codes ^ query).sum(axis=1)
    assert (bounds[:3000] <= distances).all()
    assert (bounds[:3000] <= np.sort(distances)[29]).mean() < 0.2


def test_uniform_codes_get_no_sketch() -> None:
    assert sketch.fit(np.random.default_rng(0).integers(0, 256, (sketch.SAMPLE, 512), np.uint8)) is None


def test_a_grouping_is_read_back_as_it_was_written() -> None:
    found = sketch.fit(correlated(np.random.default_rng(2), sketch.SAMPLE, 512))
    assert found is not None
    again = sketch.Grouping.from_letters(found.to_letters(), 512)
    assert again is not None
    assert again.to_letters() == found.to_letters()


@pytest.mark.parametrize(
    ("queries", "k", "allowed", "message"),
    [
        (np.zeros((1, 8), np.uint8), 1, None, "64 bits does not fit codes of 128"),
        (np.zeros((1, 16), np.int64), 1, None, "uint8"),
        (np.zeros(16, np.uint8), 1, None, "uint8"),
        (np.zeros((1, 16), np.uint8), -1, None, "at least 0"),
        (np.zeros((1, 16), np.uint8), 1, [np.zeros(1, np.uint8)], "bitmap does not fit 9 rows"),
        (np.zeros((1, 16), np.uint8), 1, [None, None], "2 bitmaps do not fit 1 partitions"),
    ],
)
def test_a_wrong_query_is_refused(
    queries: npt.NDArray[np.uint8], k: int, allowed: object, message: str
) -> None:
    part = partition(np.zeros((9, 16), np.uint8), [str(i) for i in range(9)])
    with pytest.raises(QueryError, match=message):
        SCANNERS[1].top_k(queries, [part], k, allowed=allowed)  # type: ignore[arg-type]


@pytest.mark.skipif("avx512_vpopcntdq" not in CPU, reason="this machine has no VPOPCNTQ")
def test_the_inner_loop_counts_bits_with_the_machines_own_instruction() -> None:
    SCANNERS[1].top_k(np.zeros((1, 512), np.uint8), [partition(np.zeros((9, 512), np.uint8), "012345678")], 1)
    compiled = njit(nogil=True)(kernels.scan.py_func)  # not from the cache, which keeps no assembly
    compiled.compile(next(s for s in kernels.scan.signatures if s[2].count == 8))
    (assembly,) = compiled.inspect_asm().values()
    assert assembly.count("vpopcntq") >= 64
