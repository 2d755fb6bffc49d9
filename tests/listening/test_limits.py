"""Whose connection it is, and how many fit."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from lookalike.errors import SettingsError
from lookalike.listening import ConnectionLimits
from lookalike.listening.connections import network_of
from lookalike.listening.files import WAITING, waiting_places


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_client_is_its_network(host: str, network: str) -> None:
    assert network_of(host) == network


@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [(100, 4096, "1000 2536"), (3000, 4096, "1000 3000"), (100, 1024, "512 1024"), (100, 300, "150 300")],
)
def test_as_many_connections_as_files_may_be_open(soft: int, hard: int, said: str) -> None:
    program = (
        "import resource as r, sys; soft, hard = map(int, sys.argv[1:]); r.setrlimit(r.RLIMIT_NOFILE, (soft, hard)); "
        "from lookalike.listening import allow_files; print(allow_files(1000), r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    command = [sys.executable, "-c", program, str(soft), str(hard)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == said
    assert ("ulimit -n" in found.stderr) == (not said.startswith("1000"))


@pytest.mark.parametrize(
    "wrong", [{"connections": 1}, {"per_address": -1}, {"header_seconds": 0}, {"write_seconds": -1}]
)
def test_limits_that_let_nobody_in_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        ConnectionLimits(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("soft", "places"), [(256, 64), (100_000, WAITING), (-1, WAITING)])
def test_waiting_at_the_door_takes_a_quarter_of_the_files(
    soft: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, soft))
    assert waiting_places() == places
