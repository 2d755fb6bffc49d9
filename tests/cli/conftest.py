"""The program as a test runs it: in this process, with a cache folder of its own; and a shop that is live."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lookalike.cli import main
from lookalike.publishing import publication
from lookalike.storage.directory import DirectoryStore
from tests.shop import Shop, open_shop


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the program in this process: ``run("curate", "--store", ...)``."""
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["lookalike", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="package")
def live_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A small shop whose index is live. Do not write to its store."""
    root = tmp_path_factory.mktemp("live")
    shop = open_shop(DirectoryStore(root / "store"), root / "cache", per_category=4)
    publication.publish_index(shop.store, shop.index, by="a test", cache_dir=shop.cache_dir)
    return shop
