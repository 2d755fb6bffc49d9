"""Curation of a catalogue and photos in S3, and of what S3 does not give."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from lookalike.catalogue.curation import curate
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import AccessDenied, CatalogueError, StoreUnavailable
from lookalike.settings import S3Settings
from lookalike.storage.stores import open_store
from tests.catalogue.conftest import SMALL, Shop, by_id, photo, photos, plain, reasons, visible


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Settings]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="shop")
    yield S3Settings(endpoint_url=f"http://{host}:{port}")
    client.delete_bucket_policy(Bucket="shop")  # all of moto's servers in this process share their buckets
    server.stop()


def test_from_s3_to_s3(shop: Shop, s3: S3Settings) -> None:
    shop.write(plain(8), photos(8))
    bucket = open_store("s3://shop/tables", s3)
    for path in shop.folder.iterdir():
        bucket.put(path.name, path.read_bytes())
    store = open_store("s3://shop/lookalike", s3)
    ref = curate(store, "s3://shop/tables/catalogue.csv", SMALL, s3=s3, cache_dir=shop.cache)
    snapshot = CuratedSnapshot.open(store, ref, shop.cache)
    assert snapshot.listings.equals(shop.curate().listings)
    assert snapshot.photo_bytes(by_id(snapshot)["L004"]["photo_id"]) == photo(4)
    with pytest.raises(StoreUnavailable, match="no bucket 'wrong'"):
        curate(
            open_store("s3://wrong/x", s3), str(shop.folder / "catalogue.csv"), SMALL, cache_dir=shop.cache
        )


def test_a_catalogue_that_changes_in_s3_while_it_is_read_is_refused(shop: Shop, s3: S3Settings) -> None:
    shop.write(plain(6), photos(6))
    bucket = open_store("s3://shop/changing", s3)
    for path in shop.folder.iterdir():
        bucket.put(path.name, path.read_bytes())
    uri = "s3://shop/changing/catalogue.csv"

    def export_goes_on(stage: str, done: int, total: int, note: str = "") -> None:
        bucket.put("catalogue.csv", bucket.get("catalogue.csv") + b"L006,L006.jpg,a/x\n")

    with pytest.raises(CatalogueError, match="changed while it was read"):
        curate(shop.store, uri, SMALL, s3=s3, cache_dir=shop.cache, progress=export_goes_on)
    assert not visible(shop.store)
    assert curate(shop.store, uri, SMALL, s3=s3, cache_dir=shop.cache)


def deny(s3: S3Settings, keys: str) -> None:
    """Deny everybody to read `keys` of the bucket ``shop``."""
    rule = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::shop/{keys}",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name=s3.region)
    client.put_bucket_policy(Bucket="shop", Policy=policy)


def in_bucket(shop: Shop, s3: S3Settings) -> None:
    """A catalogue on disk of eight photos in S3, and of one that is gone."""
    bucket = open_store("s3://shop", s3)
    for name, data in photos(8).items():
        bucket.put(name, data)
    rows = [row | {"image": f"s3://shop/{row['listing_id']}.jpg"} for row in plain(9)]
    shop.write(rows, {})


def test_single_photos_that_s3_does_not_give_are_left_out(shop: Shop, s3: S3Settings) -> None:
    in_bucket(shop, s3)
    deny(s3, "L003.jpg")
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name=s3.region)
    client.put_object(Bucket="shop", Key="L004.jpg", Body=photo(4), StorageClass="GLACIER")
    snapshot = shop.curate(s3=s3, photo_roots=["s3://shop"])
    assert reasons(snapshot) == {"L003": "access denied", "L004": "unreadable", "L008": "missing"}
    details = {row["listing_id"]: row["detail"] for row in snapshot.report["rows"]["left_out"]}
    assert "s3://shop/L003.jpg cannot be read, or does not exist" in details["L003"]
    assert "is archived" in details["L004"]
    assert len(snapshot.listings) == 6


def test_a_store_that_denies_every_photo_is_said(shop: Shop, s3: S3Settings) -> None:
    in_bucket(shop, s3)
    deny(s3, "*")
    message = (
        r"none of 9 photos can be read, and access to 8 is denied; the first: .*L000.* check the credentials"
    )
    with pytest.raises(AccessDenied, match=message):
        shop.curate(s3=s3, photo_roots=["s3://shop"])
    assert visible(shop.store) == []


def test_a_store_that_does_not_answer_ends_curation(shop: Shop, s3: S3Settings) -> None:
    in_bucket(shop, s3)
    nobody = S3Settings(endpoint_url="http://127.0.0.1:9", attempts=1)
    with pytest.raises(StoreUnavailable, match="Could not connect"):
        shop.curate(s3=nobody, photo_roots=["s3://shop"])
