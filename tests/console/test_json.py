"""The console's JSON: what is no plain JSON is refused at the door, and nothing stored or said breaks the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lookalike.storage import audit, keys
from lookalike.storage.artefacts import ArtefactWriter, Kind
from lookalike.storage.directory import DirectoryStore
from tests.console.running import TOKEN, running

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
ACTIONS = ("retrain", "reindex", "rollback")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    return DirectoryStore(tmp_path_factory.mktemp("console") / "store")


@pytest.fixture(scope="module")
def client(store: DirectoryStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lookalike.console.app._FAILED_LOG_IN_S", 0)
        patch.setattr("lookalike.console.access._GUESSES", 10**6)  # most tokens here are wrong
        with running(store, tmp_path_factory.mktemp("cache")) as client:
            yield client


def send(client: httpx.Client, path: str, body: bytes) -> httpx.Response:
    return client.post(path, content=body, headers=HEADERS)


def state(client: httpx.Client) -> dict[str, Any]:
    reply = client.get("/api/state")
    assert reply.status_code == 200

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(reply.content.decode(), parse_constant=refuse)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"confirm": "retrain", "parameters": {"x": 1e999}}', "1e999 is too large"),
        (b'{"confirm": "retrain", "parameters": {"x": NaN}}', "NaN"),
        (b'{"confirm": "retrain", "parameters": {"x": -Infinity}}', "-Infinity"),
        (b'{"confirm": "retrain", "x": ' + b"9" * 5000 + b"}", "a whole number of 5000 digits"),
        (b'{"confirm": "retrain", "x": 9007199254740993}', "9007199254740993"),
        (b'{"confirm": "retrain", "x": "\\ud800"}', "not Unicode"),
        (b'{"confirm": "retrain", "\\udfff": 1}', "not Unicode"),
        (b'{"confirm": "retrain", "confirm": "retrain"}', '"confirm" is given twice'),
        (b'{"confirm": "retrain", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested"),
        (b'{"confirm": "retrain", "x": ' + b'{"a":' * 100 + b"1" + b"}" * 101, "nested"),
        (b"[" * 60_000, "nested"),
        (b'{"confirm": "retrain", "x": "\xff"}', "UTF-8"),
        ('{"confirm": "retrain"}'.encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf{}", "JSON"),
        (b'{1: "confirm"}', "JSON"),
        (b"{'confirm': 'retrain'}", "JSON"),
        (b"", "JSON"),
        (b"[]", "object"),
        (b'"confirm"', "object"),
        (b"1e999", "too large"),
    ],
)
def test_what_is_no_plain_json_is_refused_and_leaves_nothing(
    client: httpx.Client, store: DirectoryStore, body: bytes, said: str
) -> None:
    before = list(store.list(keys.AUDIT))
    reply = send(client, "/api/actions/retrain", body)
    assert reply.status_code == 400
    assert said in reply.json()["detail"]
    assert list(store.list(keys.AUDIT)) == before
    state(client)


@pytest.mark.parametrize("sequence", [b"true", b"2.0", b'"2"', b"null", b"[2]"])
def test_a_roll_back_names_a_whole_number(client: httpx.Client, sequence: bytes) -> None:
    reply = send(
        client, "/api/actions/rollback", b'{"confirm": "rollback", "from_sequence": ' + sequence + b"}"
    )
    assert reply.status_code == 400
    assert "from_sequence" in reply.json()["detail"]


numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(
        ["1e999", "-1e999", "NaN", "Infinity", "nan", "0x1", "01", "1.", "9" * 5000, "-0", "1E400"]
    ),
)
strings = st.one_of(
    st.text().map(json.dumps),
    st.text(st.characters(categories=["Cs", "L"]), min_size=1).map(json.dumps),
    st.sampled_from(['"confirm"', '"parameters"', '"from_sequence"', '"token"', '"name"', '"\\u0000"']),
)
documents = st.recursive(
    st.one_of(numbers, strings, st.sampled_from(["null", "true", "false", ""])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(st.tuples(st.one_of(strings, numbers), inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        ),
        st.tuples(inner, st.integers(1, 3000)).map(lambda pair: "[" * pair[1] + pair[0] + "]" * pair[1]),
    ),
    max_leaves=12,
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from((*ACTIONS, "session")))
    path = "/api/session" if name == "session" else f"/api/actions/{name}"
    if draw(st.integers(0, 9)) == 0:
        return path, draw(st.binary(max_size=200))
    field = {"rollback": "from_sequence", "session": draw(st.sampled_from(["token", "name"]))}.get(
        name, "parameters"
    )
    rest = draw(documents)
    shapes = [rest, f'{{"confirm": "{name}", "{field}": {rest}}}', f'{{"confirm": "{name}", "x": {rest}}}']
    return path, draw(st.sampled_from(shapes)).encode("utf-8", "surrogatepass")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests())
@example(("/api/session", b'{"token": "\\ud800", "name": "x"}'))
@example(
    ("/api/actions/retrain", b'{"confirm": "retrain", "parameters": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}")
)
@example(("/api/actions/rollback", b'{"confirm": "rollback", "from_sequence": 9007199254740991}'))
def test_no_json_gets_a_500_or_breaks_the_page(client: httpx.Client, asked: tuple[str, bytes]) -> None:
    reply = send(client, *asked)
    assert reply.status_code in (200, 400, 401, 409, 413, 502), f"{asked}: {reply.status_code} {reply.text}"
    state(client)


def test_a_damaged_record_is_left_out_and_said(client: httpx.Client, store: DirectoryStore) -> None:
    """As a console of an earlier version stored it."""
    audit.record(store, by="ada", action="rollback", detail={"from_sequence": 2}, outcome="done: it")
    damaged = {
        "2099-01-01T00:00:00-a.json": b'{"at": "2099", "by": "eve", "action": "retrain", "detail": {"x": Infinity}, '
        b'"outcome": "refused"}',
        "2099-01-01T00:00:01-b.json": b'{"at": "2099", "by": "eve", "action": "retrain", "detail": {"x": "\\ud800"}, '
        b'"outcome": "refused"}',
        "2099-01-01T00:00:02-c.json": b'{"at": ',
        "2099-01-01T00:00:03-d.json": b'{"at": 1, "by": [], "action": "x", "detail": [], "outcome": null}',
        "2099-01-01T00:00:04-e.json": b"[" * 50_000,
    }
    for name, body in damaged.items():
        store.put(keys.AUDIT + name, body)
    try:
        found = state(client)
        assert found["store_answers"]
        assert found["actions"][0]["detail"] == {"from_sequence": 2}
        said = [text for text in found["problems"] if "audit" in text]
        assert len(said) == 1
        assert said[0].startswith("5 damaged audit records are not shown: ")
        assert "2099-01-01T00:00:04-e.json" in said[0]
    finally:
        for name in damaged:
            store.delete(keys.AUDIT + name)


def test_measures_that_are_no_numbers_are_left_out(client: httpx.Client, store: DirectoryStore) -> None:
    """A mean over nothing is not a number; earlier versions wrote NaN for it."""
    writer = ArtefactWriter(store, Kind.RELEASE, inputs={"curated": "curated/a@b"}, config={"x": 1})
    writer.commit(
        {"metrics": {"top1": 0.5, "top5": float("nan"), "code_mAP": float("inf")}, "recipe": "tiny"}
    )
    (manifest,) = (i.key for i in store.list(f"{Kind.RELEASE.value}/") if i.key.endswith(keys.MANIFEST))
    written = store.get(manifest)
    assert b"NaN" not in written
    assert written.count(b"null") == 2
    store.put(manifest, written.replace(b"null", b"NaN"))
    assert state(client)["releases"][-1]["measures"] == {"category top-1": 0.5}


@pytest.fixture
def prefect() -> Iterator[str]:
    """A server in Prefect's place that answers whatever is asked with what no JSON can hold, or no JSON at all."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"name": "\\ud800", "parameter_openapi_schema": {"properties": {"parameters": {}}, "x": NaN}}'
            self._answer(body if "deployments" in self.path else b"<html>a proxy's page</html>")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"<html>a proxy's page</html>")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_what_prefect_says_instead_of_json_is_a_problem(tmp_path: Path, prefect: str) -> None:
    with running(DirectoryStore(tmp_path), tmp_path, prefect=prefect) as client:
        (problem,) = state(client)["problems"]
        assert problem.startswith(f"Prefect at {prefect} does not answer")
        reply = send(client, "/api/actions/retrain", b'{"confirm": "retrain"}')
        assert reply.status_code == 502
