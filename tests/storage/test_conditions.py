"""A store is tried once for conditional writes, and refused where it passes them over; a busy one loses no step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from lookalike.errors import OutcomeUnknown, StoreUnsupported
from lookalike.settings import S3Settings
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, read_manifest
from lookalike.storage.conditions import require_conditional_writes
from lookalike.storage.objects import ObjectStore
from lookalike.storage.s3 import S3Store

_names = itertools.count()


def test_every_store_that_we_support_passes_and_is_asked_once(store: ObjectStore) -> None:
    require_conditional_writes(store)
    assert [info.key for info in store.list("")] == [keys.CONDITIONS], "and nothing else is left"
    etag = store.head(keys.CONDITIONS).etag
    require_conditional_writes(store)
    assert store.head(keys.CONDITIONS).etag == etag


@pytest.fixture
def s3(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty store on moto's server."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    bucket = f"conditions-{next(_names)}"
    session = boto3.session.Session()
    session.client("s3", endpoint_url=moto_endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return S3Store(bucket, "", S3Settings(endpoint_url=moto_endpoint))


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_that_passes_over_a_condition_is_refused(s3: S3Store, header: str) -> None:
    def strip(request: Any, **_: object) -> None:
        if header in request.headers:
            del request.headers[header]

    s3._writer.meta.events.register("before-sign.s3.PutObject", strip)
    with pytest.raises(StoreUnsupported, match=f"passes over {header}, so two publishers"):
        require_conditional_writes(s3)
    assert list(s3.list("")) == [], "nothing says that it was seen to work"


def test_a_store_that_compares_etags_otherwise_is_refused_with_the_setting(s3: S3Store) -> None:
    def bare(request: Any, **_: object) -> None:  # as a server sees it that keeps quotes out of its ETags
        if "If-Match" in request.headers:
            request.headers.replace_header("If-Match", request.headers["If-Match"].replace('"', "'"))

    s3._writer.meta.events.register("before-sign.s3.PutObject", bare)
    with pytest.raises(StoreUnsupported, match="LOOKALIKE_S3_IF_MATCH_QUOTED=false"):
        require_conditional_writes(s3)


def refusing(s3: S3Store, status: int, times: int) -> Callable[[], int]:
    """Let the first conditional writes be answered by `status` alone; how many came is returned."""
    came = 0

    def refuse(request: Any, **_: object) -> AWSResponse | None:
        nonlocal came
        came += 1
        if came > times:
            return None
        code = {409: "ConditionalRequestConflict", 503: "SlowDown"}[status]
        body = f"<Error><Code>{code}</Code></Error>".encode()

        class Raw:
            def stream(self, *_: object, **__: object) -> list[bytes]:
                return [body]

        return AWSResponse(request.url, status, {"content-type": "application/xml"}, Raw())

    s3._writer.meta.events.register("before-send.s3.PutObject", refuse)
    return lambda: came


@pytest.mark.parametrize("status", [409, 503])
def test_a_manifest_is_sent_again_where_the_store_was_busy(
    s3: S3Store, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookalike.storage.artefacts._PAUSES_S", (0, 0, 0, 0))
    came = refusing(s3, status, times=2)
    writer = ArtefactWriter(s3, Kind.EXTRACTION, inputs={}, config={"n": status})
    writer.add("shards.json", b"{}")
    ref = writer.commit()
    assert came() == 3
    assert read_manifest(s3, ref).file("shards.json").size == 2


def test_a_store_that_stays_busy_says_so(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.storage.artefacts._PAUSES_S", (0, 0, 0, 0))
    came = refusing(s3, 503, times=99)
    with pytest.raises(OutcomeUnknown, match=r"manifest\.json could not be written; run the step again"):
        ArtefactWriter(s3, Kind.EXTRACTION, inputs={}, config={}).commit()
    assert came() == 4
