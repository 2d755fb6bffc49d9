"""A store that goes away: tasks try again until it is back, or fail and say so; search goes on serving."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from lookalike.storage.directory import DirectoryStore

from .conftest import ROOT, Prefect, Shop, free_port, is_up, wait_until

CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


class Bucket:
    """An S3 server whose contents outlive its stops, with the first shop's store copied into it.

    All of moto's servers in this process share their buckets, so it has a name of its own.
    """

    def __init__(self, source: DirectoryStore) -> None:
        from moto.server import ThreadedMotoServer

        self.port = free_port()
        self._make = lambda: ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.start()
        client = boto3.session.Session().client(
            "s3", endpoint_url=self.url, region_name="us-east-1", **CREDENTIALS
        )
        client.create_bucket(Bucket="away")
        for info in source.list():
            client.put_object(Bucket="away", Key=info.key, Body=source.get(info.key))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "LOOKALIKE_STORE": "s3://away",
            "LOOKALIKE_S3_ENDPOINT_URL": self.url,
            "LOOKALIKE_S3_ATTEMPTS": "1",
            "LOOKALIKE_S3_CONNECT_TIMEOUT_S": "1",
        } | {name.upper(): value for name, value in CREDENTIALS.items()}

    def start(self) -> None:
        self._server = self._make()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def bucket(first: Shop) -> Iterator[Bucket]:
    bucket = Bucket(first.store)
    yield bucket
    bucket.stop()


@pytest.fixture
def search(bucket: Bucket, prefect: Prefect, tmp_path: Path) -> Iterator[str]:
    """The search endpoint on that store, ready."""
    url = f"http://127.0.0.1:{free_port()}"
    with (tmp_path / "search.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lookalike", "serve", "--port", url.rpartition(":")[2], "--threads", "1"],
            cwd=ROOT,
            env={**prefect.environ, **bucket.environ, "LOOKALIKE_CACHE_DIR": str(tmp_path / "cache")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until("search", lambda: is_up(f"{url}/readyz"), process)
        yield url
    finally:
        process.kill()
        process.wait()


def hits(search: str, listing_id: str) -> int:
    request = urllib.request.Request(f"{search}/v1/search?listing_id={listing_id}&k=5", method="POST")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return len(json.loads(reply.read())["hits"])


def test_away_for_a_while_then_back_then_gone(
    prefect: Prefect, bucket: Bucket, search: str, first: Shop
) -> None:
    known = first.catalogue.read_text().splitlines()[1].split(",")[0]
    assert hits(search, known) == 5
    parameters = {"catalogue": str(first.catalogue), "threads": 1}

    bucket.stop()
    process = prefect.run("reindex", parameters, **bucket.environ, LOOKALIKE_TASK_ATTEMPTS="8")
    log = []
    assert process.stdout is not None
    for line in process.stdout:
        log.append(line)
        if "Retry 2/7" in line:  # it has been refused twice
            break
    assert hits(search, known) == 5  # search does not need the store to answer
    bucket.start()
    rest, _ = process.communicate(timeout=240)
    assert process.returncode == 0, "".join(log) + rest

    bucket.stop()
    process = prefect.run("reindex", parameters, **bucket.environ, LOOKALIKE_TASK_ATTEMPTS="2")
    text, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "Retry 1/1" in text
    assert "StoreUnavailable: s3://away/refs/live.json: Could not connect to the endpoint" in text
    assert hits(search, known) == 5
    bucket.start()
