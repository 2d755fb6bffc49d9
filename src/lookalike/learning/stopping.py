"""SIGTERM as a request: what Kubernetes sends to a pod that it evicts, and `torchrun` to its processes.

Inside the training loop the request waits until the step in progress is finished and kept; everywhere else nothing
would be lost, and it takes effect at once. Either way training ends with `TrainingStopped`, exit code 143.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lookalike.errors import LookalikeError, TrainingStopped

_ELSEWHERE = "before or after the training loop; the last checkpoint stands"


class StopRequest:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.received = False
        self._deferred = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, SIGTERM is a request. Only the main thread can watch; elsewhere SIGTERM ends the process as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        except Exception as error:
            if self.received and not isinstance(error, LookalikeError):  # a library has wrapped it
                raise stopped(_ELSEWHERE) from error
            raise
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a request is only noted in `received`. Raises `TrainingStopped` for one that came before."""
        if self.received:
            raise stopped("between two stages")
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if not self._deferred:
            raise stopped(_ELSEWHERE)


def stopped(where: str) -> TrainingStopped:
    """The error with which a training that was asked to stop ends."""
    return TrainingStopped(f"stopped by SIGTERM {where}; the same command goes on from there")
