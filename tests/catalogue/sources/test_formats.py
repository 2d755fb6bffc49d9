"""The same four listings in every format, encoding and packing; and how a table is told from its bytes."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.catalogue.exports import Layout
from lookalike.catalogue.reading import read_catalogue
from lookalike.errors import CatalogueError, SettingsError

HEADER = ("listing_id", "image", "category", "title", "price")
ROWS = (
    ("L1", "1.jpg", "clothing/coat", "Größe 40, “neu”", "12.90"),
    ("L2", "2.jpg", "clothing/coat", "Été; café", "1299.00"),
    ("L3", "3.jpg", "shoes/boot", 'A "good" boot', "5"),
    ("4", "4.jpg", "shoes/boot", "Two\nlines", "0.5"),
)


def delimited(mark: str = ",") -> str:
    lines = [HEADER, *ROWS]
    return "".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in line) + "\r\n" for line in lines)


def packed(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("export/listings.csv", delimited())
            archive.writestr("__MACOSX/._listings.csv", b"x")
        return out.getvalue()
    return gzip.compress(delimited().encode())


def zstd() -> bytes:
    return pa.Codec("zstd").compress(delimited().encode(), asbytes=True)


def workbook() -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "About"
    sheet = book.create_sheet("Listings")
    for line in (HEADER, *ROWS):
        sheet.append(line)
    sheet["A5"] = 4  # numbers are numbers there
    sheet["E2"] = 12.9
    sheet.append([None] * 5)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))), out)
    return out.getvalue()


def lines() -> bytes:
    return "\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in ROWS).encode()


def rss() -> str:
    items = "".join(
        "<item>"
        + "".join(f"<g:{n}>{_escaped(v)}</g:{n}>" for n, v in zip(HEADER, row, strict=True))
        + "</item>"
        for row in ROWS
    )
    return f'<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>{items}</channel></rss>'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


FORMATS: dict[str, Callable[[], bytes]] = {
    "plain.csv": lambda: delimited().encode(),
    "mark.csv": lambda: delimited().encode("utf-8-sig"),
    "semicolon.csv": lambda: delimited(";").encode(),
    "tab.tsv": lambda: delimited("\t").encode(),
    "bar.txt": lambda: delimited("|").encode(),
    "utf16.csv": lambda: delimited().encode("utf-16"),
    "utf16be.csv": lambda: delimited().encode("utf-16-be"),
    "utf32.csv": lambda: delimited().encode("utf-32"),
    "windows.csv": lambda: delimited(";").encode("cp1252"),
    "packed.csv.gz": lambda: packed("gz"),
    "packed.csv.zst": zstd,
    "packed.zip": lambda: packed("zip"),
    "named.gz": lambda: gzip.compress(parquet()),
    "lines.jsonl": lines,
    "lines.jsonl.gz": lambda: gzip.compress(lines() + b"\n"),
    "book.xlsx": workbook,
    "table.parquet": parquet,
    "feed.xml": lambda: rss().encode(),
    "feed-utf16.xml": lambda: rss().replace('"1.0"', '"1.0" encoding="utf-16"', 1).encode("utf-16"),
    "feed": lambda: b"\xef\xbb\xbf" + rss().encode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_listings(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FORMATS[name]())
    found = read_catalogue(str(tmp_path / name))
    assert not found.left_out
    told = [(x.listing_id, *x.images, x.category, x.title.replace("\r", ""), x.price) for x in found.listings]
    assert told == [(*row[:4], float(row[4])) for row in ROWS]
    assert bool(found.notes) == (name == "windows.csv")


def test_a_folder_is_one_table_with_the_columns_of_its_partitions(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    for number, (category, color) in enumerate([("a%2Fx", "red"), ("a%2Fy", "__HIVE_DEFAULT_PARTITION__")]):
        place = folder / f"category={category}" / f"aspect_color={color}"
        place.mkdir(parents=True)
        table = pa.table(
            {"listing_id": [f"{number}-1", f"{number}-2"], "image": ["photos/1.jpg", "photos/2.jpg"]}
        )
        pq.write_table(table, place / "part-0.parquet")
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / "_metadata").write_bytes(b"no table")
    found = read_catalogue(f"{folder}/")
    assert [(x.listing_id, x.category, dict(x.aspects), x.line) for x in found.listings] == [
        ("0-1", "a/x", {"color": ("red",)}, 1),
        ("0-2", "a/x", {"color": ("red",)}, 2),
        ("1-1", "a/y", {}, 3),
        ("1-2", "a/y", {}, 4),
    ]
    found.check_unchanged()
    (folder / "category=a%2Fx" / "aspect_color=red" / "part-1.parquet").write_bytes(b"PAR1")
    with pytest.raises(CatalogueError, match="changed while it was read"):
        found.check_unchanged()


def test_a_folder_of_several_kinds_or_of_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="is a folder without a table"):
        read_catalogue(str(tmp_path))
    for name in ("a.csv", "b.tsv"):
        (tmp_path / name).write_text("listing_id,image,category\nL1,1.jpg,a\n")
    with pytest.raises(CatalogueError, match=r"tables of several kinds \(csv, tsv\); name one file"):
        read_catalogue(str(tmp_path))
    (tmp_path / "b.tsv").unlink()
    assert len(read_catalogue(str(tmp_path))) == 1


def test_a_query_on_sqlite_gives_a_catalogue_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE wares (sku TEXT, photo TEXT, kind TEXT, cents INTEGER, seen TEXT)")
    connection.executemany(
        "INSERT INTO wares VALUES (?, ?, ?, ?, ?)",
        [(f"L{i}", f"{i}.jpg", "a/x", 1290 + i, "it's 5:30 % \\") for i in range(5)],
    )
    connection.commit()
    connection.close()
    named = "sku AS listing_id, photo AS image, kind AS category, cents / 100.0 AS price, seen AS title"
    query = f"SELECT {named} FROM wares"
    found = read_catalogue(f"sqlite:///{path}", layout=Layout(query=query))
    assert [(x.listing_id, x.price, x.title) for x in found.listings][:2] == [
        ("L0", 12.9, "it's 5:30 % \\"),
        ("L1", 12.91, "it's 5:30 % \\"),
    ]
    again = read_catalogue(f"sqlite:///{path}", layout=Layout(query=query))
    assert again.digest == found.digest
    for bad, message in (
        ("DELETE FROM wares RETURNING sku AS listing_id", "readonly database"),
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("", "say what to read by --query"),
    ):
        with pytest.raises((CatalogueError, SettingsError), match=message):
            read_catalogue(f"sqlite:///{path}", layout=Layout(query=bad))
    with pytest.raises(CatalogueError, match="there is no such database"):
        read_catalogue(f"sqlite:///{path}x", layout=Layout(query=query))


def test_a_password_is_in_no_message() -> None:
    uri = "postgresql://shop:s3cret@127.0.0.1:1/shop"
    with pytest.raises(
        CatalogueError, match=r"postgresql://shop:\*\*\*@127.0.0.1:1/shop: the query failed"
    ) as caught:
        read_catalogue(uri, layout=Layout(query="SELECT 1"))
    assert "s3cret" not in str(caught.value)


MYSQL = "".join(
    '"{}","{}","{}","{}","{}"\n'.format(*(cell.replace('"', '\\"') for cell in row))
    for row in (HEADER, *ROWS)
)
OBJECTS = [dict(zip(HEADER, row, strict=True)) for row in ROWS]


def titled_book() -> bytes:
    made = openpyxl.Workbook()
    for row in (["Our products"], [], list(HEADER), *map(list, ROWS)):
        made.active.append(row)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


WRITTEN_OTHERWISE = {
    "empty lines first": ("x.csv", ("\r\n\r\n" + delimited()).encode()),
    "a title first": ("x.csv", ("# exported on Monday\n" + delimited(";")).encode()),
    "Excel's word for its delimiter": ("x.csv", ("sep=;\r\n" + delimited(";")).encode("utf-8-sig")),
    "names in capitals": ("x.csv", delimited().replace('"listing_id","image"', '"Listing ID","IMAGE"').encode()),
    "an empty field too many": ("x.csv", delimited().replace("\r\n", ",\r\n").replace(",\r\n", "\r\n", 1).encode()),
    "quotes behind backslashes": ("x.csv", MYSQL.encode()),
    "a list of objects": ("x.json", json.dumps(OBJECTS, indent=1).encode()),
    "a list of objects in one line": ("x.json", json.dumps(OBJECTS).encode("utf-8-sig")),
    "an object that holds a list": ("x.json", json.dumps({"products": OBJECTS}).encode()),
    "the same in many lines": ("x.json", json.dumps({"products": OBJECTS}, indent=2).encode()),
    "a workbook with a title": ("x.xlsx", titled_book()),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN_OTHERWISE)
def test_a_table_may_be_written_otherwise(tmp_path: Path, kind: str) -> None:
    name, data = WRITTEN_OTHERWISE[kind]
    (tmp_path / name).write_bytes(data)
    found = read_catalogue(str(tmp_path / name))
    assert not found.left_out
    rows = [(x.listing_id, x.images[0], x.category, x.title, f"{x.price:g}") for x in found.listings]
    assert rows == [(*row[:4], f"{float(row[4]):g}") for row in ROWS]


def test_a_line_is_counted_from_the_top_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("sep=;\n\nlisting_id;image;category\nL1;1.jpg;a\nL2;2.jpg\nL3;3.jpg;a\n")
    found = read_catalogue(str(tmp_path / "x.csv"))
    assert [x.line for x in found.listings] == [4, 6]
    assert [x.line for x in found.left_out] == [5]


def test_objects_whose_first_value_is_a_list_are_lines(tmp_path: Path) -> None:
    rows = [
        {"color": [{"value": "red"}], "listing_id": f"L{i}", "image": "1.jpg", "category": "a"}
        for i in range(3)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(read_catalogue(str(tmp_path / "x.jsonl"))) == 3


@pytest.mark.parametrize(
    ("cell", "images"),
    [
        ("a/1.jpg|a/2.jpg", ["a/1.jpg", "a/2.jpg"]),
        ("a/1.jpg; a/2.JPEG", ["a/1.jpg", "a/2.JPEG"]),
        ("a/1.jpg, a/2.webp,a/3.png", ["a/1.jpg", "a/2.webp", "a/3.png"]),
        ("one, two.jpg", ["one, two.jpg"]),
        ('["a/1.jpg", "a/2.jpg"]', ["a/1.jpg", "a/2.jpg"]),
        ("[1].jpg", ["[1].jpg"]),
        ("a\\1.jpg", ["a/1.jpg"]),
        ("https://x.example/w_1,h_2/a.jpg", ["https://x.example/w_1,h_2/a.jpg"]),
    ],
)
def test_a_cell_may_name_several_photos(tmp_path: Path, cell: str, images: list[str]) -> None:
    (tmp_path / "x.jsonl").write_text(
        json.dumps({"listing_id": "L1", "image": cell, "category": "A &amp; B &gt; C"})
    )
    [listing] = read_catalogue(str(tmp_path / "x.jsonl")).listings
    assert list(listing.images) == images
    assert listing.category == "A & B/C"
