"""Every benchmark starts: what it imports is there, and it takes the file that its numbers go to."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import benchmarks

FOLDER = Path(benchmarks.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
NO_NUMBERS = {"fashion_mnist", "hamming_plot", "quality_plot"}
"""One makes a catalogue, two draw what others have measured."""


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_imported(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", sorted({*NAMES} - NO_NUMBERS))
def test_those_that_can_be_run_write_json(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    if '__name__ == "__main__"' not in (FOLDER / f"{name}.py").read_text("utf-8"):
        return
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out
