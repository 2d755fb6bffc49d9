"""`inspect`: what the store holds, for a person and for a program."""

from __future__ import annotations

import pytest

from lookalike.cli.output import Output
from tests.cli.conftest import Run
from tests.shop import Shop


def test_what_is_live_is_one_json_object(run: Run, live_shop: Shop) -> None:
    outcome = run("inspect", "live", "--store", live_shop.store.uri, "--json")
    assert outcome.code == 0, outcome.err
    details = outcome.json["live"]
    assert isinstance(details, list)
    assert [detail["ref"] for detail in details] == [str(live_shop.release), str(live_shop.index)]
    assert details[1]["meta"]["rows"] == len(live_shop.listings)


def test_one_artefact_is_one_json_object(run: Run, live_shop: Shop) -> None:
    outcome = run("inspect", f"index/{live_shop.index.id}", "--store", live_shop.store.uri, "--json")
    assert outcome.json["ref"] == str(live_shop.index)


def test_both_live_artefacts_are_shown_to_a_person(run: Run, live_shop: Shop) -> None:
    outcome = run("inspect", "live", "--store", live_shop.store.uri)
    assert live_shop.release.id in outcome.out
    assert live_shop.index.id in outcome.out


def test_a_command_that_would_print_two_json_objects_is_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.result({"a": 1})
    with pytest.raises(AssertionError):
        out.result({"b": 2})
    assert capsys.readouterr().out == '{\n "a": 1\n}\n'
