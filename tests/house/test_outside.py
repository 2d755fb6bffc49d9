"""The repository names nothing that lies outside it: tools and sample data of one machine come by variables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("src", "flows", "tasks", "local", "tests", "benchmarks", "docs", "k8s", "requirements")
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".html", ".js", ".css", ""}
BESIDE = re.compile(
    r"\.\./shared\b|\bshared/(?:tools|data|cases)\b|[\"']shared[\"'] /|(?<![\w.])/(?:root|work)/"
)
CLIMB = re.compile(r"Path\(__file__\)(?:\.resolve\(\))?((?:\.parents\[\d+\]|\.parent\b)+)")


def files() -> list[Path]:
    """Text files of the project, beside `.ci/run`, which alone knows what may lie beside a checkout."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name not in (".git", "LICENSE")]
    for place in PLACES:
        found += [path for path in (ROOT / place).rglob("*") if path.is_file()]
    return [p for p in found if p.suffix in SUFFIXES and "__pycache__" not in p.parts and p != Path(__file__)]


def steps(climb: str) -> int:
    """How many folders up a chain of `parents[n]` and `parent` leads."""
    return sum(
        int(number) + 1 if number else 1 for number in re.findall(r"\.parents\[(\d+)\]|\.parent\b", climb)
    )


def test_no_file_names_what_lies_beside_the_repository() -> None:
    named = [str(path.relative_to(ROOT)) for path in files() if BESIDE.search(path.read_text("utf-8"))]
    assert not named


def test_no_module_climbs_out_of_the_repository() -> None:
    climbing = []
    for path in files():
        within = path.relative_to(ROOT)
        if path.suffix == ".py":
            climbs = CLIMB.findall(path.read_text("utf-8"))
            climbing += [f"{within}: {climb}" for climb in climbs if steps(climb) > len(within.parts)]
    assert not climbing


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command in the repository's root that knows neither a cluster nor a tool but those of `environ`."""
    ours = ("KUBECONFIG", "LOOKALIKE_CLUSTER_TOOL", "LOOKALIKE_S3_TOOL", "S3_ENDPOINT_URL")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        command, cwd=ROOT, env=kept | environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_without_a_cluster_its_verbs_say_what_to_set() -> None:
    demo = run(sys.executable, "-m", "local.cluster_demo", "--directory", "build/none")
    assert demo.returncode == 0, demo.stderr
    assert "skipped: no cluster" in demo.stdout
    assert "KUBECONFIG" in demo.stdout
    makefile = (ROOT / "Makefile").read_text()
    assert "skipped: no cluster" in makefile


@pytest.mark.parametrize("variable", ["LOOKALIKE_CLUSTER_TOOL", "LOOKALIKE_S3_TOOL"])
def test_a_tool_that_is_not_there_is_named_with_its_variable(variable: str, tmp_path: Path) -> None:
    code = "from local.cluster import find_tool; import sys; print(find_tool(sys.argv[1]))"
    assert run(sys.executable, "-c", code, variable).stdout == "None\n"
    missing = run(sys.executable, "-c", code, variable, **{variable: str(tmp_path / "gone")})
    assert f"{variable} names {tmp_path / 'gone'}, which is no program" in missing.stderr
