"""What the pages tell people to type can be typed: verbs and options are there, and so are the objects they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from lookalike.cli.app import app
from lookalike.errors import LookalikeError
from tests.k8s.conftest import Build, Manifest
from tests.k8s.test_policies import references
from tests.k8s.test_schemas import VERSIONS, check

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "howto").glob("*.md")])
OPERATIONS = ROOT / "docs" / "operations.md"
MADE_BY_HAND = {"lookalike-console", "lookalike-store", "lookalike-prefect", "lookalike-prefect-database"}
"""Secrets that the page tells people to make."""


def commands(page: Path, program: str) -> Iterator[str]:
    """The commands of `program` on a page, in code spans and in blocks; those that ``kubectl exec`` runs, too."""
    text = page.read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for found in [*(" ".join(span.split()) for span in spans), *lines]:
        for said in re.split(r"&& | -- |; |\$ ", found):
            if said.startswith(f"{program} "):
                yield said


def words(said: str) -> list[str]:
    """What a shell makes of it, up to a comment, a pipe or a redirection."""
    found = shlex.split(said, comments=True)
    end = next(
        (at for at, word in enumerate(found) if word in ("|", "&", ">", "<") or word.startswith("<<")), None
    )
    return [word for word in found[:end] if word != "..."]


def parse(arguments: list[str]) -> None:
    """Raises what `lookalike` says of an option or a verb that it does not have."""
    root = typer.main.get_command(app)
    context = root.make_context("lookalike", list(arguments))
    command = root
    while arguments := [*context._protected_args, *context.args]:
        name, command, rest = command.resolve_command(context, arguments)  # type: ignore[attr-defined]
        context = command.make_context(name, rest, parent=context)


def wrong(said: str) -> str | None:
    """Why a command cannot be typed, or None. Pages leave out values, and name some that only a plug-in brings."""
    try:
        parse(words(said)[1:])
    except (typer.Exit, LookalikeError):
        return None
    except Exception as error:  # which module of Typer it is from changes from version to version
        why = str(getattr(error, "format_message", error.__str__)())
        return None if why.startswith("Missing ") or "requires an argument" in why else why
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_parses(page: Path) -> None:
    assert not {said: why for said in commands(page, "lookalike") if (why := wrong(said))}


def test_a_command_that_is_none_is_seen() -> None:
    assert not wrong("lookalike rollback --model --why 'sandals'  # a comment")
    for said in ("lookalike rolback", "lookalike rollback --modle", "lookalike plan --listings many"):
        assert wrong(said)
    assert len(set(commands(OPERATIONS, "lookalike"))) > 25


SHORT = {"deploy": "Deployment", "hpa": "HorizontalPodAutoscaler"}


@pytest.fixture
def everything(build: Build) -> Build:
    if build.name != "all components":
        pytest.skip("it lacks some of what the page is about")
    return build


def test_every_object_that_a_command_names_is_there(everything: Build) -> None:
    objects = {(found["kind"].lower(), found["metadata"]["name"]) for found in everything.objects}
    labels = [
        pair
        for found in everything.workloads
        for pair in found["spec"]["template"]["metadata"]["labels"].items()
    ]
    said = [*commands(OPERATIONS, "k"), *commands(OPERATIONS, "kubectl")]
    assert len(said) > 20
    for each in said:
        for kind, name in re.findall(
            r"\b([a-z]+)/([a-z0-9-]+)", each.partition(" -f ")[0].partition(" -k ")[0]
        ):
            if kind in ("deploy", "deployment", "service", "cronjob", "statefulset", "job"):
                assert (SHORT.get(kind, kind).lower(), name) in objects, each
        for name, value in re.findall(r"-l (\S+)=(\S+)", each):
            assert (name, value) in labels, each
        if made := re.search(r"create secret generic (\S+)", each):
            assert made[1] in MADE_BY_HAND, each


def test_the_job_of_the_page_is_let_out_and_may_do_what_it_is_for(everything: Build) -> None:
    (text,) = re.findall(r"<<'YAML'.*?\n(.*?)^YAML$", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
    job: Manifest = yaml.safe_load(text)
    check(job, VERSIONS[-1])
    template = job["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    policies = [found["spec"] for found in everything.of("NetworkPolicy")]
    own = [
        p for p in policies if p["podSelector"] and p["podSelector"].get("matchLabels", {}).items() <= labels
    ]
    (runs,) = [p for p in policies if "flow-run" in str(p["podSelector"])]
    assert own == [runs], "default-deny leaves it no way to the store"
    spec = template["spec"]
    assert spec["serviceAccountName"] in {o["metadata"]["name"] for o in everything.of("ServiceAccount")}
    (container,) = spec["containers"]
    parse(container["args"][1:])
    named = set(references(spec))
    assert named == {("ConfigMap", "lookalike"), ("Secret", "lookalike-store")}
