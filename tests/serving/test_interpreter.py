"""A search process hands the interpreter on sooner than Python does by itself."""

from __future__ import annotations

import sys

import uvicorn

from lookalike.serving import server
from lookalike.serving.interpreter import TURN_SECONDS


def test_a_process_that_serves_shortens_its_threads_turns() -> None:
    before, seen = sys.getswitchinterval(), list[float]()

    class Ended(uvicorn.Server):
        def run(self, sockets: object = None) -> None:
            seen.append(sys.getswitchinterval())

    try:
        server._serve(Ended(uvicorn.Config("nothing:served")))
    finally:
        sys.setswitchinterval(before)
    assert seen == [TURN_SECONDS]
    assert before > TURN_SECONDS
