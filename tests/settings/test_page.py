"""docs/settings.md names every setting there is, with its default, and none that is gone."""

from __future__ import annotations

import re
import tomllib

from lookalike import sections
from lookalike.cli.config import example
from lookalike.layers import Layers, entries
from lookalike.settings_file import SettingsFile, read
from tests.settings import page


def every_setting() -> dict[str, str]:
    """Name of each setting -> what is said of it."""
    found = {
        entry.name: entry.said for name in sections.SECTIONS for entry in entries(sections.SECTIONS[name]())
    }
    for name, table in sections.NAMED.items():
        found |= {entry.name: entry.said for entry in table.entries(name)}
    return found


def test_the_page_has_every_setting_and_no_other() -> None:
    text, table, named = page.PAGE.read_text(), "", set()
    for line in text.partition(page.BEGIN)[2].partition(page.END)[0].splitlines():
        if heading := re.match(r"(?:### )?`\[([\w.]+)\]`", line):
            table = heading[1] + "."
        elif item := re.match(r"- `(\w+)(?: = |`:)", line):
            named.add(table + item[1])
    assert named == set(every_setting()), "run `python -m tests.settings.page`"
    assert text == page.whole(), "run `python -m tests.settings.page`"


def test_every_setting_says_what_it_is() -> None:
    said = every_setting()
    assert {name for name in said if len(said[name]) < 15} == set()


def test_the_example_names_every_setting_and_is_read_when_uncommented(tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = example()
    assert tomllib.loads(text).keys() <= sections.SECTIONS.keys()
    used = re.sub(r'^# (\w+ = (?!"\.\.\.").*)$', r"\1", text, flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(used)
    file: SettingsFile = read(tmp_path / "all.toml")
    sections.check(Layers(file))
    found = {each.entry.name: each for each in sections.all_settings(Layers(file))}
    unset = {name for name, each in found.items() if each.origin == "default"}
    assert unset == {"s3.endpoint_url", "serving.index", "access.keys_file"}, (
        "these have no default that TOML can write"
    )
    lines = used.splitlines()
    for name, each in found.items():
        if name not in unset:
            line = int(each.origin.rpartition(":")[2])
            assert lines[line - 1].startswith(f"{each.entry.key[-1]} = "), name
