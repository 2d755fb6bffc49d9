"""Prices and categories as shops write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.catalogue.paths import as_path
from lookalike.catalogue.prices import decimal_mark, parse_price


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("12.90 EUR", (12.9, "EUR")), ("EUR 12.90", (12.9, "EUR")), ("12.90EUR", (12.9, "EUR")),
        ("€ 1.299,00", (1299, "EUR")), ("1,299.00", (1299, "")), ("12,90 €", (12.9, "EUR")), ("12,90", (12.9, "")),
        ("1 299,00 zł", (1299, "PLN")), ("1\u202f299,00 €", (1299, "EUR")), ("1'299.50 CHF", (1299.5, "CHF")),
        ("$1,299", (1299, "USD")), ("US$ 12", (12, "USD")), ("Rs. 1,299.00", (1299, "INR")), ("kr 100", (100, "")),
        ("12,34,567.00", (1234567, "")), ("1.234.567,89", (1234567.89, "")), ("1,234,567", (1234567, "")),
        ("12,-", (12, "")), ("€ 12,–", (12, "EUR")), (".5", (0.5, "")), ("12.", (12, "")), ("1e3", (1000, "")),
        ("29.000000", (29, "")), ("0,125", (0.125, "")), ("1.299", (1.299, "")), ("eur 5", (5, "EUR")),
        ("5 EUR €", (5, "EUR")), ("+5", (5, "")), ("0", (0, "")),
    ],
)  # fmt: skip
def test_a_price_is_read(text: str, price: tuple[float, str]) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize(
    "text",
    [
        "", "cheap", "-1", "nan", "inf", "1e999", "1_000", "12.90 - 19.90", "1,2,3", "12 pieces", "12 34", "٣", "EUR",
        "EUR 5 USD",
    ],
)  # fmt: skip
def test_what_is_no_price_is_none(text: str) -> None:
    assert parse_price(text) is None


def test_a_column_says_which_mark_is_the_decimal_one() -> None:
    assert decimal_mark(["1.299", "12,90", "cheap"]) == ","
    assert parse_price("1.299", ",") == (1299, "")
    assert parse_price("1.299", decimal_mark(["1.299", "2.499"])) == (1.299, "")
    assert decimal_mark(["1,299.00", "12.90"]) == "."


@given(st.text(max_size=30))
def test_any_text_is_a_price_or_none(text: str) -> None:
    found = parse_price(text)
    assert found is None or found[0] >= 0


@given(st.decimals(0, 10**7, places=2), st.sampled_from(["en", "de", "fr", "ch"]))
def test_a_number_survives_every_way_of_writing_it(number: object, way: str) -> None:
    text = f"{number:,.2f}"
    swapped = {
        "en": text,
        "de": text.translate(str.maketrans(",.", ".,")),
        "fr": text.replace(",", " ").replace(".", ","),
    }
    swapped["ch"] = text.replace(",", "'")
    assert parse_price(swapped[way]) == (float(number), "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("A > B > C", "A/B/C"), ("A>B>C", "A/B/C"), ("A/B/C", "A/B/C"), ("/A/B/", "A/B"), ("A » B", "A/B"),
        ("A > B/C > D", "A/B-C/D"), (" > A > ", "A"), ("A / B", "A/B"), ("A", "A"), ("b/<b>y", "b/<b>y"),
        ("Apparel & Accessories > Women, girls", "Apparel & Accessories/Women, girls"),
    ],
)  # fmt: skip
def test_a_category_becomes_a_path(text: str, path: str) -> None:
    assert as_path(text) == path


def test_an_escaped_separator_belongs_to_the_name() -> None:
    assert as_path(r"A\/B/C", "/", "\\") == "A-B/C"
    assert as_path(r"A\>B>C/D", ">", "\\") == "A-B/C-D"
