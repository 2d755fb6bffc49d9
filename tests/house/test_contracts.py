"""What import contracts cannot see: modules imported by name, and who reads the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


def mentions(pattern: str, *allowed: str, root: str = "src/lookalike") -> list[str]:
    """Modules of `root` in which `pattern` occurs, but for those (paths, or folders that end in a slash)."""
    found = []
    for path in sorted((TOP / root).rglob("*.py")):
        name = path.relative_to(TOP / root).as_posix()
        if not name.startswith(allowed) and re.search(pattern, path.read_text("utf-8")):
            found.append(name)
    return found


def test_torch_is_imported_nowhere_but_in_learning_not_even_by_name() -> None:
    by_name = r"""(?:import_module|__import__|find_spec)\(\s*["'](?:torch|torchvision)\b"""
    assert mentions(by_name), "torchvision's operators are looked for in learning"
    assert not mentions(by_name, "learning/")


@pytest.mark.parametrize(
    ("root", "places"),
    {
        "src/lookalike": ["settings.py"],
        "src/sample_shop": [],
        "tasks": ["environment.py"],  # Prefect's own
        "flows": [],
        "local": ["settings.py"],
        "benchmarks": [],
    }.items(),
)
def test_the_environment_is_read_in_one_place(root: str, places: list[str]) -> None:
    reads = r"\bos\.environ\b|\bos\.getenv\b|from os import .*\b(?:environ|getenv)\b|\bBaseSettings\b"
    assert mentions(reads, root=root) == places
