"""`lookalike keys` makes a key whose line lets it in, and never breaks a file of keys."""

from __future__ import annotations

from pathlib import Path

from lookalike.serving.keys import KeyFile
from tests.cli.conftest import Run


def test_keys_are_appended_and_found(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# ours")
    made = [run("keys", name, "--file", file, "--json").json["key"] for name in ("page", "app")]
    ops = run("keys", "ops", "--scope", "admin", "--file", file, "--json").json["key"]
    held = KeyFile(file)
    names = [found.name for key in (*made, ops) if (found := held.find(str(key))) is not None]
    assert names == ["page", "app", "ops"]
    assert all(str(key) not in file.read_text() for key in (*made, ops)), "the file holds digests alone"


def test_what_cannot_be_a_key_changes_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("broken line\n")
    refused = run("keys", "page", "--file", file)
    assert (refused.code, file.read_text()) == (2, "broken line\n")
    assert "line 1: write a key as NAME SCOPES SHA256" in refused.err
    assert "no scope 'serach'" in run("keys", "page", "--scope", "serach").err
