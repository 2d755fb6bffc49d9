"""Requests that openapi.json allows, and some that it does not, drawn by schemathesis: no reply breaks the description.

`python -m benchmarks.contract` draws as many as one likes; here it is a few of each operation, always the same.
"""

from __future__ import annotations

from collections import Counter

from schemathesis.checks import load_all_checks

from benchmarks.contract import ask, described, operations_of
from lookalike.serving.description import openapi
from tests.serving.running import Running


def test_no_reply_breaks_the_description(process: Running) -> None:
    load_all_checks()
    asked = Counter[tuple[str, int]]()
    for operation in operations_of(described(openapi()), f"http://127.0.0.1:{process.port}"):
        assert ask(operation, 4, 0, asked) == 0
    answered = {name for name, status in asked if status == 200}
    assert {"POST /v1/search", "GET /v1/catalogue"} <= {name for name, _ in asked}
    assert "GET /v1/catalogue" in answered
