"""Photos of the web: fetched again where a host is busy, not read twice, and never from the operator's own network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.photo_site import Site, signed
from lookalike.catalogue import runs, web_photos
from lookalike.catalogue.exports import Layout
from lookalike.catalogue.web_photos import WebPhotos, WebPolicy, is_public
from lookalike.errors import ObjectNotFound, PhotoOutside, SettingsError, StorageError
from tests.catalogue.conftest import Shop, by_id, photo, plain, reasons

HERE = WebPolicy(private=True, timeout_s=2)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(web_photos.time, "sleep", lambda _: None)
    made = Site()
    yield made
    made.close()


def test_photos_of_the_web_are_curated_and_read_once(shop: Shop, site: Site) -> None:
    site.photos = {f"/{i}.jpg?v=1": photo(i) for i in range(8)}
    rows = [row | {"image": f"{site.uri}/{i}.jpg?v=1"} for i, row in enumerate(plain(8))]
    shop.write(rows, {})
    site.busy["/1.jpg?v=1"], site.busy["/2.jpg?v=1"] = 2, 99
    layout = Layout(web=HERE)
    first = shop.curate(layout=layout)
    assert reasons(first) == {"L002": "unreadable"}
    assert by_id(first)["L001"]["image_url"] == f"{site.uri}/1.jpg?v=1"
    assert (site.asked["GET", "/1.jpg?v=1"], site.asked["GET", "/2.jpg?v=1"]) == (3, 3)
    assert 1 <= site.most_together <= HERE.per_host
    site.busy.clear()
    site.asked.clear()
    site.photos["/3.jpg?v=1"] = photo(33)
    second = shop.curate(layout=layout)
    assert reasons(second) == {}, "what failed is asked for again"
    gets = {path for method, path in site.asked if method == "GET"}
    assert gets == {"/2.jpg?v=1", "/3.jpg?v=1"}, "what has not changed is not read again"
    assert by_id(second)["L003"]["photo_id"] != by_id(first)["L003"]["photo_id"]


def test_what_a_host_does_wrong_is_said(site: Site) -> None:
    site.photos = dict.fromkeys(("/html", "/short", "/large", "/round"), b"x" * 1000)
    site.headers = {
        "/html": {"Content-Type": "text/html"},
        "/short": {"Content-Length": "2000", "Connection": "close"},
    }
    site.redirects = {"/round": "/round"}
    web = WebPhotos(HERE)
    for path, error, message in (
        ("/gone", ObjectNotFound, "does not exist"),
        ("/html", StorageError, "is no photo, but text/html"),
        ("/short", StorageError, "only 1,000 of 2,000 bytes came|IncompleteRead|Connection broken"),
        ("/round", StorageError, "redirected more than 5 times"),
    ):
        with pytest.raises(error, match=message):
            web.read(site.uri + path, length=5000)
    assert web.read(f"{site.uri}/large", length=100)[0] == b"x" * 100
    assert web.validator(f"{site.uri}/large")
    assert web.validator(f"{site.uri}/gone") is None


def test_a_host_that_fails_often_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_photos.time, "sleep", lambda _: None)
    asked: list[str] = []

    def nowhere(host: str, port: int) -> list[str]:
        asked.append(host)
        raise OSError("no such name")

    web = WebPhotos(WebPolicy(attempts=1), nowhere)
    for _ in range(30):
        with pytest.raises(StorageError, match=r"no such host|not asked again"):
            web.read("https://gone.example/1.jpg", length=10)
    assert len(asked) == 20


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
        "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::",
    ],
)  # fmt: skip
def test_private_addresses_are_known_in_every_disguise(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_public() -> None:
    assert all(
        map(is_public, ("93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"))
    )


def test_nothing_leads_into_the_network_of_the_operator(site: Site) -> None:
    site.photos["/1.jpg"] = b"secret"
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["10.0.0.7", "127.0.0.1"]])
    web = WebPhotos(WebPolicy(timeout_s=2), lambda host, port: next(answers))
    port = site.server.server_port
    for address in (
        f"http://127.0.0.1:{port}/1.jpg",
        f"http://[::ffff:127.0.0.1]:{port}/1.jpg",
        f"http://[::1]:{port}/",
    ):
        with pytest.raises(PhotoOutside, match="leads to a private address"):
            web.check(address)
    with pytest.raises(PhotoOutside, match=r"http://shop.example/1.jpg holds a user name") as caught:
        web.check("http://me:s3cret@shop.example/1.jpg")
    assert "s3cret" not in str(caught.value)
    next(answers)  # the name was public when somebody looked
    for _ in range(3):
        with pytest.raises(PhotoOutside, match="leads to a private address"):
            web.read(f"http://shop.example:{port}/1.jpg", length=10)
    for bad in ("http://", "https:///x", "http://[::1/x", "http://shop.example:99999/x"):
        with pytest.raises(SettingsError, match="not an address"):
            web.check(bad)
    assert not site.asked


def test_a_redirect_into_the_network_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host counts as public here; where it leads to does not."""
    port = site.server.server_port
    site.photos["/secret.jpg"] = b"secret"
    site.redirects = {"/1.jpg": f"http://inside.example:{port}/secret.jpg", "/3.jpg": "file:///etc/passwd"}
    hosts = {"front.example": ["127.0.0.1"], "inside.example": ["127.0.0.2"]}
    web = WebPhotos(WebPolicy(timeout_s=2), lambda host, _: hosts[host])
    monkeypatch.setattr(web_photos, "is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(PhotoOutside, match="leads to a private address"):
        web.read(f"http://front.example:{port}/1.jpg", length=10)
    with pytest.raises(SettingsError, match="not an address: 'file:///etc/passwd'"):
        web.read(f"http://front.example:{port}/3.jpg", length=10)
    assert ("GET", "/secret.jpg") not in site.asked
    assert site.asked["GET", "/1.jpg"] == 1


def test_what_was_fetched_before_a_kill_is_not_fetched_again(
    shop: Shop, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_WEB_PHOTOS_OF_A_LOT", 10)
    site.photos = {f"/{i}.jpg": photo(i) for i in range(60)}
    shop.write([row | {"image": f"{site.uri}/{i}.jpg"} for i, row in enumerate(plain(60))], {})

    def killed(stage: str, done: int, total: int, detail: str = "") -> None:
        if stage == "read photos" and done == 35:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.curate(layout=Layout(web=HERE), progress=killed)
    site.asked.clear()
    assert shop.curate(layout=Layout(web=HERE)).listings.num_rows == 60
    again = {path for method, path in site.asked if method == "GET"}
    assert again == {f"/{i}.jpg" for i in range(30, 60)}, "30 were in the log"


def test_a_certificate_is_believed_where_its_authority_is(tmp_path: Path) -> None:
    own, other = (signed(tmp_path / name) for name in ("own.pem", "other.pem"))
    site = Site(own)
    try:
        site.photos["/1.jpg"] = b"photo"
        assert site.uri.startswith("https://")
        believing = WebPhotos(WebPolicy(private=True, attempts=1, ca=str(own)))
        assert believing.read(f"{site.uri}/1.jpg", length=10)[0] == b"photo"
        for ca in ("", str(other)):
            with pytest.raises(StorageError, match="certificate"):
                WebPhotos(WebPolicy(private=True, attempts=1, ca=ca)).read(f"{site.uri}/1.jpg", length=10)
    finally:
        site.close()
