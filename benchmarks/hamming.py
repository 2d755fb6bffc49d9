"""The exact scan against its peers: FAISS IndexBinaryFlat, USearch, numpy, and a plain read of the same bytes.

    python -m benchmarks.hamming --json results.json --plot docs/images/hamming.svg
    python -m benchmarks.hamming --rows 1000000 --store fashion=STORE --store clothing=file:///other/store

Real codes are those of a store with a model release and its extraction; `benchmarks/fashion_mnist.py` tells the
commands for Fashion-MNIST.

Everything runs in one process, interleaved: each round times every contender once, so that a disturbance hits all
alike. The ratio to compare is that of the medians of one run. Recall is the part of the true top k, by distance, that
was found.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from llvmlite.binding import llvm_version_info
from usearch.index import MetricKind, search

from benchmarks import codes as made
from benchmarks.hashings import SUPERVISED
from benchmarks.report import Entry, machine, write
from lookalike.index import sketch
from lookalike.index.hamming import Scanner, bitmap
from lookalike.index.reader import Partition
from lookalike.index.segment import SKETCH_PLANES, aligned
from lookalike.storage.stores import open_store

K = 100
SEED = 7

Codes = npt.NDArray[np.uint8]
Contender = Callable[[], npt.NDArray[np.int64] | None]
"""One timed call; returns the distances it found, [queries, k], or None where it answers nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--store", action="append", default=[], metavar="NAME=URI", help="real codes of a store"
    )
    parser.add_argument(
        "--heads",
        nargs="+",
        choices=(made.OWN, *SUPERVISED),
        default=[made.OWN],
        help="the release's own hash layer, or others trained on the same features",
    )
    parser.add_argument(
        "--factors", type=int, nargs="+", default=[], help="made-up codes of so many degrees of freedom"
    )
    parser.add_argument("--mix", nargs="+", choices=("features", "bits"), default=["features", "bits"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory() as cache:
        networks = [
            made.from_store(name, open_store(uri), Path(cache), head)
            for name, uri in (s.split("=", 1) for s in options.store)
            for head in options.heads
        ]
    networks += [made.factors(count, SEED) for count in options.factors]
    results = []
    for rows in options.rows:
        results += uniform_codes(rows, options.rounds)
        for network in networks:
            for mix in options.mix:
                results += real_codes(network, mix, rows, options.rounds)
    described = machine(
        faiss=faiss.__version__, numba=numba.__version__, llvm=".".join(map(str, llvm_version_info))
    )
    write(options.json, described, results, k=K, seed=SEED)
    if options.plot:
        from benchmarks.hamming_plot import draw

        draw(results, options.plot)


def uniform_codes(rows: int, rounds: int) -> list[Entry]:
    """Every contender on codes that no sketch helps: 1, 8 and 32 queries, 1 and 2 threads, and filters."""
    codes, queries = made.uniform(rows, SEED)
    part = partition(codes)
    index = faiss.IndexBinaryFlat(codes.shape[1] * 8)
    index.add(codes)
    scanners = {threads: Scanner(threads) for threads in (1, 2)}
    best = truth(codes, queries)
    where = f"uniform {rows}"
    print(where, file=sys.stderr, flush=True)
    results = []
    for threads in (1, 2):
        few = {
            f"{where} read {threads}t": lambda t=threads: read(codes, t),
            f"{where} lookalike 1q {threads}t": lambda t=threads: scan(scanners[t], part, queries[:1]),
            f"{where} faiss 1q {threads}t": lambda t=threads: ask_faiss(index, queries[:1], t),
            f"{where} usearch 1q {threads}t": lambda t=threads: ask_usearch(codes, queries[:1], t),
        }
        if threads == 1:
            few[f"{where} numpy 1q 1t"] = lambda: ask_numpy(codes, queries[:1])
        results += measure(
            few, best, rounds, {"lookalike": [("read", 1.10), ("faiss", 0.75 if threads == 1 else 1.0)]}
        )
        for q in (8, 32):
            many = {
                f"{where} lookalike {q}q {threads}t": lambda t=threads, n=q: scan(
                    scanners[t], part, queries[:n]
                ),
                f"{where} faiss {q}q {threads}t": lambda t=threads, n=q: ask_faiss(index, queries[:n], t),
            }
            results += measure(
                many, best, max(3, rounds // 3), {"lookalike": [("faiss", 0.125 if q == 32 else 0.25)]}
            )
    rng = np.random.default_rng(SEED)
    filters: dict[str, Contender] = {f"{where} filter 100%": lambda: scan(scanners[1], part, queries[:1])}
    filtered = {}
    for share in (0.1, 0.01):
        mask = rng.random(rows) < share
        name = f"{where} filter {share:.0%}"
        allowed = bitmap(mask)
        filters[name] = lambda a=allowed: scan(scanners[1], part, queries[:1], allowed=a)
        filtered[name] = truth(codes[mask], queries[:1])
    return results + measure(filters, best, rounds, {"filter 1%": [("filter 100%", 0.2)]}, filtered)


def real_codes(network: made.Network, mix: str, rows: int, rounds: int) -> list[Entry]:
    """The pruned scan on one category of a network's codes; times are means over all queries, one at a time."""
    codes, queries = made.grown(network, rows, SEED, mix)
    part = partition(codes)
    where = f"{network.name} ({mix} mixed) {rows}"
    without = ": no sketch, so the plain scan is used" if part.sketch is None else ""
    print(where + without, file=sys.stderr, flush=True)
    index = faiss.IndexBinaryFlat(codes.shape[1] * 8)
    index.add(codes)
    best = truth(codes, queries)
    scanner = Scanner(1)
    contenders: dict[str, Contender] = {
        f"{where} read": lambda: read(codes, 1),
        f"{where} lookalike plain": lambda: scan(scanner, part, queries[:1], sketches=False),
        f"{where} faiss": lambda: ask_faiss(index, queries[:1], 1),
    }
    for i in range(len(queries)):
        contenders[f"{where} lookalike pruned #{i}"] = lambda n=i: scan(scanner, part, queries[n : n + 1])
    for name in ("plain", "pruned"):
        contenders[f"{where} lookalike 32q {name}"] = lambda s=name == "pruned": scan(
            scanner, part, queries, sketches=s
        )
    found = measure(contenders, best, rounds, {})
    single = [r for r in found if "#" in r.name]
    read_name = f"{where} read"
    mean = statistics.mean(r.value for r in single)
    worst = max(r.value for r in single)
    least = statistics.mean(r.least or r.value for r in single)
    base = next(r for r in found if r.name == read_name)
    recall = min(r.recall or 0.0 for r in single)
    return [
        *(r for r in found if "#" not in r.name),
        Entry(f"{where} lookalike pruned", mean, "ms", "lower", recall=recall, least=least),
        Entry(
            f"{where} lookalike pruned / read",
            mean / base.value,
            "ratio",
            "lower",
            target=0.25,
            peer=read_name,
            recall=recall,
            least=least / (base.least or base.value),
        ),
        Entry(
            f"{where} lookalike pruned worst query / read",
            worst / base.value,
            "ratio",
            "lower",
            peer=read_name,
        ),
        Entry(f"{where} rows read", 100 * rows_read(part, queries, best), "%", "lower"),
    ]


def measure(
    contenders: dict[str, Contender],
    best: npt.NDArray[np.int64],
    rounds: int,
    compared: dict[str, list[tuple[str, float]]],
    filtered: Mapping[str, npt.NDArray[np.int64]] | None = None,
) -> list[Entry]:
    """Medians in ms, and the ratios that `compared` names: word in the name -> (word in the peer's name, target).

    `best` has the distances that each query has to find, `filtered` those of contenders that may not find all rows.
    """
    recalls: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for name, contender in contenders.items():
        distances = contender()
        first = int(name.partition("#")[2] or 0)  # a name may end in the number of its first query
        if distances is not None:
            right = (filtered or {}).get(name, best[first : first + len(distances)])
            recalls[name] = recall(distances, right)
    for _ in range(rounds):
        for name, contender in contenders.items():
            started = time.perf_counter()
            contender()
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    shortest = {name: min(t) * 1e3 for name, t in times.items()}
    results = [
        Entry(name, value, "ms", "lower", recall=recalls.get(name), least=shortest[name])
        for name, value in medians.items()
    ]
    for word, peers in compared.items():
        name = next(n for n in medians if word in n)
        for other, target in peers:
            peer = next((n for n in medians if other in n), None)
            if peer:
                ratio, least = medians[name] / medians[peer], shortest[name] / shortest[peer]
                line = f"{name} / {other}"
                results.append(Entry(line, ratio, "ratio", "lower", target, peer, least))
    return results


def partition(codes: Codes) -> Partition:
    """The codes as the builder would put them into one category, sketch and all."""
    ids = pa.array([f"{i:09d}" for i in range(len(codes))])
    sample = np.ascontiguousarray(codes[:: max(1, len(codes) // sketch.SAMPLE)][: sketch.SAMPLE])
    grouping = sketch.fit(sample) if len(codes) >= sketch.MIN_ROWS else None
    found = None
    if grouping:
        planes = np.zeros((SKETCH_PLANES, aligned(len(codes))), np.uint8)
        planes[:, : len(codes)] = grouping.counter()(codes)
        found = sketch.Sketch(grouping, planes, grouping.counter())
    return Partition("benchmark", codes, ids, ids, ids, np.zeros(len(codes)), {}, found)


def scan(
    scanner: Scanner, part: Partition, queries: Codes, *, sketches: bool = True, allowed: Codes | None = None
) -> npt.NDArray[np.int64]:
    return scanner.top_k(queries, [part], K, allowed=[allowed], sketches=sketches).distance.astype(np.int64)


def ask_faiss(index: faiss.IndexBinaryFlat, queries: Codes, threads: int) -> npt.NDArray[np.int64]:
    faiss.omp_set_num_threads(threads)
    distances, _ = index.search(queries, K)
    return distances.astype(np.int64)


def ask_usearch(codes: Codes, queries: Codes, threads: int) -> npt.NDArray[np.int64]:
    found = search(codes, queries, K, MetricKind.Hamming, exact=True, threads=threads)
    return np.asarray(found.distances).reshape(len(queries), -1).astype(np.int64)


def ask_numpy(codes: Codes, queries: Codes) -> npt.NDArray[np.int64]:
    words = codes.view(np.uint64)
    return np.stack(
        [
            np.sort(
                np.partition(np.bitwise_count(words ^ query.view(np.uint64)).sum(axis=1, dtype=np.int64), K)[
                    :K
                ]
            )
            for query in queries
        ]
    )


def truth(codes: Codes, queries: Codes) -> npt.NDArray[np.int64]:
    """The k smallest distances of every query, by numpy."""
    return np.concatenate([ask_numpy(codes, queries[i : i + 1]) for i in range(len(queries))])


def recall(found: npt.NDArray[np.int64], best: npt.NDArray[np.int64]) -> float:
    """Part of the rows found that are as near as the k-th best, at most 1."""
    near = (np.sort(found, axis=1) <= best[:, -1:]).sum(axis=1)
    return float(np.minimum(near / best.shape[1], 1.0).mean())


def rows_read(part: Partition, queries: Codes, best: npt.NDArray[np.int64]) -> float:
    """Part of the rows whose bound is not above the k-th best distance: those that no order of reading can avoid."""
    if part.sketch is None:
        return 1.0
    counts = part.sketch.count(queries).astype(np.int64)
    shares = []
    for i in range(min(8, len(queries))):
        bounds = np.zeros(len(part), np.int64)
        for plane, count in zip(part.sketch.planes, counts[:, i], strict=True):
            bounds += np.abs(plane[: len(part)].astype(np.int64) - count)
        shares.append((bounds <= best[i, -1]).mean())
    return float(np.mean(shares))


@numba.njit(nogil=True)
def _sum(words: npt.NDArray[np.uint64]) -> int:
    total = np.uint64(0)
    for i in range(words.shape[0]):
        total += words[i]
    return total


@numba.njit(nogil=True, parallel=True)
def _sum_parallel(words: npt.NDArray[np.uint64]) -> int:
    total = np.uint64(0)
    for i in numba.prange(words.shape[0]):
        total += words[i]
    return total


def read(codes: Codes, threads: int) -> None:
    """Touch every byte once and do nothing else: what memory allows."""
    words = codes.view(np.uint64).reshape(-1)
    _sum(words) if threads == 1 else _sum_parallel(words)


if __name__ == "__main__":
    main()
