"""Search with credentials that only read, by k8s/examples/aws/read-policy.json: it answers, counts its searches, and
cannot write anything else.

moto checks each request against the policies of whoever signed it. The shop is published with the policy of the runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from lookalike.errors import AccessDenied
from lookalike.publishing import live_ref, publication
from lookalike.settings import S3Settings
from lookalike.steps import retain
from lookalike.storage import keys
from lookalike.storage.s3 import S3Store
from lookalike.storage.versions import old_versions
from lookalike.workplace import open_workplace
from tests.flows.conftest import free_port, is_up, wait_until
from tests.serving.running import running
from tests.shop import open_shop, render

EXAMPLES = Path(__file__).parents[2] / "k8s" / "examples" / "aws"
BUCKET = "shop-lookalike"


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A moto server of its own: whether it checks policies is one switch for all that it holds."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until("moto", lambda: is_up(f"{url}/moto-api/data.json"), server, 60)
        yield url
    finally:
        server.kill()
        server.wait()


def user(endpoint: str, name: str) -> dict[str, str]:
    """Credentials of a new user who may do what the example of that name says."""
    iam = boto3.session.Session().client("iam", endpoint_url=endpoint, region_name="us-east-1")
    iam.create_user(UserName=name)
    policy = (EXAMPLES / f"{name}-policy.json").read_text()
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def test_search_reads_and_cannot_write(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act_as(credentials: dict[str, str]) -> S3Store:
        for name, value in credentials.items():
            monkeypatch.setenv(name, value)
        return S3Store(BUCKET, "", S3Settings(endpoint_url=endpoint))

    act_as({"AWS_ACCESS_KEY_ID": "root", "AWS_SECRET_ACCESS_KEY": "root"})
    session = boto3.session.Session()
    session.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    reader, writer = user(endpoint, "read"), user(endpoint, "write")
    plain = {"Content-Type": "text/plain"}
    checked = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", b"0", plain, method="POST")
    urllib.request.urlopen(checked, timeout=30).close()

    store = act_as(writer)
    shop = open_shop(store, tmp_path / "made", per_category=4)
    publication.publish_index(store, shop.index, by="test", cache_dir=tmp_path / "made")
    monkeypatch.setenv("LOOKALIKE_STORE", store.uri)
    monkeypatch.setenv("LOOKALIKE_S3_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(tmp_path / "made"))
    retain(open_workplace(store.uri))  # lists, deletes, and looks for unfinished uploads
    assert old_versions(store) == (None, "")

    store = act_as(reader)
    assert "s3:ListBucketVersions" in old_versions(store)[1]
    with running(store, tmp_path / "cache") as process:
        reply = process.client.post("/v1/search?k=3", content=render("home/vase", 1))
        assert reply.status_code == 200, reply.text
        assert reply.json()["hits"]
        photo = reply.json()["hits"][0]["photo_id"]
        assert process.client.get(f"/v1/photos/{photo}").status_code == 200
    live = live_ref.read_live(store)
    assert [info.key for info in store.list(keys.TRAFFIC)]
    for write in (
        lambda: store.put("refs/live.json", b"{}"),
        lambda: store.put("refs/live.json", b"{}", if_match=live.etag if live else None),
        lambda: store.delete("refs/live.json"),
        lambda: store.put("releases/other/manifest.json", b"{}"),
    ):
        with pytest.raises(AccessDenied):
            write()
    assert live_ref.read_live(store) == live
