"""Nothing is sent to anybody: analytics are off and no process speaks to an address outside this machine."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tasks.environment import NO_ANALYTICS
from tests.shop import Listing

from .conftest import Prefect, Shop

LOCAL_NAMES = {"unix", "localhost", "any", "0.0.0.0", "::"}


def is_local(host: str) -> bool:
    try:
        return host in LOCAL_NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def test_server_and_flows_connect_to_this_machine_alone(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...], connections: Path
) -> None:
    """An audit hook in every process that these tests start notes what it connects to, or asks the resolver for."""
    shop.offer(listings[10:-40])  # so that the encoder is loaded and extracts
    prefect.result("reindex", shop.where())
    lines = [line.split(" ", 1) for line in connections.read_text().splitlines()]
    assert ["socket.connect", "127.0.0.1"] in lines, "the watch did not see the flow talk to its server"
    assert {host for _, host in lines if not is_local(host)} == set()


def test_the_server_knows_that_analytics_are_off(prefect: Prefect) -> None:
    with urllib.request.urlopen(f"{prefect.api}/admin/settings", timeout=60) as reply:
        settings = json.loads(reply.read())
    assert settings["server"]["analytics_enabled"] is False
    assert settings["server"]["ui"]["show_promotional_content"] is False
    assert settings["telemetry"]["enable_resource_metrics"] is False
    assert settings["cloud"]["enable_orchestration_telemetry"] is False


def test_importing_the_flows_turns_analytics_off_whoever_imports_them() -> None:
    code = f"import flows, os; print(*(os.environ[name] for name in {sorted(NO_ANALYTICS)}))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "PREFECT_SERVER_ANALYTICS_ENABLED": "true"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.split() == [NO_ANALYTICS[name] for name in sorted(NO_ANALYTICS)]


def test_no_website_may_ask_prefect_through_a_visitors_browser(prefect: Prefect) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    request = urllib.request.Request(f"{prefect.api}/flow_runs/filter", headers=asked, method="OPTIONS")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    refused.value.close()
    assert refused.value.code == 400
    assert "access-control-allow-origin" not in refused.value.headers
