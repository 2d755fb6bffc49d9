"""Nobody acts without the token, nobody else's page acts for an operator, and every action is on record."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from lookalike.console.access import COOKIE, SESSION_S, Access, TooManyGuesses
from lookalike.errors import SettingsError
from lookalike.listening import LOOPBACK, wrong_host
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


def test_sessions_end_by_time_by_a_new_token_and_with_the_process() -> None:
    from starlette.requests import Request

    now = 1000.0
    session = Access(TOKEN, clock=lambda: now, process=b"1").log_in("Ada", TOKEN)
    assert session is not None
    request = Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={session}".encode())]})
    operator = Access(TOKEN, clock=lambda: now + SESSION_S - 1, process=b"1").operator(request)
    assert operator is not None
    assert operator.name == "Ada"
    assert Access(TOKEN, clock=lambda: now + SESSION_S + 1, process=b"1").operator(request) is None
    assert Access(TOKEN + "!", clock=lambda: now, process=b"1").operator(request) is None
    assert Access(TOKEN, clock=lambda: now).operator(request) is None, "another process"


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


def test_a_log_out_ends_the_session_wherever_its_cookie_is(client: httpx.Client, rolled: Shop) -> None:
    headers = log_in(client)
    copied = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}", **headers}
    assert client.delete("/api/session").status_code == 200
    client.cookies.clear()
    assert client.get("/api/state", headers=copied).json()["you"] is None
    assert client.post("/api/actions/rollback", json=ROLL_BACK, headers=copied).status_code == 401
    assert live_sequence(rolled) == 2
    log_in(client)
    assert client.get("/api/state").json()["you"]["name"] == "Ada", "the next one is another"


@pytest.mark.parametrize(
    ("proto", "secure"), [("https", True), ("HTTPS", True), ("http", False), ("", False)]
)
def test_a_cookie_that_came_by_tls_stays_there(client: httpx.Client, proto: str, secure: bool) -> None:
    headers = {"X-Forwarded-Proto": proto}
    reply = client.post("/api/session", json={"name": "Ada", "token": TOKEN}, headers=headers)
    assert ("secure" in reply.headers["set-cookie"].lower().split("; ")) == secure


def test_who_guesses_must_wait() -> None:
    now = [0.0]
    access = Access(TOKEN, clock=lambda: now[0])
    for _ in range(10):
        assert access.log_in("Eve", "wrong", "203.0.113.7") is None
    with pytest.raises(TooManyGuesses):
        access.log_in("Eve", TOKEN, "203.0.113.7")
    assert access.log_in("Ada", TOKEN, "203.0.113.8"), "others do not wait"
    now[0] = 10.0
    assert access.log_in("Ada", TOKEN, "203.0.113.7")
    for _ in range(30):
        assert access.log_in("Ada", TOKEN, "203.0.113.7"), "the right token costs nothing"


def test_guesses_are_counted_however_they_come(client: httpx.Client, rolled: Shop) -> None:
    for n in range(10):
        if n % 2:
            client.post("/api/session", json={"name": "Eve", "token": f"wrong {n}"})
        else:
            client.get("/api/state", headers={"Authorization": f"Bearer wrong {n}"})
    for reply in (
        client.post("/api/session", json={"name": "Ada", "token": TOKEN}),
        client.post("/api/actions/rollback", json=ROLL_BACK, headers={"Authorization": f"Bearer {TOKEN}"}),
    ):
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, "10")
    assert live_sequence(rolled) == 2
    assert client.get("/api/state").status_code == 200, "looking is free"


def test_another_name_is_another_site(rolled: Shop) -> None:
    with running(rolled.store, rolled.cache_dir, hosts=["Console.Shop.example"]) as client:
        for host in ("console.shop.example", "console.shop.example:8443", "CONSOLE.shop.example"):
            assert client.get("/api/state", headers={"Host": host}).status_code == 200
        for host in ("rebound.example", "127.0.0.1", ""):
            refused = client.get("/api/state", headers={"Host": host})
            assert refused.status_code == 400
            assert "content-security-policy" in refused.headers
        assert client.get("/livez", headers={"Host": "10.0.0.7:8001"}).status_code == 200


def test_on_loopback_only_this_machines_names_are_taken() -> None:
    assert wrong_host({"headers": [(b"host", b"localhost:8001")]}, LOOPBACK) == ""
    assert wrong_host({"headers": [(b"host", b"[::1]:8001")]}, LOOPBACK) == ""
    assert (
        wrong_host({"headers": [(b"host", b"rebound.example")]}, LOOPBACK) == "this is not 'rebound.example'"
    )
    assert "not none" in wrong_host({"headers": []}, ())
    assert "not 2" in wrong_host({"headers": [(b"host", b"a"), (b"host", b"b")]}, ())
