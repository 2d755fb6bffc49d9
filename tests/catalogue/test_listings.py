"""Reading catalogues: what is understood, what is left out and why, what cannot be used at all."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from lookalike.catalogue.listings import Catalogue
from lookalike.catalogue.reading import read_catalogue
from lookalike.errors import CatalogueError, ObjectNotFound, SettingsError, StoreUnavailable
from lookalike.settings import S3Settings


def catalogue(folder: Path, text: str | bytes, **options: object) -> Catalogue:
    path = folder / "catalogue.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_catalogue(str(path), **options)


def problems(found: Catalogue) -> dict[int, str]:
    return {row.line: row.reason for row in found.left_out}


def test_all_columns_are_understood(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path,
        "listing_id,image,category,split,title,price,product,seller,aspect_colour,aspect_size,stock,notes\n"
        "L1,photos/1.jpg,clothing / tops/shirt,train,A shirt,12.50,P1,S1,red| blue |red,,3,x\n"
        "L2,photos/2.jpg,shoes/boot,,,,,,,,,\n",
    )
    one, two = found.listings
    assert (one.listing_id, one.category, one.split, one.price) == (
        "L1",
        "clothing/tops/shirt",
        "train",
        12.5,
    )
    assert one.aspects == {"colour": ("red", "blue")}
    assert (two.title, two.price, two.product, two.aspects) == ("", None, "", {})
    assert (one.line, two.line) == (2, 3)
    assert found.aspects == ("colour", "size")
    assert found.ignored_columns == ("stock", "notes")
    assert not found.left_out


def test_columns_can_be_renamed(tmp_path: Path) -> None:
    text = "id,picture,kind,sender_id,seller,color\nL1,1.jpg,a/b,42,someone,red\n"
    names = {"listing_id": "id", "image": "picture", "category": "kind", "seller": "sender_id"}
    found = catalogue(tmp_path, text, columns=names | {"aspect_colour": "color"})
    assert found.listings[0].seller == "42"
    assert found.listings[0].aspects == {"colour": ("red",)}
    assert found.ignored_columns == ("seller",)


def test_a_wrong_renaming_is_named(tmp_path: Path) -> None:
    text = "listing_id,image,category\nL1,1.jpg,a\n"
    with pytest.raises(SettingsError, match="no column is called 'colour' here"):
        catalogue(tmp_path, text, columns={"colour": "image"})
    with pytest.raises(
        CatalogueError, match=r"no column 'sender' \(asked for as seller\); it has listing_id, image"
    ):
        catalogue(tmp_path, text, columns={"seller": "sender"})


def test_every_bad_row_is_left_out_with_its_line(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path,
        "listing_id,image,category,price,title\n"
        "L1,1.jpg,a/b,1,\n"
        ",2.jpg,a/b,1,\n"
        "L3,,a/b,1,\n"
        "L4,4.jpg,,1,\n"
        "L5,5.jpg,a//b,1,\n"
        "L6,6.jpg,a/../b,1,\n"
        "L7,../../etc/passwd,a/b,1,\n"
        "L8,8.jpg,a/b,cheap,\n"
        "L9,9.jpg,a/b,-4,\n"
        "L10,10.jpg,a/b,nan,\n"
        "L1,11.jpg,a/../b,1,\n"
        "L12,12.jpg,a/b\n"
        "L13,13.jpg,a/b,1,,x,\n"
        "L14,ftp://example.com/x.jpg,a/b,1,\n"
        f"L15,15.jpg,a/b,1,{'x' * 200_000}\n"
        "L\x0116,16.jpg,a/b,1,\n"
        'L17,17.jpg,a/b,1,"quoted" badly\n'
        "L18,18.jpg,a/b,1,the end\n",
    )
    kept = {row.listing_id: dict(row.unclear) for row in found.listings}
    assert kept == {
        "L1": {},
        "L8": {"price": "'cheap'"},
        "L9": {"price": "'-4'"},
        "L10": {"price": "'nan'"},
        "L15": {"title": "200,000 characters, of at most 10,000"},
        "L18": {},
    }
    assert [row.price for row in found.listings] == [1, None, None, None, 1, 1]
    assert found.listings[-1].line == 19
    assert problems(found) == {
        3: "no listing id",
        4: "no image",
        5: "no category",
        6: "malformed category",
        7: "malformed category",
        8: "outside the catalogue",
        12: "malformed category",
        13: "wrong number of fields",
        14: "wrong number of fields",
        15: "malformed image",
        17: "malformed listing id",
        18: "not CSV",
    }
    by_line = {row.line: row for row in found.left_out}
    assert by_line[12].detail == "not a path like clothing/tops/shirt: 'a/../b'"
    assert by_line[12].listing_id == "L1"


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("L2,2.jp", "cut off"),
        ("L2,2.jp\n", "wrong number of fields"),  # whoever wrote it went on
        ("L2,2.jpg,a,b", "wrong number of fields"),  # not cut off: too much
        ("L2,2.jp\nL3,3.jpg,a", "wrong number of fields"),  # not the last
    ],
)
def test_a_last_line_that_ends_in_the_middle_is_told_from_a_bad_row(
    tmp_path: Path, ending: str, reason: str
) -> None:
    found = catalogue(tmp_path, f"listing_id,image,category\nL1,1.jpg,a\n{ending}")
    assert problems(found) == {3: reason}


def test_lines_stay_right_after_quoted_newlines_and_blank_lines(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path,
        b"\xef\xbb\xbflisting_id,image,category,title\r\n"
        b'L1,1.jpg,a,"two\r\nlines, and ""quotes"""\r\n'
        b"\r\n"
        b"L2,,a,\r\n"
        b"L3,3.jpg,a,\xc3\xa9t\xc3\xa9\r\n",
    )
    assert found.listings[0].title == 'two\r\nlines, and "quotes"'
    assert found.listings[1].title == "été"
    assert found.listings[1].line == 6
    assert problems(found) == {5: "no image"}


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_are_seen(tmp_path: Path, delimiter: str) -> None:
    rows = ("listing_id,image,category,title", "L1,1.jpg,a/b,one")
    found = catalogue(tmp_path, "\n".join(rows).replace(",", delimiter))
    assert found.listings[0].title == "one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is an empty file"),
        (b"listing_id,image,category\n", "has a header and no listings"),
        (
            b"listing_id,image\nL1,1.jpg\n",
            "has no column 'category'; it has listing_id, image; if another column",
        ),
        (b"listing_id,image,category,image\nL1,1.jpg,a,2.jpg\n", "has the column 'image' twice"),
        (
            b"listing_id,image,category,title\nL1,1.jpg,a,\xc3\xa9t\xc3\xa9 \xff\n",
            "is not UTF-8: byte 0xff in line 2",
        ),
        (
            b"listing_id,image,category\n,1.jpg,a\n",
            "none of its 1 rows can be used: no listing id 1 (line 2: listing_id is empty); no listing id: fill",
        ),
        (b'listing_id,image,category\nL1,1.jpg,a\nL2,"2.jpg,a\nL3,3.jpg,a\n', "line 3 is never closed"),
        (b"PAR1 is how Parquet starts", "is not readable as Parquet"),
        (b"\x00\x01\x02\x03", "has no columns 'listing_id' and 'image' and 'category'"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_clear_line(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        catalogue(tmp_path, text)
    assert message in str(caught.value)
    assert "catalogue.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"nowhere\.csv: there is no such catalogue"):
        read_catalogue(str(tmp_path / "nowhere.csv"))


OPTIONAL_TROUBLE = {
    "price": ("40.72 pieces", "1e999", "-1", "1_000", "x" * 20_000, "\x00"),
    "split": ("x" * 100, "a\x07b", "7", "0.5"),
    "title": ("x" * 20_000, "a\x00b"),
    "product": ("x" * 20_000, "a\x00b"),
    "seller": ("x" * 20_000, "a\x00b"),
    "aspect_colour": ("x" * 20_000, "a\x00b"),
}


@pytest.mark.parametrize("field", OPTIONAL_TROUBLE)
def test_an_optional_field_that_is_not_understood_is_empty_and_keeps_its_row(
    tmp_path: Path, field: str
) -> None:
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["listing_id", "image", "category", field])
    for i, value in enumerate(OPTIONAL_TROUBLE[field]):
        table.writerow([f"L{i}", f"{i}.jpg", "a/b", value])
    found = catalogue(tmp_path, out.getvalue())
    assert not found.left_out
    for row, value in zip(found.listings, OPTIONAL_TROUBLE[field], strict=True):
        got = row.aspects.get("colour") if field.startswith("aspect_") else getattr(row, field)
        assert not got
        assert list(row.unclear) == [field]
        assert len(row.unclear[field]) < 100
        assert f"{len(value):,} characters" in row.unclear[field] or repr(value) == row.unclear[field]


def test_splits_are_known_whatever_their_case(tmp_path: Path) -> None:
    names = ("Train", "TEST", "Validation", "training", "catalogue", "Query set")
    rows = "".join(f"L{i},{i}.jpg,a,{name}\n" for i, name in enumerate(names))
    found = catalogue(tmp_path, "listing_id,image,category,split\n" + rows)
    given = [row.split for row in found.listings]
    assert given == ["train", "test", "val", "train", "catalogue", "Query set"]


def test_photos_are_found_relative_absolute_and_by_uri(tmp_path: Path) -> None:
    shop, elsewhere = tmp_path / "a shop", tmp_path / "elsewhere"
    (shop / "photos").mkdir(parents=True)
    elsewhere.mkdir()
    (shop / "photos" / "1.jpg").write_bytes(b"one")
    (elsewhere / "2 #.jpg").write_bytes(b"two")
    uri = (elsewhere / "2 #.jpg").as_uri()
    images = ("photos/1.jpg", "./photos/1.jpg", str(elsewhere / "2 #.jpg"), uri, "photos/gone.jpg")
    rows = "".join(f"L{i},{image},a\n" for i, image in enumerate(images))
    found = catalogue(shop, "listing_id,image,category\n" + rows, photo_roots=[str(elsewhere)])
    images = [listing.images[0] for listing in found.listings]
    assert [found.photo(image) for image in images[:4]] == [b"one", b"one", b"two", b"two"]
    assert found.photo(images[0], max_bytes=1) == b"on"
    with pytest.raises(ObjectNotFound):
        found.photo(images[4])


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    text = "listing_id,image,category\nL1,1.jpg,a\n"
    first = catalogue(tmp_path, text).digest
    assert catalogue(tmp_path, text).digest == first
    assert catalogue(tmp_path, text + "L2,2.jpg,a\n").digest != first


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_a_catalogue_or_a_catalogue_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, with_header: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        found = catalogue(folder, (b"listing_id,image,category\n" if with_header else b"") + data)
    except CatalogueError as error:
        caught: str = str(error)
        assert "\n" not in caught.replace(str(folder), "")
    else:
        assert len(found) > 0


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, S3Settings]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
    client.create_bucket(Bucket="shop")
    rows = "listing_id,image,category\nL1,photos/1.jpg,a\nL2,s3://shop/other/2.jpg,a\n"
    client.put_object(Bucket="shop", Key="tables/catalogue.csv", Body=rows.encode())
    client.put_object(Bucket="shop", Key="tables/photos/1.jpg", Body=b"one")
    client.put_object(Bucket="shop", Key="other/2.jpg", Body=b"two")
    yield "s3://shop/tables/catalogue.csv", S3Settings(endpoint_url=address)
    server.stop()


def test_a_catalogue_and_its_photos_in_s3(bucket: tuple[str, S3Settings]) -> None:
    uri, s3 = bucket
    found = read_catalogue(uri, s3=s3)
    assert [found.photo(listing.images[0], max_bytes=10) for listing in found.listings] == [b"one", b"two"]
    assert not found.places.is_local("photos/1.jpg")
    with pytest.raises(StoreUnavailable, match="no bucket 'nobody'"):
        read_catalogue("s3://nobody/catalogue.csv", s3=s3)
    with pytest.raises(CatalogueError, match="no such catalogue"):
        read_catalogue("s3://shop/gone.csv", s3=s3)


def test_real_catalogues(sample_data: Path) -> None:
    clothing = read_catalogue(str(sample_data / "clothing" / "listings.csv"), columns={"seller": "sender_id"})
    assert Counter(row.reason for row in clothing.left_out) == {"no category": 508}
    assert len(clothing) == 4901 - 508
    grocery = read_catalogue(str(sample_data / "grocery" / "listings.csv"))
    assert len(grocery) == 4675
    assert grocery.aspects == ("brand", "country")
    luma = read_catalogue(str(sample_data / "luma" / "listings.csv"))
    assert not luma.left_out
    assert len(luma) == 391
