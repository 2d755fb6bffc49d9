# Numba types these functions when it compiles them; mypy cannot.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,call-arg,unreachable,import-untyped"
"""The compiled loops of the scan. They hold no GIL, and are cached on disk, so a process compiles them once.

A row's key is ``distance << 40 | row``: keys order rows by distance and, since the rows of a partition are sorted by
listing id, equal distances by listing id. The k best keys of a query are a max-heap, whose first element a row must
beat. LLVM turns the vector operations of `_near` and `_near_pairs` into the machine's own (AVX-512 VPOPCNTDQ, AVX2,
NEON). They stand in the file of the loops because Numba's cache notices changes of this file only.

Codes and queries are uint64[rows, words], 8-byte aligned and contiguous. `chunks` is a tuple as long as a row has
vectors of 8 words (`chunks_of`): Numba compiles a function for each type, so every width has unrolled code of its own.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ROW_BITS = 40
ROW_MASK = (1 << ROW_BITS) - 1
NOTHING = np.iinfo(np.int64).max
"""The key of no row."""
OUTSIDE = 0xFFFF
"""The bound of a row that may not be returned."""
SAMPLED = 8
"""One of so many rows is counted in the histogram of bounds."""
_AHEAD = 32
"""Rows from the one compared to the one fetched, where rows are listed."""
_BLOCK = 4096
"""Rows between two looks at what other threads have found."""
_TILE = 16
"""Rows that all queries visit while they are in the first-level cache."""
GROUP = 4
"""Queries that are compared with two rows at once, in the batch form."""
_MAX_CHUNKS = 8
"""Vectors of the widest row that has unrolled code: 4096 bits, with the query in 8 of 32 registers."""

_I8, _I16, _I32, _I64 = (ir.IntType(n) for n in (8, 16, 32, 64))


def chunks_of(words: int) -> tuple[int, ...]:
    """The `chunks` of a row of so many words; none where the plain loop has to do."""
    return (0,) * (words // 8) if words % 8 == 0 and words // 8 <= _MAX_CHUNKS else ()


def _vector(element: ir.Type, lanes: int) -> ir.VectorType:
    return ir.VectorType(element, lanes)


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = _vector(value.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    zeros = ir.Constant(_vector(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _load(
    builder: ir.IRBuilder, pointer: ir.Value, offset: ir.Value, vector: ir.VectorType, align: int
) -> ir.Value:
    load = builder.load(builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer()))
    load.align = align
    return load


def _call(builder: ir.IRBuilder, name: str, *values: ir.Value) -> ir.Value:
    """An LLVM intrinsic on vectors of one type."""
    vector = values[0].type
    full = f"llvm.{name}.v{vector.count}{vector.element}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [v.type for v in values]), full
    )
    return builder.call(function, values)


def _lane_sums(builder: ir.IRBuilder, rows: list[ir.Value]) -> ir.Value:
    """Eight vectors of eight -> the vector of their sums, by halves: a third of the work of summing each alone."""
    width = 1
    while len(rows) > 1:
        low, high = [], []
        for block in range(0, 8, 2 * width):
            low += [*range(block, block + width), *range(8 + block, 8 + block + width)]
            high += [
                *range(block + width, block + 2 * width),
                *range(8 + block + width, 8 + block + 2 * width),
            ]
        indices = [ir.Constant(_vector(_I32, 8), lanes) for lanes in (low, high)]
        rows = [
            builder.add(builder.shuffle_vector(a, b, indices[0]), builder.shuffle_vector(a, b, indices[1]))
            for a, b in zip(rows[0::2], rows[1::2], strict=True)
        ]
        width *= 2
    return rows[0]


@intrinsic
def _near_pairs(_context, codes, rows, chunks, queries, group, bars):
    """uint32: which of two rows are at most `bars` int64 from the 4 queries from `group` on; all if unsure.

    Bit 2 * i + j is row j and query i. Both rows and all queries being in registers at once, a word is loaded once for
    several comparisons.
    """
    width = chunks.count

    def generate(context, builder, signature, arguments):
        if not width:
            return ir.Constant(_I32, 0xFF)
        base, wanted, bar = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 3, 5)
        )
        vector = _vector(_I64, 8)
        first = [builder.mul(builder.extract_value(arguments[1], j), _I64(8 * width)) for j in range(2)]
        start = builder.mul(arguments[4], _I64(8 * width))
        totals = [ir.Constant(vector, [0] * 8)] * 8
        for n in range(width):
            pair = [_load(builder, base, builder.add(row, _I64(8 * n)), vector, 8) for row in first]
            for i in range(GROUP):
                word = _load(builder, wanted, builder.add(start, _I64(8 * (width * i + n))), vector, 8)
                for j in range(2):
                    count = _call(builder, "ctpop", builder.xor(word, pair[j]))
                    totals[2 * i + j] = builder.add(totals[2 * i + j], count)
        limits = _load(builder, bar, arguments[4], _vector(_I64, GROUP), 8)
        twice = ir.Constant(_vector(_I32, 8), [i // 2 for i in range(8)])
        limits = builder.shuffle_vector(limits, ir.Constant(limits.type, ir.Undefined), twice)
        near = builder.icmp_signed("<=", _lane_sums(builder, totals), limits)
        return builder.zext(builder.bitcast(near, _I8), _I32)

    pair = types.UniTuple(types.int64, 2)
    return types.uint32(codes, pair, chunks, queries, types.int64, bars), generate


@intrinsic
def _near(_context, codes, row, chunks, queries, limit):
    """Whether the row is at most `limit` from the first query; true if unsure."""
    width = chunks.count

    def generate(context, builder, signature, arguments):
        if not width:
            return ir.Constant(ir.IntType(1), 1)
        base, wanted = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 3)
        )
        vector = _vector(_I64, 8)
        first = builder.mul(arguments[1], _I64(8 * width))
        total = ir.Constant(vector, [0] * 8)
        for n in range(width):
            word = _load(builder, base, builder.add(first, _I64(8 * n)), vector, 8)
            differing = builder.xor(word, _load(builder, wanted, _I64(8 * n), vector, 8))
            total = builder.add(total, _call(builder, "ctpop", differing))
        kind = ir.FunctionType(_I64, [vector])
        add = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.add.v8i64")
        return builder.icmp_signed("<=", builder.call(add, [total]), arguments[4])

    return types.boolean(codes, types.int64, chunks, queries, types.int64), generate


@intrinsic
def _bounds32(_context, planes, stride, row, counts, bounds, at):
    """Write the sums over 16 `planes` of |plane[row..row + 31] - count| to bounds[at..at + 31]."""

    def generate(context, builder, signature, arguments):
        base, count, out = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 3, 4)
        )
        total = ir.Constant(_vector(_I16, 32), [0] * 32)
        for plane in range(16):
            start = builder.add(arguments[2], builder.mul(arguments[1], _I64(plane)))
            values = _load(builder, base, start, _vector(_I8, 32), 1)
            wanted = _splat(builder, builder.load(builder.gep(count, [_I64(plane)])), 32)
            larger, smaller = _call(builder, "umax", values, wanted), _call(builder, "umin", values, wanted)
            total = builder.add(total, builder.zext(builder.sub(larger, smaller), _vector(_I16, 32)))
        pointer = builder.bitcast(builder.gep(out, [arguments[5]]), _vector(_I16, 32).as_pointer())
        builder.store(total, pointer).align = 2
        return context.get_dummy_value()

    return types.void(planes, types.int64, types.int64, counts, bounds, types.int64), generate


@intrinsic
def _within32(_context, bounds, at, low, high):
    """uint32: which of bounds[at..at + 31] are `low` to `high`."""

    def generate(context, builder, signature, arguments):
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        values = _load(builder, base, arguments[1], _vector(_I16, 32), 2)
        low, high = (_splat(builder, builder.trunc(arguments[i], _I16), 32) for i in (2, 3))
        enough = builder.icmp_unsigned(">=", values, low)
        return builder.bitcast(builder.and_(enough, builder.icmp_unsigned("<=", values, high)), _I32)

    return types.uint32(bounds, types.int64, types.int64, types.int64), generate


@intrinsic
def _lowest_bit(_context, word):
    """Which bit is the lowest of those set in a uint32 other than 0."""

    def generate(context, builder, signature, arguments):
        return builder.zext(builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1)), _I64)

    return types.int64(types.uint32), generate


@intrinsic
def _fetch(_context, codes, row, chunks):
    """Ask for the cache lines of a row; any row will do."""

    def generate(context, builder, signature, arguments):
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        start = builder.gep(base, [builder.mul(arguments[1], _I64(8 * chunks.count))])
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for line in range(chunks.count):
            pointer = builder.bitcast(builder.gep(start, [_I64(8 * line)]), _I8.as_pointer())
            builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(codes, types.int64, chunks), generate


@intrinsic
def _popcount(_context, word):
    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True)
def _distance(codes, row, queries, query):
    total = np.uint64(0)
    for word in range(codes.shape[1]):
        total += _popcount(queries[query, word] ^ codes[row, word])
    return np.int64(total)


@njit(nogil=True, cache=True)
def _replace_worst(heaps, query, key):
    n, at = heaps.shape[1], 0
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and heaps[query, child + 1] > heaps[query, child]:
            child += 1
        if heaps[query, child] <= key:
            break
        heaps[query, at] = heaps[query, child]
        at = child
    heaps[query, at] = key


@njit(nogil=True, cache=True)
def _offer(heaps, worst, codes, row, queries, query):
    """The key to beat after `row` has been looked at."""
    key = _distance(codes, row, queries, query) << ROW_BITS | row
    if key < worst:
        _replace_worst(heaps, query, key)
        return min(worst, heaps[query, 0])
    return worst


@njit(nogil=True, cache=True)
def _lower(limits, query, heaps):
    """Tell other threads the distance that the k-th best row found here has, once there are k."""
    if heaps[query, 0] != NOTHING:
        limits[query] = min(limits[query], heaps[query, 0] | ROW_MASK)


@njit(nogil=True, cache=True)
def allowed_rows(allowed, first, last, rows):
    """Write the allowed rows from `first` (a multiple of 8) to `last` into `rows`; returns how many."""
    found = 0
    for byte in range(first >> 3, (last + 7) >> 3):
        bits = allowed[byte]
        if bits:
            for i in range(8):
                row = byte * 8 + i
                if bits >> i & 1 and row < last:
                    rows[found] = row
                    found += 1
    return found


@njit(nogil=True, cache=True)
def scan_rows(queries, codes, chunks, rows, heaps, limits):
    """Offer the rows of `codes` that `rows` int64[m] lists, which may lie far apart, to every query's heap.

    queries uint64[q rounded up to `GROUP`, words], heaps int64[q, k]. Rows must beat `limits` int64[q], which threads
    share: a limit is lowered to the distance of the k-th best row found.
    """
    q = limits.shape[0]
    worst, bars = np.empty(q, np.int64), np.full(queries.shape[0], -1)
    for first in range(0, rows.shape[0], _BLOCK):
        last = min(first + _BLOCK, rows.shape[0])
        for query in range(q):
            worst[query] = min(heaps[query, 0], limits[query])
            bars[query] = worst[query] >> ROW_BITS
        # Only intrinsics in these loops: for a function, Numba counts references, which takes longer than comparing.
        for start in range(first, last, _TILE):
            stop = min(start + _TILE, last)
            for group in range(0, queries.shape[0], GROUP):
                for i in range(start, stop, 2):
                    if (2 * i - group) % queries.shape[0] == 0 and i + _AHEAD + 1 < rows.shape[0]:
                        _fetch(codes, rows[i + _AHEAD], chunks)
                        _fetch(codes, rows[i + _AHEAD + 1], chunks)
                    pair = rows[i], rows[min(i + 1, stop - 1)]
                    near: np.uint32 = _near_pairs(codes, pair, chunks, queries, group, bars)
                    while near:
                        found = _lowest_bit(near)
                        near &= near - np.uint32(1)
                        query, at = group + (found >> 1), i + (found & 1)
                        if query < q and at < stop:
                            worst[query] = _offer(heaps, worst[query], codes, rows[at], queries, query)
                            bars[query] = worst[query] >> ROW_BITS
        for query in range(q):
            _lower(limits, query, heaps)


@njit(nogil=True, cache=True)
def scan(queries, codes, chunks, first, last, alive, heaps, limits):
    """`scan_rows` over the rows `first` (a multiple of 8) to `last` that the bitmap `alive` has."""
    rows = np.empty(_BLOCK, np.int64)
    for start in range(first, last, _BLOCK):
        count = min(_BLOCK, last - start)
        if alive.shape[0]:
            count = allowed_rows(alive, start, start + count, rows)
        else:
            for i in range(count):
                rows[i] = start + i
        scan_rows(queries, codes, chunks, rows[:count], heaps, limits)


@njit(nogil=True, cache=True)
def scan_rows_one(queries, codes, chunks, rows, heaps, limits):
    """`scan_rows` for one query."""
    worst = min(heaps[0, 0], limits[0])
    for i in range(rows.shape[0]):
        if i + _AHEAD < rows.shape[0]:
            _fetch(codes, rows[i + _AHEAD], chunks)
        if _near(codes, rows[i], chunks, queries, worst >> ROW_BITS):
            worst = _offer(heaps, worst, codes, rows[i], queries, 0)
    _lower(limits, 0, heaps)


@njit(nogil=True, cache=True)
def scan_one(queries, codes, chunks, first, last, alive, heaps, limits):
    """`scan` for one query, to which memory is the limit.

    One row at a time and nothing fetched ahead: so the processor sees a plain read, and fetches ahead itself. Whether
    a row is dead is asked of those alone that are near enough.
    """
    worst = min(heaps[0, 0], limits[0])
    masked = alive.shape[0] > 0
    for row in range(first, last):
        if _near(codes, row, chunks, queries, worst >> ROW_BITS):
            if masked and not alive[row >> 3] >> (row & 7) & 1:
                continue
            worst = _offer(heaps, worst, codes, row, queries, 0)
    _lower(limits, 0, heaps)


@njit(nogil=True, cache=True)
def group_counts(codes, flips, masks, base, planes):
    """Sketch rows: planes[g, i] = popcount((code ^ flips) & masks[g]) - base[g], cut to 0..255.

    codes uint64[n, words], flips uint64[words], masks uint64[16, words], base int64[16], planes uint8[16, n].
    """
    n, words = codes.shape
    for row in range(n):
        for g in range(base.shape[0]):
            total = np.uint64(0)
            for word in range(words):
                total += _popcount((codes[row, word] ^ flips[word]) & masks[g, word])
            planes[g, row] = min(max(np.int64(total) - base[g], 0), 255)


@njit(nogil=True, cache=True)
def _all_allowed(allowed, row):
    """Whether the 32 rows from `row` on (a multiple of 8) are all in the bitmap."""
    byte = row >> 3
    if byte + 4 > allowed.shape[0]:
        return False
    return allowed[byte] & allowed[byte + 1] & allowed[byte + 2] & allowed[byte + 3] == 255


@njit(nogil=True, cache=True)
def lower_bounds(planes, first, last, counts, allowed, bounds, histogram):
    """bounds[i] = a lower bound of the distance of row ``first + i``, for the rows `first` to `last`.

    planes uint8[16, stride], counts uint8[16] (the query's), bounds uint16[last - first, rounded up to 32],
    histogram int64[at least 4081]. Rows that `allowed` (see `scan`) leaves out, and those after `last`, get `OUTSIDE`.
    Every eighth block of 32 rows is counted in `histogram`.
    """
    stride = planes.shape[1]
    flat = planes.reshape(-1)
    for row in range(first, last, 32):
        at = row - first
        if row + 32 <= stride:
            _bounds32(flat, stride, row, counts, bounds, at)
        else:
            for i in range(stride - row):
                total = np.int64(0)
                for g in range(16):
                    total += abs(np.int64(planes[g, row + i]) - np.int64(counts[g]))
                bounds[at + i] = total
        for i in range(last - row, 32):
            bounds[at + i] = OUTSIDE
        if allowed.shape[0] and not _all_allowed(allowed, row):
            for i in range(min(32, last - row)):
                if not allowed[(row + i) >> 3] >> (i & 7) & 1:
                    bounds[at + i] = OUTSIDE
        if at & 255 == 0:
            for i in range(32):
                bound = bounds[at + i]
                if bound != OUTSIDE:
                    histogram[bound] += 1


@njit(nogil=True, cache=True)
def rows_within(bounds, first, low, high, rows):
    """Write the rows whose bound is `low` to `high` into `rows`; returns how many."""
    found = 0
    for at in range(0, bounds.shape[0], 32):
        near: np.uint32 = _within32(bounds, at, low, high)
        while near:
            rows[found] = first + at + _lowest_bit(near)
            found += 1
            near &= near - np.uint32(1)
    return found


@njit(nogil=True, cache=True)
def scatter(codes, rows, target, positions):
    """Copy ``codes[rows[i]]`` uint8[width] to target[positions[i]:]."""
    width = codes.shape[1]
    for i in range(rows.shape[0]):
        target[positions[i] : positions[i] + width] = codes[rows[i]]
