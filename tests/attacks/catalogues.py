"""Tables and feeds that are made to harm, by kind: what `tests/catalogue/sources/test_hostile_kinds.py` reads.

Each is a name, bytes, and a word of the error, or None where its good rows are to be read and the others named. Small
on disk, whatever they unpack to.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator

import pyarrow as pa

from tests.attacks.workbooks import Case, books, parquets, zipped

ROW = b"listing_id,image,category\nL1,1.jpg,a\n"
_MIB = 1 << 20


def _bombs() -> Iterator[tuple[str, Case]]:
    unpacks = "unpacks to more than|unpacks to .* bytes of"
    zeros = b"0" * (8 * _MIB)
    for kind, pack in (
        ("gz", gzip.compress),
        ("zst", lambda data: pa.Codec("zstd").compress(data).to_pybytes()),
        ("zip", lambda data: zipped(("x.csv", data))),
    ):
        yield f"{kind}: zeros", (f"x.csv.{kind}", pack(zeros), unpacks)
        yield f"{kind}: rows that go on", (f"x.csv.{kind}", pack(ROW + b"L1,1.jpg,a\n" * 700_000), unpacks)
        yield f"{kind}: one endless line", (f"x.csv.{kind}", pack(ROW + b"L2," + zeros), unpacks)
        yield (
            f"{kind}: packed twice",
            (f"x.csv.{kind}", pack(pack(zeros)), "has no columns|not UTF-8|not CSV|unpacks to"),
        )
        yield (
            f"{kind}: of a zip",
            (f"x.csv.{kind}", pack(zipped(("x.csv", ROW))), "is not readable as Excel"),
        )
        yield f"{kind}: cut off", (f"x.csv.{kind}", pack(ROW * 500)[:-9], "damaged|cut off")
        yield f"{kind}: nothing inside", (f"x.csv.{kind}", pack(b""), "has no columns|empty")
    yield "zip: no file", ("x.zip", zipped(), "damaged zip file|must hold one table|has no columns")
    yield (
        "zip: ten thousand files",
        ("x.zip", zipped(*((f"{i}.csv", b"") for i in range(10_000))), "must hold one table"),
    )
    yield "zip: a path that climbs", ("x.zip", zipped(("../../../../etc/x.csv", ROW)), "must hold one table")
    yield "zip: says it is small", ("x.zip", _lying_zip(zeros), "unpacks to more than|damaged")
    yield "gz: many members", ("x.csv.gz", gzip.compress(zeros[: _MIB // 4]) * 40, unpacks)
    yield "deflate without a head", ("x.csv", zlib.compress(ROW), "has no columns|not UTF-8")


def _lying_zip(data: bytes) -> bytes:
    """Its directory says that a member has 10 bytes."""
    packed = bytearray(zipped(("x.csv", data)))
    at = packed.index(b"PK\x01\x02")
    packed[at + 24 : at + 28] = struct.pack("<I", 10)
    return bytes(packed)


def _feeds() -> Iterator[tuple[str, Case]]:
    head, refused = b'<?xml version="1.0"?>', "declares a document type or entities"
    item = b"<rss><item><id>&%s;</id></item></rss>"
    laughs = b'<!ENTITY a "ha">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12)
    )
    for kind, declared in {
        "laughs": laughs,
        "one long entity": b'<!ENTITY a "' + b"a" * 100_000 + b'">',
        "an entity of itself": b'<!ENTITY a "&b;"><!ENTITY b "&a;">',
        "a file": b'<!ENTITY a SYSTEM "file:///etc/passwd">',
        "an address": b'<!ENTITY a SYSTEM "http://169.254.169.254/latest/">',
        "a parameter": b'<!ENTITY % p SYSTEM "http://127.0.0.1/x.dtd">%p;',
        "nothing": b"",
        "attributes": b'<!ATTLIST item id CDATA "x">',
    }.items():
        yield (
            f"feed: declares {kind}",
            ("x.xml", head + b"<!DOCTYPE x [" + declared + b"]>" + item % b"a", refused),
        )
    yield (
        "feed: a type elsewhere",
        ("x.xml", head + b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><rss/>', refused),
    )
    yield "feed: an entity of nobody", ("x.xml", head + item % b"nobody", "not readable as XML")
    yield "feed: deep", ("x.xml", b"<a>" * 100_000, "nested more than")
    yield "feed: deep in an item", ("x.xml", b"<rss><item>" + b"<a>" * 100_000, "nested more than")
    yield (
        "feed: an item that goes on",
        ("x.xml", b"<rss><item><id>" + b"a" * (5 * _MIB), "without the end of a product"),
    )
    yield (
        "feed: no item for long",
        ("x.xml", b"<rss>" + (b"<x>" + b"y" * 100 + b"</x>") * 50_000, "without the end of a product"),
    )
    yield (
        "feed: a long attribute",
        ("x.xml", b'<rss><item id="' + b"a" * (5 * _MIB), "without the end of a product"),
    )
    yield (
        "feed: many attributes",
        (
            "x.xml",
            b"<rss><item " + b" ".join(b'a%d="1"' % i for i in range(9_000)) + b"/></rss>",
            "columns; at most 2,000",
        ),
    )
    wide = b"<item>" + b"".join(b"<b%d>1</b%d>" % (i, i) for i in range(2_100)) + b"</item>"
    yield "feed: many columns", ("x.xml", b"<rss><item><a>1</a></item>" + wide + b"</rss>", "at most 2,000")
    yield "feed: ten thousand values", (
        "x.xml",
        b"<rss><item><listing_id>L1</listing_id><category>a</category>"
        + b"".join(b"<image>%d.jpg</image>" % i for i in range(10_000)) + b"</item></rss>",
        None,
    )  # fmt: skip
    yield "feed: NULs", ("x.xml", b"<rss><item><id>\0</id></item></rss>", "not readable as XML|has no column")
    yield (
        "feed: a wrong encoding",
        ("x.xml", b'<?xml version="1.0" encoding="klingon"?><rss/>', "not readable as XML"),
    )
    yield (
        "feed: UTF-7",
        (
            "x.xml",
            b'<?xml version="1.0" encoding="utf-7"?><rss><item><id>1</id></item></rss>',
            "not readable as XML|has no column",
        ),
    )
    yield (
        "feed: bytes that are none",
        ("x.xml", b"<rss><item><id>\xff\xfe\xfd</id></item></rss>", "not readable as XML"),
    )
    yield "feed: crossed elements", ("x.xml", b"<rss><item><a></item></a></rss>", "not readable as XML")
    yield "feed: two roots", ("x.xml", b"<rss/><rss/>", "not readable as XML")
    yield (
        "feed: a page to log in",
        ("x.xml", b"<!doctype html><html><body>Login</body></html>", "not readable as XML"),
    )
    yield "feed: an SVG", ("x.xml", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "XML without products")
    yield (
        "feed: includes a file",
        (
            "x.xml",
            b'<rss xmlns:xi="http://www.w3.org/2001/XInclude"><item><xi:include href="file:///etc/passwd"/></item></rss>',
            "XML without products|has no column",
        ),
    )
    yield (
        "feed: a style sheet",
        (
            "x.xml",
            b'<?xml-stylesheet href="http://127.0.0.1/x"?><rss><item><id>1</id></item></rss>',
            "has no column",
        ),
    )


def _text() -> Iterator[tuple[str, Case]]:
    header = b"listing_id,image,category\n"
    yield (
        "csv: ten thousand columns",
        ("x.csv", b",".join(b"c%d" % i for i in range(10_000)) + b"\n", "at most 2,000"),
    )
    yield (
        "csv: ten thousand empty columns",
        ("x.csv", header[:-1] + b"," * 10_000 + b"\nL1,1.jpg,a\n", "at most 2,000"),
    )
    yield "csv: a row of a million fields", ("x.csv", ROW + b"," * 1_000_000 + b"\nL2,2.jpg,a\n", None)
    yield (
        "csv: a field of 20 MiB",
        ("x.csv", ROW + b"L2," + b"x" * (20 * _MIB) + b",a\n", "never closed|longer|too long"),
    )
    yield (
        "csv: a header of 20 MiB",
        ("x.csv", b"x" * (20 * _MIB) + b"\n", "header is not CSV|has no columns|too long"),
    )
    yield "csv: an open quote", ("x.csv", ROW + b'L2,"' + b"x\n" * 100_000, "never closed")
    yield (
        "csv: an open quote in the header",
        ("x.csv", b'listing_id,"image,category\n' + b"x\n" * 1_000, "not CSV|never closed|has no column"),
    )
    yield "csv: quotes alone", ("x.csv", b'"' * 100_001, "not CSV|never closed|has no column")
    yield "csv: NULs", ("x.csv", ROW + b"L\0002,2.jpg,a\n\0\0\0\n", None)
    yield "csv: NULs alone", ("x.csv", b"\0" * 10_000, "has no column|not UTF|not utf|empty")
    yield (
        "csv: NULs in the header",
        ("x.csv", b"listing_id\0,image,category\nL1,1.jpg,a\n", "has no column|not CSV"),
    )
    yield "csv: control characters in the header", ("x.csv", b"a\x1b[31m,b\x07,c\n1,2,3\n", "has no columns")
    yield "csv: one name twice", ("x.csv", b"listing_id,image,image,category\nL1,1.jpg,2.jpg,a\n", "twice")
    yield "csv: cut in a character", ("x.csv", ROW + "L2,2.jpg,größe".encode()[:-3], None)
    yield (
        "csv: one bad byte among good ones",
        (
            "x.csv",
            ROW + "L2,2.jpg,größe\n".encode() * 9 + b"L3,3.jpg,\xff\n",
            "not UTF-8: byte 0xff in line 12",
        ),
    )
    yield "csv: surrogates", ("x.csv", ROW + b"L2,2.jpg,\xed\xa0\x80\n" * 3, None)
    yield "csv: UTF-16 that is odd", ("x.csv", ROW.decode().encode("utf-16")[:-1], "not utf-16")
    yield "csv: UTF-16 of surrogates", ("x.csv", b"\xff\xfe" + b"\x00\xd8" * 100, "not utf-16")
    yield (
        "csv: UTF-32 beyond Unicode",
        ("x.csv", b"\xff\xfe\x00\x00" + b"\xff\xff\xff\x7f" * 10, "not utf-32"),
    )
    yield "csv: a mark alone", ("x.csv", b"\xef\xbb\xbf", "has no column")
    yield "csv: EBCDIC", ("x.csv", ROW.decode().encode("cp500"), "has no columns|not UTF-8")
    yield "csv: formula cells", ("x.csv", header + b"=1+1,=HYPERLINK(),@SUM(A1)\n+L2,-2.jpg,a\n", None)
    yield (
        "csv: paths that climb",
        (
            "x.csv",
            header + b"L1,../../etc/passwd,a\nL2,/etc/shadow,a\nL3,file:///etc/passwd,a\n",
            "none of its 3 rows",
        ),
    )
    yield "csv: names as shells like them", ("x.csv", header + b"$(reboot),`reboot`.jpg,a\n", None)
    yield (
        "csv: a bomb of commas",
        ("x.csv", header + b'"' + b'""' * 500_000 + b'",1.jpg,a\n', "none of its 1 rows"),
    )
    yield "csv: random bytes", ("x.csv", bytes(range(256)) * 400, "has no columns|not UTF-8|not CSV")
    yield (
        "csv: a program",
        ("x.csv", b"\x7fELF\x02\x01\x01" + b"\0" * 5_000, "has no columns|not UTF|not CSV"),
    )
    yield (
        "csv: a photo",
        (
            "x.csv",
            b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)) * 20,
            "has no columns|not UTF|not CSV|not utf",
        ),
    )
    yield "csv: a PDF", ("x.csv", b"%PDF-1.7\n" + bytes(range(128, 256)) * 20, "has no columns|not UTF-8")
    yield (
        "csv: a page",
        ("x.csv", b"<!DOCTYPE html><html><body>Login</body></html>", "declares a document type"),
    )


def _json() -> Iterator[tuple[str, Case]]:
    row = b'{"listing_id":"L1","image":"1.jpg","category":"a"}\n'
    yield "json: deep", ("x.jsonl", b'{"a":' * 100_000, "no JSON object|nested too deep|has no columns")
    yield (
        "json: a deep list",
        ("x.json", b"[{" + b'"a":[' * 100_000, "nested too deep|no JSON|has no columns"),
    )
    yield (
        "json: a later line that is deep",
        ("x.jsonl", row + b'{"a":' * 100_000 + b"\n" + row.replace(b"L1", b"L2"), None),
    )
    yield (
        "json: many keys",
        ("x.jsonl", json.dumps({f"c{i}": 1 for i in range(10_000)}).encode(), "at most 2,000"),
    )
    yield (
        "json: more keys in each line",
        (
            "x.jsonl",
            b"".join(json.dumps({f"c{i}_{k}": 1 for k in range(10)}).encode() + b"\n" for i in range(400)),
            "at most 2,000",
        ),
    )
    yield "json: an endless line", ("x.jsonl", row + b'{"a":"' + b"x" * (17 * _MIB), "is longer than")
    yield (
        "json: an endless list",
        ("x.json", b'[{"a":"' + b"x" * (17 * _MIB), "no JSON, or longer|is longer than"),
    )
    yield (
        "json: a long number",
        ("x.jsonl", row + b'{"listing_id":' + b"9" * 100_000 + b',"image":"1.jpg","category":"a"}\n', None),
    )
    yield (
        "json: not a number",
        ("x.jsonl", b'{"listing_id":NaN,"image":Infinity,"category":-Infinity}\n', "none of its 1 rows"),
    )
    yield (
        "json: half a surrogate",
        ("x.jsonl", row + b'{"listing_id":"\\ud800","image":"2.jpg","category":"a"}\n', None),
    )
    yield (
        "json: objects in cells",
        ("x.jsonl", b'{"listing_id":{"a":1},"image":{},"category":[]}\n', "structs or maps"),
    )
    yield "json: numbers alone", ("x.jsonl", b"1\n2\n3\n", "has no columns")
    yield "json: a list of numbers", ("x.json", b"[1, 2, 3]", "has no columns")
    yield "json: a list that is cut off", ("x.json", b"[" + row + b"," + row[:-9], None)
    yield "json: bytes that are no text", ("x.jsonl", row + b'{"listing_id":"\xff\xfe"}\n', None)


def hostile() -> dict[str, Case]:
    """All of them, by name."""
    return dict([*_bombs(), *_feeds(), *_text(), *_json(), *books(), *parquets()])
