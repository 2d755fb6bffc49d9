"""Work that is done before its result is asked for: a bounded number of items ahead, side by side, in order.

Two of these, one around the other, are a pipeline: while one batch is computed, the next are decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int,
    depth: int,
    name: str = "ahead",
    pool: Executor | None = None,
) -> Generator[R, None, None]:
    """`work(item)` for each of `items`, in their order, on `threads` threads, up to `depth` ahead of who takes them.

    `items` are taken on the caller's thread. What `work` raises is raised where its result would have been; what is
    still waiting then, or when the caller stops, is not begun. With a `pool`, of processes perhaps, that does the work,
    and is shut down at the end.
    """
    pool = pool or ThreadPoolExecutor(threads, name)
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
