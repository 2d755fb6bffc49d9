"""Work that is done before its result is asked for: a bounded number of items ahead, by threads, in order.

Two of these, one around the other, are a pipeline: while one batch is computed, the next are decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int, depth: int, name: str = "ahead"
) -> Generator[R, None, None]:
    """`work(item)` for each of `items`, in their order, on `threads` threads, up to `depth` ahead of who takes them.

    `items` are taken on the caller's thread. What `work` raises is raised where its result would have been; what is
    still waiting then, or when the caller stops, is not begun.
    """
    pool = ThreadPoolExecutor(threads, name)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
