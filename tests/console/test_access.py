"""Nobody acts without the token, nobody else's page acts for an operator, and every action is on record."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from lookalike.console.access import COOKIE, SESSION_S, Access
from lookalike.errors import SettingsError
from lookalike.publishing import live_ref, publication
from lookalike.storage import audit
from lookalike.storage.directory import DirectoryStore
from tests.console.running import TOKEN, running
from tests.shop import Shop, open_shop, reindex


@pytest.fixture
def rolled(tmp_path: Path) -> Shop:
    """A shop whose second index snapshot is live, so that there is one to go back to."""
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=6)
    for pair in (shop, reindex(shop, per_category=8)):
        publication.publish_index(shop.store, pair.index, by="test", cache_dir=shop.cache_dir)
    return shop


@pytest.fixture
def client(rolled: Shop) -> Iterator[httpx.Client]:
    with running(rolled.store, rolled.cache_dir) as made:
        yield made


def log_in(client: httpx.Client) -> dict[str, str]:
    """The header that a page which has logged in sends with its actions."""
    assert client.post("/api/session", json={"name": "Ada", "token": TOKEN}).status_code == 200
    you = client.get("/api/state").json()["you"]
    assert you["name"] == "Ada"
    return {"X-CSRF-Token": you["csrf"]}


ROLL_BACK = {"confirm": "rollback", "from_sequence": 2}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"{COOKIE}=x.1.y"},
    ],
)
def test_a_stranger_may_look_but_not_act(client: httpx.Client, rolled: Shop, headers: dict[str, str]) -> None:
    assert client.get("/api/state", headers=headers).json()["live"]["sequence"] == 2
    for action in ("retrain", "reindex", "rollback"):
        reply = client.post(f"/api/actions/{action}", json=ROLL_BACK | {"confirm": action}, headers=headers)
        assert reply.status_code == 401
    assert live_sequence(rolled) == 2
    assert audit.recent(rolled.store, 9) == []


def live_sequence(shop: Shop) -> int:
    live = live_ref.read_live(shop.store)
    assert live is not None
    return live.live.sequence


def test_an_operator_rolls_back_and_it_is_on_record(client: httpx.Client, rolled: Shop) -> None:
    reply = client.post("/api/actions/rollback", json=ROLL_BACK, headers=log_in(client))
    assert reply.status_code == 200
    live = live_ref.read_live(rolled.store)
    assert live is not None
    assert (live.live.sequence, live.live.index, live.live.by) == (3, rolled.index, "Ada (console)")
    done, asked = audit.recent(rolled.store, 9)
    assert (asked.by, asked.action, asked.outcome) == ("Ada", "rollback", audit.ASKED)
    assert done.outcome.startswith("done: #3 is live")
    assert done.detail == {"from_sequence": 2}


def test_a_program_acts_with_the_token_alone(client: httpx.Client, rolled: Shop) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/api/actions/rollback", json=ROLL_BACK, headers=headers).status_code == 200
    assert live_sequence(rolled) == 3


def test_another_site_cannot_act_for_an_operator(client: httpx.Client, rolled: Shop) -> None:
    """The browser would send the cookie, but not the CSRF value, nor JSON from a form."""
    headers = log_in(client)
    assert client.post("/api/actions/rollback", json=ROLL_BACK).status_code == 403
    assert (
        client.post("/api/actions/rollback", json=ROLL_BACK, headers={"X-CSRF-Token": "0" * 64}).status_code
        == 403
    )
    form = client.post("/api/actions/rollback", data={"confirm": "rollback"}, headers=headers)
    assert form.status_code == 415
    assert live_sequence(rolled) == 2


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(client: httpx.Client) -> None:
    reply = client.post("/api/session", json={"name": "Ada", "token": TOKEN})
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


def test_an_action_must_be_confirmed_by_its_name(client: httpx.Client, rolled: Shop) -> None:
    headers = log_in(client)
    for body in ({"from_sequence": 2}, {"confirm": "retrain", "from_sequence": 2}, {"confirm": "rollback"}):
        assert client.post("/api/actions/rollback", json=body, headers=headers).status_code == 400
    assert live_sequence(rolled) == 2


def test_two_people_pressing_at_once_go_back_one_step(client: httpx.Client, rolled: Shop) -> None:
    headers = log_in(client)
    replies = [client.post("/api/actions/rollback", json=ROLL_BACK, headers=headers) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 409]
    assert "#3 is live by now, not #2" in replies[1].json()["detail"]
    assert live_sequence(rolled) == 3
    assert audit.recent(rolled.store, 1)[0].outcome.startswith("refused: ")


def test_without_prefect_the_page_shows_the_store_and_actions_say_why_not(client: httpx.Client) -> None:
    headers = log_in(client)
    state = client.get("/api/state").json()
    assert state["runs"] is None
    assert state["live"]["listings"] == 48
    assert "Prefect at http://127.0.0.1:9/api cannot be reached" in state["problems"][0]
    reply = client.post("/api/actions/retrain", json={"confirm": "retrain"}, headers=headers)
    assert reply.status_code == 502
    assert "cannot be reached" in reply.json()["detail"]


def test_a_wrong_token_logs_nobody_in(client: httpx.Client) -> None:
    reply = client.post("/api/session", json={"name": "Eve", "token": TOKEN + "x"})
    assert reply.status_code == 401
    assert "set-cookie" not in reply.headers


def test_sessions_end_by_time_and_by_a_new_token() -> None:
    from starlette.requests import Request

    now = 1000.0
    session = Access(TOKEN, clock=lambda: now).log_in("Ada", TOKEN)
    assert session is not None
    request = Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={session}".encode())]})
    operator = Access(TOKEN, clock=lambda: now + SESSION_S - 1).operator(request)
    assert operator is not None
    assert operator.name == "Ada"
    assert Access(TOKEN, clock=lambda: now + SESSION_S + 1).operator(request) is None
    assert Access(TOKEN + "!", clock=lambda: now).operator(request) is None


def test_a_short_token_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 16"):
        Access("secret")


def test_a_crowd_that_says_nothing_keeps_no_operator_out(client: httpx.Client, rolled: Shop) -> None:
    address = ("127.0.0.1", client.base_url.port or 0)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(201)]
        assert client.get("/livez").status_code == 200
        assert client.post("/api/actions/rollback", json=ROLL_BACK, headers=log_in(client)).status_code == 200
        assert silent[0].recv(1) == b"", "the one that has waited longest made room"
