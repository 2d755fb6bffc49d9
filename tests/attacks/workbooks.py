"""Workbooks and Parquet files that are made to harm, and what `catalogues` says of each."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

Case = tuple[str, bytes, str | None]
"""A file's name, its bytes, and a word of the error; None where its good rows are to be read and the others named."""
_MIB = 1 << 20


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def workbook(*rows: list[object], **parts: bytes) -> bytes:
    """A workbook whose parts of these names have other bytes."""
    made = openpyxl.Workbook()
    for row in rows or (["listing_id", "image", "category"], ["L1", "1.jpg", "a"]):
        made.active.append(row)
    out = io.BytesIO()
    made.save(out)
    with zipfile.ZipFile(out) as old:
        return zipped(
            *(
                (x.filename, parts.get(x.filename.rpartition("/")[2].partition(".")[0], old.read(x)))
                for x in old.infolist()
            )
        )


def parquet(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def books() -> Iterator[tuple[str, Case]]:
    """Workbooks, by name."""
    bad = "damaged workbook|not readable as Excel|declares entities|no sheet with anything"
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'
    laughs = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    for part in ("sheet1", "workbook"):
        yield f"xlsx: entities in {part}", ("x.xlsx", workbook(**{part: laughs + b"<x>&b;</x>"}), bad)
        yield f"xlsx: garbage in {part}", ("x.xlsx", workbook(**{part: b"\xff\xfe\xfd" * 30}), bad)
        yield f"xlsx: nothing in {part}", ("x.xlsx", workbook(**{part: b""}), bad)
    yield "xlsx: zeros", ("x.xlsx", workbook(sheet1=sheet % (b" " * (8 * _MIB))), "unpacks to")
    yield (
        "xlsx: a cell in the last row",
        (
            "x.xlsx",
            workbook(sheet1=sheet % b'<row r="1048576"><c r="A1048576"><v>1</v></c></row>'),
            "has no columns|" + bad,
        ),
    )
    yield (
        "xlsx: a cell in the last column",
        (
            "x.xlsx",
            workbook(sheet1=sheet % b'<row r="1"><c r="XFD1"><v>1</v></c></row>'),
            "at most 2,000|" + bad,
        ),
    )
    yield (
        "xlsx: a text that is not there",
        ("x.xlsx", workbook(sheet1=sheet % b'<row r="1"><c r="A1" t="s"><v>999999999</v></c></row>'), bad),
    )
    yield (
        "xlsx: a formula without a value",
        (
            "x.xlsx",
            workbook(["listing_id", "image", "category"], ["=A1", "1.jpg", "a"]),
            "without a stored value",
        ),
    )
    yield "xlsx: deep", ("x.xlsx", workbook(sheet1=b"<worksheet>" + b"<a>" * 50_000), bad)
    yield (
        "xlsx: another document",
        ("x.xlsx", zipped(("[Content_Types].xml", b"<x/>"), ("word/document.xml", b"<x/>")), bad),
    )
    yield "xlsx: an old workbook", ("x.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 5_000, "old .xls workbook")


def parquets() -> Iterator[tuple[str, Case]]:
    """Parquet files, by name."""
    good = parquet(listing_id=["L1"] * 50, image=["1.jpg"] * 50, category=["a"] * 50)
    bad = "not readable as Parquet"
    for share in (0.2, 0.6, 0.95):
        yield f"parquet: cut off at {share:.0%}", ("x.parquet", good[: int(len(good) * share)], bad)
    yield "parquet: head and tail alone", ("x.parquet", b"PAR1" * 2, bad)
    yield "parquet: a footer of 4 GB", ("x.parquet", good[:-8] + b"\xff\xff\xff\x7fPAR1", bad)
    yield "parquet: a footer of nothing", ("x.parquet", good[:-8] + bytes(4) + b"PAR1", bad)
    yield "parquet: a footer of garbage", ("x.parquet", good[:-400] + b"\xff" * 392 + good[-8:], bad)
    yield (
        "parquet: pages of garbage",
        ("x.parquet", good[:8] + b"\xff" * 120 + good[128:], bad + "|none of its|structs"),
    )
    yield (
        "parquet: many columns",
        ("x.parquet", parquet(**{f"c{i}": [1] for i in range(2_100)}), "at most 2,000"),
    )
    yield "parquet: one value two million times", ("x.parquet", _repeated(2_000_000), "is it a table")
    yield (
        "parquet: structs",
        (
            "x.parquet",
            parquet(listing_id=[{"a": 1}], image=["1.jpg"], category=["a"]),
            "structs or maps|has no column",
        ),
    )
    yield (
        "parquet: bytes that are no text",
        (
            "x.parquet",
            parquet(listing_id=[b"\xff\xfe"], image=[b"1.jpg"], category=[b"a"]),
            "none of its 1 rows",
        ),
    )
    yield (
        "parquet: a date of nobody",
        (
            "x.parquet",
            parquet(listing_id=pa.array([2**62], pa.timestamp("ms")), image=["1.jpg"], category=["a"]),
            "none of its 1 rows",
        ),
    )


def _repeated(count: int) -> bytes:
    """Some kilobytes that hold one listing so many times."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int8()), pa.array(["x" * 100]))
    return parquet(listing_id=one, image=one, category=one)
