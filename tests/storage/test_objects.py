"""The object store contract, held by every store."""

from __future__ import annotations

import itertools
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from lookalike.errors import (
    AccessDenied,
    LostRace,
    ObjectNotFound,
    OutcomeUnknown,
    SettingsError,
    StorageError,
    StoreUnavailable,
    StoreUnsupported,
)
from lookalike.settings import S3Settings
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore, check_key
from lookalike.storage.s3 import S3Store


def test_what_is_put_can_be_got_whole_and_in_parts(store: ObjectStore) -> None:
    etag = store.put("a/b.bin", b"0123456789")
    assert store.get("a/b.bin") == b"0123456789"
    assert store.get("a/b.bin", start=3, length=4) == b"3456"
    assert store.get("a/b.bin", start=8) == b"89"
    assert store.get("a/b.bin", start=2, length=0) == b""
    assert store.get_with_etag("a/b.bin") == (b"0123456789", etag)
    info = store.head("a/b.bin")
    assert (info.key, info.size, info.etag) == ("a/b.bin", 10, etag)


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    for read in (store.get, store.head, store.get_with_etag):
        with pytest.raises(ObjectNotFound, match=r"no/such\.key"):
            read("no/such.key")


def test_a_missing_object_downloads_nothing(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        store.download("no/such.key", tmp_path / "got" / "file")
    assert list((tmp_path / "got").iterdir()) == []


def test_files_travel_both_ways(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(range(256)) * 1000)
    store.upload("files/one", tmp_path / "source")
    store.download("files/one", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == (tmp_path / "source").read_bytes()


def test_a_file_can_be_given_away(store: ObjectStore, tmp_path: Path) -> None:
    for content in (b"first" * 1000, b"second" * 1000):  # the second replaces the first
        (tmp_path / "source").write_bytes(content)
        store.upload("files/given", tmp_path / "source", give=True)
        assert store.get("files/given") == content


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_a_file_is_given_away_across_file_systems(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        Path(elsewhere, "source").write_bytes(b"x" * 5000)
        store = DirectoryStore(tmp_path)
        store.upload("files/given", Path(elsewhere, "source"), give=True)
    assert store.get("files/given") == b"x" * 5000


def test_list_gives_all_keys_of_a_prefix_in_order(store: ObjectStore) -> None:
    for key in ("b/2", "b/1", "a", "b/10", "bb"):
        store.put(key, b"x")
    assert [info.key for info in store.list()] == ["a", "b/1", "b/10", "b/2", "bb"]
    assert [info.key for info in store.list("b/1")] == ["b/1", "b/10"]
    assert list(store.list("nothing/")) == []


def test_delete_is_idempotent(store: ObjectStore) -> None:
    store.put("k", b"x")
    store.delete("k")
    store.delete("k")
    assert list(store.list()) == []


def test_put_if_absent_keeps_the_first(store: ObjectStore) -> None:
    store.put("ref", b"first", if_absent=True)
    with pytest.raises(LostRace):
        store.put("ref", b"second", if_absent=True)
    assert store.get("ref") == b"first"


def test_put_if_match_replaces_only_what_was_read(store: ObjectStore) -> None:
    old = store.put("ref", b"one")
    new = store.put("ref", b"two", if_match=old)
    assert new != old
    with pytest.raises(LostRace):
        store.put("ref", b"three", if_match=old)
    assert store.get_with_etag("ref") == (b"two", new)


def test_put_if_match_on_a_missing_object_never_creates_it(store: ObjectStore) -> None:
    etag = store.put("ref", b"x")
    store.delete("ref")
    with pytest.raises((LostRace, ObjectNotFound)):
        store.put("ref", b"y", if_match=etag)
    assert list(store.list()) == []


def test_of_many_writers_exactly_one_wins(store: ObjectStore) -> None:
    base = store.put("cas", b"start")

    def attempt(name: bytes, **condition: object) -> bytes | None:
        try:
            store.put("new" if "if_absent" in condition else "cas", name, **condition)  # type: ignore[arg-type]
        except (LostRace, OutcomeUnknown):  # radosgw answers some of the losers with 500
            return None
        return name

    with ThreadPoolExecutor(8) as pool:
        names = [b"writer-%d" % i for i in range(12)]
        created = [n for n in pool.map(lambda n: attempt(n, if_absent=True), names) if n]
        swapped = [n for n in pool.map(lambda n: attempt(n, if_match=base), names) if n]
    assert len(created) == 1
    assert store.get("new") == created[0]
    assert len(swapped) == 1
    assert store.get("cas") == swapped[0]


@pytest.mark.parametrize("key", ["", "/abs", "a/../b", "..", "a//b", "a/", "a\\b", "a\nb", "./a", "x" * 901])
def test_keys_that_could_leave_the_store_are_refused(key: str) -> None:
    with pytest.raises(SettingsError):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "a/b.c", "a..b/c", ".hidden/x", "üñí/ç ode", "a/b...c"])
def test_ordinary_keys_pass(key: str) -> None:
    assert check_key(key) == key


def test_a_directory_without_permission_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StoreUnavailable, match="file"):
        DirectoryStore(tmp_path / "file" / "store").put("k", b"x")
    with pytest.raises(StoreUnavailable, match="/proc/"):
        DirectoryStore(Path("/proc/lookalike")).put("k", b"x")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("k", b"x")
    with pytest.raises(LostRace):
        store.put("k", b"y", if_absent=True)
    assert [p.name for p in (tmp_path / ".lookalike").iterdir()] == []


def test_a_missing_bucket_and_a_wrong_secret_are_said(
    radosgw: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in radosgw.items():
        monkeypatch.setenv(name, value)
    settings = S3Settings(endpoint_url=radosgw["S3_ENDPOINT_URL"])
    store = S3Store("no-such-bucket", "", settings)
    (tmp_path / "f").write_bytes(b"x")
    for call in (
        lambda: store.put("k", b"x"),
        lambda: store.put("k", b"x", if_absent=True),
        lambda: store.upload("k", tmp_path / "f"),
        lambda: list(store.list()),
        lambda: store.get("k"),
    ):
        with pytest.raises(StoreUnavailable, match="no-such-bucket"):
            call()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreUnavailable, match="credentials"):
        S3Store("no-such-bucket", "", settings).put("k", b"x")


def client_of(store: S3Store) -> Any:
    endpoint = store.settings.endpoint_url
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name="us-east-1")


@pytest.mark.parametrize("store", ["moto", "radosgw"], indirect=True)
def test_one_key_can_be_denied_while_others_are_open(store: S3Store, tmp_path: Path) -> None:
    store.put("open", b"x")
    store.put("closed", b"x")
    resource = f"arn:aws:s3:::{store.bucket}/some/prefix/closed"
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    client_of(store).put_bucket_policy(Bucket=store.bucket, Policy=policy)
    for read in (store.get, store.get_with_etag, lambda key: store.download(key, tmp_path / key)):
        with pytest.raises(AccessDenied, match=r"some/prefix/closed: access denied .* credentials") as caught:
            read("closed")
        assert caught.value.key == "closed"
        read("open")


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_an_archived_object_is_no_fault_of_the_store(store: S3Store) -> None:
    client_of(store).put_object(Bucket=store.bucket, Key="some/prefix/old", Body=b"x", StorageClass="GLACIER")
    with pytest.raises(StorageError, match=r"some/prefix/old is archived .* restore it") as caught:
        store.get("old")
    assert not isinstance(caught.value, StoreUnavailable)


class _Answers(BaseHTTPRequestHandler):
    status = 500
    code = ""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.code}</Code></Error>".encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _BreaksOff(_Answers):
    """Sends ``0123456789``, of which only the first half comes where `whole` says no."""

    whole: Iterator[bool]

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "10")
        self.send_header("etag", '"e"')
        self.send_header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    def do_GET(self) -> None:
        whole = next(self.whole)
        self.do_HEAD()
        self.wfile.write(b"0123456789" if whole else b"01234")


Serving = Callable[..., AbstractContextManager[S3Store]]


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """A bucket on a server that answers as a handler of these attributes does."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")

    @contextmanager
    def serve(handler: type[_Answers], **attributes: object) -> Iterator[S3Store]:
        with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), attributes)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}"
            try:
                yield S3Store("bucket", "", S3Settings(endpoint_url=address, attempts=3))
            finally:
                server.shutdown()

    return serve


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, OutcomeUnknown), (503, OutcomeUnknown), (501, StoreUnsupported), (409, LostRace), (412, LostRace)],
)
def test_outcomes_of_a_conditional_write_are_told_apart(
    status: int, error: type[Exception], serving: Serving
) -> None:
    with serving(_Answers, status=status) as store, pytest.raises(error):
        store.put("k", b"x", if_absent=True)


@pytest.mark.parametrize(
    ("status", "code"), [(403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch"), (400, "ExpiredToken")]
)
def test_wrong_credentials_are_the_stores_trouble_and_not_a_keys(
    status: int, code: str, serving: Serving
) -> None:
    with (
        serving(_Answers, status=status, code=code) as store,
        pytest.raises(StoreUnavailable, match=rf"refuses the credentials \({code}\)") as caught,
    ):
        store.get("k")
    assert not isinstance(caught.value, AccessDenied)


def test_a_body_that_breaks_off_is_read_again(serving: Serving, tmp_path: Path) -> None:
    broken = [False, False, True]
    with serving(_BreaksOff, whole=iter(broken * 3)) as store:
        assert store.get("k") == b"0123456789"
        assert store.get_with_etag("k") == (b"0123456789", '"e"')
        store.download("k", tmp_path / "k")
    assert (tmp_path / "k").read_bytes() == b"0123456789"


def test_a_body_that_always_breaks_off_is_the_stores_trouble(serving: Serving, tmp_path: Path) -> None:
    tries = itertools.count()
    with serving(_BreaksOff, whole=(False for _ in tries)) as store:
        for read in (store.get, store.get_with_etag):
            with pytest.raises(StoreUnavailable, match="bucket/k: the store cannot be reached"):
                read("k")
        assert next(tries) == 2 * 3
        with pytest.raises(StoreUnavailable, match="bucket/k: the store cannot be reached"):
            store.download("k", tmp_path / "k")
    assert list(tmp_path.iterdir()) == []


def test_a_write_without_an_answer_has_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = S3Store("bucket", "", S3Settings(endpoint_url=address, read_timeout_s=0.3, attempts=1))
        with pytest.raises(OutcomeUnknown):
            store.put("k", b"x", if_absent=True)
        with pytest.raises(StoreUnavailable):
            store.get("k")
