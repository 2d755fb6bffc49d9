"""What import contracts cannot see: modules imported by name, and who reads the environment."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "lookalike"


def mentions(pattern: str, *allowed: str) -> list[str]:
    """Modules in which `pattern` occurs, but for those (paths, or folders that end in a slash)."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(allowed) and re.search(pattern, path.read_text("utf-8")):
            found.append(name)
    return found


def test_torch_is_imported_nowhere_but_in_learning_not_even_by_name() -> None:
    by_name = r"""(?:import_module|__import__|find_spec)\(\s*["'](?:torch|torchvision)\b"""
    assert mentions(by_name), "torchvision's operators are looked for in learning"
    assert not mentions(by_name, "learning/")


def test_the_environment_is_read_in_one_place() -> None:
    reads = r"\bos\.environ\b|\bos\.getenv\b|from os import .*\b(?:environ|getenv)\b"
    assert mentions(reads) == ["settings.py"]
