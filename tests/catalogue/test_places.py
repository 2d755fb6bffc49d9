"""Where a catalogue may name photos, and that nothing else is read, published or quoted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from lookalike.catalogue.curation import curate
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import ObjectNotFound, PhotoOutside, SettingsError, StorageError
from lookalike.settings import CatalogueSettings, S3Settings
from lookalike.storage.stores import open_store
from tests.catalogue.conftest import SMALL, Shop, by_id, photo, photos, plain, reasons

SECRET = b"TOPSECRET, and nobody's business"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the shop's: a file that is no photo, and one that is."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "secret.txt").write_bytes(SECRET)
    (folder / "photo.jpg").write_bytes(photo(90))
    return folder


def named(shop: Shop, images: list[str]) -> list[dict[str, object]]:
    """Six sound rows, and one for each of `images`, numbered from ``X0``."""
    return [
        *plain(6),
        *({"listing_id": f"X{i}", "image": x, "category": "a/x"} for i, x in enumerate(images)),
    ]


def test_what_lies_outside_of_the_folder_is_left_out_and_not_quoted(shop: Shop, outside: Path) -> None:
    (shop.folder / "photos").mkdir()
    (shop.folder / "link.jpg").symlink_to(outside / "photo.jpg")
    (shop.folder / "secret.jpg").symlink_to(outside / "secret.txt")
    (shop.folder / "linked").symlink_to(outside)
    (shop.folder / "twice").symlink_to("linked/photo.jpg")
    images = [
        "/etc/passwd", "file:///etc/passwd", "file://localhost/etc/passwd", "/etc/nowhere.jpg",
        str(outside / "photo.jpg"), (outside / "photo.jpg").as_uri(), f"{shop.folder}/../private/photo.jpg",
        "../private/photo.jpg", "photos/../../private/photo.jpg", "../private/gone.jpg",
        "link.jpg", "secret.jpg", "linked/photo.jpg", "linked/secret.txt", "twice", "s3://shop/photo.jpg",
    ]  # fmt: skip
    shop.write(named(shop, images), photos(6))
    snapshot = shop.curate()
    assert reasons(snapshot) == {f"X{i}": "outside the catalogue" for i in range(len(images))}
    assert snapshot.artefact.manifest.meta["left_out"] == {"outside the catalogue": len(images)}
    assert len(snapshot.photos) == 6
    for path in shop.store.root.rglob("*"):
        if path.is_file():
            assert SECRET[:8] not in path.read_bytes()
            assert b"root:x" not in path.read_bytes()
    details = [row["detail"] for row in snapshot.report["rows"]["left_out"]]
    assert details[10] == "link.jpg leads out of the catalogue's folder"
    assert str(outside) not in " ".join(details[6:])  # where a link leads to is not said


def test_links_and_detours_that_stay_inside_are_followed(shop: Shop, tmp_path: Path) -> None:
    (shop.folder / "photos").mkdir()
    (shop.folder / "album").symlink_to("photos")
    for i in range(6, 12):
        (shop.folder / "photos" / f"{i}.jpg").write_bytes(photo(i))
    (shop.folder / "link.jpg").symlink_to(shop.folder / "photos" / "7.jpg")
    images = [
        "album/6.jpg", "link.jpg", "photos/../photos/8.jpg", str(shop.folder / "photos" / "9.jpg"),
        (shop.folder / "album" / "10.jpg").as_uri(), "./photos//11.jpg",
    ]  # fmt: skip
    shop.write(named(shop, images), photos(6))
    assert reasons(shop.curate()) == {}
    (tmp_path / "current").symlink_to(shop.folder)  # the folder itself may be reached by a link
    ref = curate(shop.store, str(tmp_path / "current" / "catalogue.csv"), SMALL, cache_dir=shop.cache)
    assert len(CuratedSnapshot.open(shop.store, ref, shop.cache).listings) == 12


def test_further_roots_are_allowed_by_name(shop: Shop, outside: Path) -> None:
    (shop.folder / "link.jpg").symlink_to(outside / "photo.jpg")
    images = [str(outside / "photo.jpg"), "../private/photo.jpg", "link.jpg", f"{outside}2/photo.jpg"]
    shop.write(named(shop, images), photos(6))
    without = shop.curate()
    assert set(reasons(without)) == {"X0", "X1", "X2", "X3"}
    snapshot = shop.curate(photo_roots=[str(outside)])
    assert reasons(snapshot) == {"X3": "outside the catalogue"}
    assert snapshot.photo_bytes(by_id(snapshot)["X2"]["photo_id"]) == photo(90)
    assert snapshot.ref.id != without.ref.id
    assert shop.curate(photo_roots=[outside.as_uri(), "s3://elsewhere/photos"]).ref == snapshot.ref
    with pytest.raises(SettingsError, match="https://x: photos may lie below a folder or below s3"):
        shop.curate(photo_roots=["https://x"])


@pytest.mark.parametrize("swapped", ["photos", "photos/1.jpg"], ids=["a folder", "the file"])
def test_a_link_put_there_after_the_look_is_not_followed(
    shop: Shop, outside: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop.folder / "photos").mkdir()
    (shop.folder / "photos" / "1.jpg").write_bytes(photo(1))
    (outside / "1.jpg").write_bytes(SECRET)
    places = PhotoPlaces(shop.folder.as_uri())
    assert places.read("photos/1.jpg") == photo(1)
    resolve = os.path.realpath

    def resolve_and_swap(path: str) -> str:
        found = resolve(path)
        (shop.folder / swapped).rename(shop.folder / "before")
        (shop.folder / swapped).symlink_to(outside / Path(swapped).relative_to("photos"))
        return found

    monkeypatch.setattr(os.path, "realpath", resolve_and_swap)
    with pytest.raises(StorageError):
        places.read("photos/1.jpg")


def test_pipes_folders_and_devices_are_no_photos(shop: Shop) -> None:
    os.mkfifo(shop.folder / "pipe.jpg")
    (shop.folder / "folder.jpg").mkdir()
    (shop.folder / "loop.jpg").symlink_to("loop.jpg")
    shop.write(named(shop, ["pipe.jpg", "folder.jpg", "loop.jpg", "gone.jpg", "L000.jpg/x"]), photos(6))
    found = reasons(shop.curate())
    assert found == {
        "X0": "unreadable",
        "X1": "unreadable",
        "X2": "unreadable",
        "X3": "missing",
        "X4": "unreadable",
    }


@pytest.mark.parametrize(
    "image",
    ["https://[", "ftp://shop/1.jpg", "s3://", "s3:///x", "file:///%00", ".", "a/", "file://host/x"],
)
def test_what_names_no_place_is_malformed_and_stops_nothing(shop: Shop, image: str) -> None:
    shop.write(named(shop, [image]), photos(6))
    assert reasons(shop.curate()) == {"X0": "malformed image"}


def test_roots_come_by_the_environment_parted_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_PHOTO_ROOTS", "/mnt/photos, s3://media/photos ,")
    assert CatalogueSettings().photo_roots == ("/mnt/photos", "s3://media/photos")
    monkeypatch.delenv("LOOKALIKE_PHOTO_ROOTS")
    assert CatalogueSettings().photo_roots == ()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Settings]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    for bucket in ("market", "strangers"):
        client.create_bucket(Bucket=bucket)
    yield S3Settings(endpoint_url=f"http://{host}:{port}")
    server.stop()


def test_a_catalogue_on_s3_stays_in_its_bucket_and_never_names_local_files(
    shop: Shop, outside: Path, s3: S3Settings
) -> None:
    images = [
        "photos/6.jpg", "../media/7.jpg", "s3://market/media/8.jpg",  # the bucket is what S3 gives access by
        "s3://strangers/9.jpg", "s3://strangers/photos/10.jpg", "s3://strangers/photos/../9.jpg",
        "s3://strangers/photos2/11.jpg", "../../12.jpg", "/etc/passwd", "file:///etc/passwd",
        str(outside / "photo.jpg"),
    ]  # fmt: skip
    shop.write(named(shop, images), photos(6))
    market, strangers = open_store("s3://market", s3), open_store("s3://strangers", s3)
    for path in shop.folder.iterdir():
        market.put(f"tables/{path.name}", path.read_bytes())
    for key, seed in {"tables/photos/6.jpg": 6, "media/7.jpg": 7, "media/8.jpg": 8}.items():
        market.put(key, photo(seed))
    for key, seed in {"9.jpg": 9, "photos/10.jpg": 10, "photos2/11.jpg": 11}.items():
        strangers.put(key, photo(seed))

    def curated(*roots: str) -> dict[str, str]:
        uri = "s3://market/tables/catalogue.csv"
        ref = curate(shop.store, uri, SMALL, s3=s3, photo_roots=roots, cache_dir=shop.cache)
        return reasons(CuratedSnapshot.open(shop.store, ref, shop.cache))

    assert curated() == {f"X{i}": "outside the catalogue" for i in range(3, 11)}
    allowed = {f"X{i}" for i in range(3, 11)} - set(curated("s3://strangers/photos", str(outside)))
    assert allowed == {"X4", "X10"}


def test_errors_are_those_of_a_store(tmp_path: Path) -> None:
    places = PhotoPlaces(tmp_path.as_uri())
    (tmp_path / "1.jpg").write_bytes(b"one two")
    assert (places.read("1.jpg"), places.read("1.jpg", length=3)) == (b"one two", b"one")
    with pytest.raises(ObjectNotFound):
        places.read("gone/1.jpg")
    with pytest.raises(PhotoOutside, match=r"^/etc/passwd leads out of the catalogue's folder$"):
        places.read("/etc/passwd")
