"""What strangers hear of a failure: why, and neither where things lie nor what a file holds."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from pathlib import Path

import pytest

from lookalike.errors import PhotoError
from lookalike.serving.discretion import discreet
from lookalike.storage import keys
from lookalike.storage.directory import DirectoryStore
from tests.serving.running import Running, eventually, running
from tests.shop import render

VASE = render("home/vase", 5)
QUOTED = re.compile(r"""\bb['"]""")


def png_chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


HEADER = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
STRANGE = {
    "text": b"TOPSECRET, nobody's business",
    "webp chunk": b"RIFF\x40\0\0\0WEBPSECR" + bytes(60),
    "png chunk": b"\x89PNG\r\n\x1a\n" + HEADER + png_chunk(b"SECR", b"TOPSECRET") + png_chunk(b"IEND", b""),
    "png crc": b"\x89PNG\r\n\x1a\n"
    + HEADER
    + png_chunk(b"PLTE", b"SECRET" * 2, crc=7)
    + png_chunk(b"IDAT", b"SECR"),
    "png data": b"\x89PNG\r\n\x1a\n" + HEADER + png_chunk(b"IDAT", b"SECRET") + png_chunk(b"IEND", b""),
    "jpeg": VASE[:200] + b"SECRET" * 40,
}


@pytest.mark.parametrize("kind", STRANGE)
def test_no_byte_of_a_file_is_quoted(process: Running, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lookalike.serving"):
        reply = process.client.post("/v1/search", content=STRANGE[kind])
    assert 400 <= reply.status_code < 500
    assert not QUOTED.search(reply.text)
    assert "SECR" not in reply.text
    assert "a photo was refused" in caplog.text


def test_a_store_that_cannot_be_read_is_not_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a store")
    with running(store, tmp_path / "cache", wait=False) as process:
        (store.root / keys.LIVE_REF).parent.mkdir(parents=True, exist_ok=True)
        (store.root / keys.LIVE_REF).write_bytes(b"TOPSECRET")
        eventually(lambda: "live.json" in process.client.get("/readyz").text)
        for reply in (process.client.get("/readyz"), process.client.post("/v1/search", content=VASE)):
            assert reply.status_code == 503
            for hidden in (str(store.root), store.uri, str(tmp_path), "file:", "TOPSECRET"):
                assert hidden not in reply.text
        assert "refs/live.json" in process.client.post("/v1/search", content=VASE).json()["detail"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://shop/x/index/ab/m.json does not exist", "the store/index/ab/m.json does not exist"),
        ("s3://shop/xy: refused", "… refused"),
        ("s3://other/y: access denied (403)", "… access denied (403)"),
        (
            "/srv/cache/index/seg.arrow: damaged (rule: size)",
            "the store/index/seg.arrow: damaged (rule: size)",
        ),
        ("it cannot be read: Permission denied (/etc/a b)", "it cannot be read: Permission denied (… b)"),
        ("one says: http://10.0.0.7:8000/v1/shards refuses", "one says: … refuses"),
        ("""broken PNG file (chunk b'\\x00\\'x') and b"it's" """, "broken PNG file (chunk …) and … "),
        ("no category clothing/tops; 3 of 4, 12.5 MB", "no category clothing/tops; 3 of 4, 12.5 MB"),
    ],
)
def test_places_and_bytes_go_and_words_and_keys_stay(text: str, said: str) -> None:
    assert discreet(text, "s3://shop/x", Path("/srv/cache")) == said


def test_a_path_with_a_space_is_hidden_where_it_is_known() -> None:
    store = "file:///data/my%20store"
    said = discreet("/data/my store: Permission denied (/data/my store/refs/live.json)", store)
    assert said == "the store: Permission denied (the store/refs/live.json)"


def test_the_cause_stays_with_the_error() -> None:
    from lookalike.imaging.photos import load_square

    with pytest.raises(PhotoError, match=r"^cannot be decoded: the file is damaged$") as caught:
        load_square(STRANGE["png data"], 32)
    assert caught.value.__cause__ is not None
