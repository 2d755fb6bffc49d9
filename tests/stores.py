"""The three stores that every contract test runs on: a directory, moto's S3 server, and Ceph's radosgw.

radosgw is a real server; a program that LOOKALIKE_S3_TOOL names starts it, and where that is not set its tests are
skipped. To run against your own server set LOOKALIKE_TEST_S3_ENDPOINT_URL and AWS credentials.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from local.cluster import S3_TOOL, find_tool
from lookalike.settings import S3Settings
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from lookalike.storage.s3 import S3Store

_names = itertools.count()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Endpoint and credentials of a radosgw, for as long as the tests run."""
    if endpoint := os.environ.get("LOOKALIKE_TEST_S3_ENDPOINT_URL"):
        yield {"S3_ENDPOINT_URL": endpoint}
        return
    tool = find_tool(S3_TOOL)
    if tool is None:
        pytest.skip(
            f"no real S3 server: set LOOKALIKE_TEST_S3_ENDPOINT_URL, or {S3_TOOL}, to run these tests on one"
        )
    state = tmp_path_factory.mktemp("radosgw")
    up = subprocess.run(
        [tool, "up", "--state", state], stdout=subprocess.PIPE, text=True, check=True, timeout=240
    )
    yield dict(pair.split("=", 1) for pair in up.stdout.split())
    subprocess.run([tool, "down", "--purge", "--state", state], check=True, timeout=60)


@pytest.fixture(params=["directory", "moto", "radosgw"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store of each kind, empty."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    quoted = True
    if request.param == "moto":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        endpoint = request.getfixturevalue("moto_endpoint")
    else:
        environment = request.getfixturevalue("radosgw")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        endpoint = environment["S3_ENDPOINT_URL"]
        quoted = False  # radosgw 16 compares If-Match with the bare ETag
    settings = S3Settings(endpoint_url=endpoint, if_match_quoted=quoted)
    bucket = f"contract-{next(_names)}"
    session = boto3.session.Session()
    session.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return S3Store(bucket, "some/prefix", settings)
