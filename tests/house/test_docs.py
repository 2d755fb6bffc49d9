"""The documentation builds as a site without a warning, and what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does."""
    strict = ("--fail-on-warning", "--keep-going", "--quiet")
    command = [sys.executable, "-m", "sphinx", *strict, "-c", str(ROOT / "docs"), str(source), str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def test_the_site_builds_without_a_warning_and_refers_to_no_server(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    built = build(ROOT / "docs", tmp_path / "site")
    assert built.returncode == 0, built.stderr
    pages = {path.name: path.read_text() for path in (tmp_path / "site").glob("*.html")}
    assert "lookalike.ranking.search.open_searcher" in pages["reference.html"]
    assert "One word, one meaning" in pages["glossary.html"]
    fetched = re.compile(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=[\"']https?:")
    assert not [name for name, page in pages.items() if fetched.search(page)]


def test_a_broken_link_fails(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    links = ("[gone](gone.md)", "[gone](index.md#no-such-heading)", "![gone](gone.png)")
    (tmp_path / "index.md").write_text("# A page\n\n" + "\n\n".join(links) + "\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    warned = {int(line) for line in re.findall(r"index\.md:(\d+): WARNING", built.stderr)}
    assert warned == {3, 5, 7}, built.stderr


@pytest.mark.parametrize("page", ["docs/glossary.md", "docs/reference.md"])
def test_modules_that_a_page_names_are_there(page: str) -> None:
    named = set(re.findall(r"\blookalike((?:\.[a-z_0-9]+)+)", (ROOT / page).read_text()))
    assert len(named) > 5
    missing = [name for name in named if not exists(name.split(".")[1:])]
    assert not missing


def exists(parts: list[str]) -> bool:
    """Whether these lead to a module, or to a name that a module defines."""
    package = ROOT / "src" / "lookalike"
    for i, part in enumerate(parts):
        if (package / part).is_dir():
            package /= part
            continue
        if (module := package / f"{part}.py").is_file():
            rest = parts[i + 1 : i + 2]
            return not rest or re.search(rf"^(?:def|class) {rest[0]}\b", module.read_text(), re.M) is not None
        return False
    return True
