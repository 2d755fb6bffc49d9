"""How long a Python file may be: beyond 400 lines it holds a second noun."""

from __future__ import annotations

from pathlib import Path

TOP = Path(__file__).parents[2]
ROOTS = ("src", "tasks", "flows", "local", "benchmarks", "tests")
MOST = 400
LONGER = {"src/lookalike/index/kernels.py"}
"""Loops for the compiler, one beside the other: they share their constants and are read together."""


def test_no_file_is_longer_than_400_lines() -> None:
    paths = [path for root in ROOTS for path in sorted((TOP / root).rglob("*.py"))]
    lines = {path.relative_to(TOP).as_posix(): path.read_text("utf-8").count("\n") for path in paths}
    assert len(lines) > 300, "the project's files are looked at"
    assert {name for name, count in lines.items() if count > MOST} == LONGER
