"""`verify`, publishing and rolling back ask the store, whatever this machine's cache still holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import boto3
import pytest

from lookalike.errors import CorruptObject, ObjectNotFound, StorageError
from lookalike.publishing import live_ref, publication
from lookalike.settings import S3Settings
from lookalike.storage.artefacts import FileEntry, Ref, fetch, read_manifest
from lookalike.storage.s3 import S3Store
from tests.shop import Shop, open_shop, reindex

from .conftest import Run


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def whole(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop on an S3 server whose second index is live, and all of whose files are in this machine's cache."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        session = boto3.session.Session()
        session.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="whole")
        store = S3Store("whole", "a", S3Settings(endpoint_url=endpoint))
        shop = open_shop(store, tmp_path_factory.mktemp("whole") / "cache", per_category=6)
        later = reindex(shop, per_category=8)
        for pair in (shop, later):
            publication.publish_index(store, pair.index, by="test", cache_dir=shop.cache_dir)
            for ref in (pair.release, pair.index, pair.curated):
                fetch(store, ref, shop.cache_dir)
        yield later


@pytest.fixture
def remote(whole: Shop, endpoint: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> Iterator[Shop]:
    """`whole`, which a test may damage at the store: afterwards it is put back."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("LOOKALIKE_S3_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(whole.cache_dir))
    before = {info.key: (info.etag, whole.store.get(info.key)) for info in whole.store.list()}
    yield whole
    after = {info.key: info.etag for info in whole.store.list()}
    for key, (etag, data) in before.items():
        if after.get(key) != etag:
            whole.store.put(key, data)


def spoil(shop: Shop, entry: FileEntry) -> None:
    """Other bytes of the same length."""
    data = bytearray(shop.store.get(entry.key))
    data[len(data) // 2] ^= 1
    shop.store.put(entry.key, bytes(data))


def cut(shop: Shop, entry: FileEntry) -> None:
    shop.store.put(entry.key, shop.store.get(entry.key)[:-1])


def remove(shop: Shop, entry: FileEntry) -> None:
    shop.store.delete(entry.key)


def file_of(shop: Shop, ref: Ref, name: str = "") -> FileEntry:
    return next(file for file in read_manifest(shop.store, ref).files if file.name.startswith(name))


def test_what_is_whole_at_the_store_is_said_to_be(run: Run, remote: Shop) -> None:
    outcome = run("verify", "--store", remote.store.uri, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json == {
        "verified": [str(ref) for ref in (remote.release, remote.index, remote.curated)],
        "problems": {},
    }
    assert run("verify", "--all", "--store", remote.store.uri).code == 0


@pytest.mark.parametrize(
    ("kind", "name", "harm"),
    [
        ("index", "segment-", remove),
        ("index", "segment-", spoil),
        ("index", "segment-", cut),
        ("release", "model.onnx", remove),
        ("release", "model.onnx", spoil),
        ("curated", "photos-", remove),
        ("curated", "photos-", cut),
        ("curated", "listings.parquet", spoil),
    ],
)
def test_a_file_lost_or_damaged_at_the_store_is_named_though_the_cache_has_it(
    run: Run,
    remote: Shop,
    kind: str,
    name: str,
    harm: Callable[[Shop, FileEntry], None],
) -> None:
    ref: Ref = getattr(remote, kind)
    entry = file_of(remote, ref, name)
    harm(remote, entry)
    outcome = run("verify", "--store", remote.store.uri, "--json")
    assert outcome.code == 1
    assert list(outcome.json["problems"]) == [str(ref)]  # type: ignore[call-overload]
    assert entry.key in outcome.err.replace("\n", "")


def test_every_damaged_file_is_named_not_only_the_first(run: Run, remote: Shop) -> None:
    segments = read_manifest(remote.store, remote.index).files
    assert len(segments) == 2
    remove(remote, segments[0])
    spoil(remote, segments[1])
    outcome = run("verify", "--store", remote.store.uri, "--json")
    problems = outcome.json["problems"][str(remote.index)]  # type: ignore[index]
    assert ["does not exist" in problems[0], "does not match its digest" in problems[1]] == [True, True]


def test_a_lost_manifest_is_named_too(run: Run, remote: Shop) -> None:
    key = f"index/{remote.index.id}/manifest.json"
    remote.store.delete(key)
    outcome = run("verify", "--store", remote.store.uri)
    assert outcome.code == 1
    assert key in outcome.err.replace("\n", "")


@pytest.mark.parametrize(("harm", "error"), [(remove, ObjectNotFound), (spoil, CorruptObject)])
@pytest.mark.parametrize(("kind", "name"), [("index", "segment-"), ("curated", "listings.parquet")])
def test_neither_publishing_nor_rolling_back_goes_to_what_the_store_has_lost(
    remote: Shop, kind: str, name: str, harm: Callable[[Shop, FileEntry], None], error: type[StorageError]
) -> None:
    live = live_ref.read_live(remote.store)
    assert live is not None
    first = live.history[0]
    target = first.index
    if kind == "curated":
        target = Ref.parse(read_manifest(remote.store, first.index).inputs["curated"])
    entry = file_of(remote, target, name)
    harm(remote, entry)
    with pytest.raises(error, match=entry.key):
        publication.roll_back(remote.store, by="test", cache_dir=remote.cache_dir)
    with pytest.raises(error, match=entry.key):
        publication.publish_index(
            remote.store, first.index, by="test", cache_dir=remote.cache_dir, accept=True
        )  # a quarter smaller than what is live
    assert live_ref.read_live(remote.store) == live
