"""The import contracts hold, and see a circle that is closed inside a function or for types alone."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CIRCLES = "acyclic_siblings"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """As `make check` does, on the contracts of a folder's pyproject.toml."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_all_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    held = lint(ROOT)
    assert held.returncode == 0, held.stdout + held.stderr


def test_no_root_is_left_out_of_the_search_for_circles() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (circles,) = (each for each in settings["contracts"] if each["type"] == CIRCLES)
    assert set(circles["ancestors"]) == set(settings["root_packages"])
    assert circles.keys() == {"name", "type", "ancestors"}, "nothing is excepted"


@pytest.mark.parametrize(
    "back",
    [
        "from shop import listings",
        "def later():\n    from shop.listings import Listing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shop.listings import Listing",
    ],
)
def test_a_circle_is_found_wherever_it_closes(tmp_path: Path, back: str) -> None:
    pytest.importorskip("importlinter")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "listings.py").write_text("from shop import tally\n\nclass Listing: ...\n")
    (tmp_path / "shop" / "tally.py").write_text(f"{back}\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_package = "shop"\n[[tool.importlinter.contracts]]\nname = "No circles"\n'
        f'type = "{CIRCLES}"\nancestors = ["shop"]\n'
    )
    found = lint(tmp_path)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "No circles BROKEN" in found.stdout
