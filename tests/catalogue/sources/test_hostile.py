"""Tables that are made to harm: each is refused in one line, in bounded time and memory."""

from __future__ import annotations

import gzip
import io
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.sources import files
from lookalike.errors import CatalogueError

ROW = "listing_id,image,category\nL1,1.jpg,a\n"


def zipped(name: str, data: bytes, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
        for other, content in members.items():
            archive.writestr(other, content)
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped("listings.csv", ROW.encode()))
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(sign) + place] |= 1
    return bytes(data)


def book(change: Callable[[openpyxl.Workbook], None] = lambda book: None, **parts: bytes) -> bytes:
    made = openpyxl.Workbook()
    made.active.append(["listing_id", "image", "category"])
    made.active.append(["L1", "1.jpg", "a"])
    change(made)
    out = io.BytesIO()
    made.save(out)
    if not parts:
        return out.getvalue()
    changed = io.BytesIO()
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, parts.get(Path(member.filename).stem, old.read(member)))
    return changed.getvalue()


def formulas(made: openpyxl.Workbook) -> None:
    made.active["C2"] = "=CONCAT(A1, B1)"


BOMB = (
    b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">%s]><rss><item><id>&%s;</id></item></rss>"""
)
LAUGHS = b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12))
FILE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><rss><item><id>&e;</id></item></rss>'

ZEROS = b"0" * (8 << 20)

HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "a bomb of gz": ("x.csv.gz", gzip.compress(ROW.encode() + ZEROS), "unpacks to more than .*: is it a table"),
    "a bomb of zip": ("x.zip", zipped("x.csv", ZEROS), "unpacks to more than .*: is it a table"),
    "gz that is cut off": ("x.csv.gz", gzip.compress(ROW.encode() * 500)[:60], "is damaged or cut off"),
    "zst that is garbage": ("x.csv.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 99, "is damaged or cut off"),
    "zip that is garbage": ("x.zip", b"PK\x03\x04" + b"\xff" * 99, "is a damaged zip file"),
    "a zip of two tables": ("x.zip", zipped("a.csv", b"1", **{"b.csv": b"2"}), r"holds 2 files \(a.csv, b.csv\)"),
    "an encrypted zip": ("x.zip", encrypted(), "is encrypted"),
    "laughs": ("x.xml", BOMB % (LAUGHS, b"m"), "declares a document type or entities"),
    "an entity that is a file": ("x.xml", FILE, "declares a document type or entities"),
    "a feed that never ends": ("x.xml", b"<rss><item><id>1</id><x>" + b"a" * (5 << 20), "without the end of a product"),
    "a feed that is nested": ("x.xml", b"<rss>" + b"<a>" * 2_000_000, "is nested more than 200 elements deep"),
    "a feed without products": ("x.xml", b"<html><body>Login</body></html>", "XML without products"),
    "a feed that is cut off": ("x.xml", b"<rss><item><id>1</id></item><item><i", "not readable as XML"),
    "a feed of many columns": (
        "x.xml",
        b"<rss><item>" + b"".join(b"<a%d>1</a%d>" % (i, i) for i in range(10_000)) + b"</item></rss>",
        "has 10,000 columns; at most 2,000",
    ),
    "many columns": (
        "x.csv",
        ",".join(f"c{i}" for i in range(10_000)).encode() + b"\n",
        "has 10,000 columns; at most 2,000",
    ),
    "many keys": ("x.jsonl", ("{" + ",".join(f'"c{i}":1' for i in range(10_000)) + "}").encode(), "at most 2,000"),
    "JSON that is deep": ("x.jsonl", b'{"a":' * 100_000, "the first line is no JSON object"),
    "a quote that is never closed": ("x.csv", ROW.encode() + b'L2,"' + b"x\n" * 100_000, "line 3 is never closed"),
    "a workbook with entities": (
        "x.xlsx",
        book(sheet1=b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><worksheet/>'),
        "declares entities",
    ),
    "a workbook that is no XML": ("x.xlsx", book(sheet1=b"garbage"), "damaged workbook|not readable as Excel"),
    "a workbook that lacks its sheet": (
        "x.xlsx",
        zipped("[Content_Types].xml", b"<x/>"),
        "not readable as Excel|damaged workbook",
    ),
    "an empty workbook": ("x.xlsx", book(lambda made: made.active.delete_rows(1, 2)), "no sheet with anything in it"),
    "formulas without values": ("x.xlsx", book(formulas), "formula without a stored value: '=CONCAT"),
    "an old workbook": ("x.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 99, "old .xls workbook; save it as .xlsx"),
    "a database": ("x.db", b"SQLite format 3\0" + b"\0" * 99, "is a database; name it sqlite:///"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_table_is_one_line(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FREE_UNPACKED", 1 << 20)
    name, data, message = HOSTILE[kind]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CatalogueError, match=message) as caught:
        read_catalogue(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 700


def test_a_table_of_many_columns_in_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({f"c{i}": [1] for i in range(2_100)}), tmp_path / "x.parquet")
    with pytest.raises(CatalogueError, match="has 2,100 columns; at most 2,000"):
        read_catalogue(str(tmp_path / "x.parquet"))


def test_a_large_feed_and_a_large_table_take_little_memory(tmp_path: Path) -> None:
    """Rows are looked at one by one: 60 MB of text must not be 60 MB in memory."""
    from lookalike.catalogue.sources.files import TableFile
    from lookalike.catalogue.sources.opening import read_table

    padding = "x" * 3_000
    feed, table = tmp_path / "feed.xml", tmp_path / "table.csv"
    with feed.open("w") as xml, table.open("w") as csv:
        xml.write("<rss><channel>")
        csv.write("listing_id,title\n")
        for i in range(20_000):
            xml.write(f"<item><id>{i}</id><title>{padding}</title></item>\n")
            csv.write(f"{i},{padding}\n")
        xml.write("</channel></rss>")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, columns in ((feed, ["id"]), (table, ["listing_id"])):
        opened = read_table(TableFile.of_path(str(path), path))
        assert sum(1 for _ in opened.rows(columns)) == 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 25_000, "kilobytes"
