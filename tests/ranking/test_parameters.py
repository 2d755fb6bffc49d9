"""Every double that a program prints is understood exactly, and a box that rounding pushed over the edge is cut off."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lookalike.errors import QueryError
from lookalike.ranking.filters import Filters
from lookalike.ranking.parameters import check_names, parse_box, parse_number, parse_price
from lookalike.ranking.request import SearchRequest

fractions = st.floats(0, 1)
finite = st.floats(allow_nan=False, allow_infinity=False)


def as_javascript(value: float) -> str:
    """What String(value) is in JavaScript: ECMA-262, Number::toString, radix 10."""
    if value == 0:
        return "0"
    if value < 0:
        return "-" + as_javascript(-value)
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if len(text) <= point <= 21:
        return text + "0" * (point - len(text))
    if 0 < point <= 21:
        return f"{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + text
    mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
    return f"{mantissa}e{point - 1:+d}"


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (0.000001, "0.000001"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (0.0012345678901234567, "0.0012345678901234567"),
        (-2.5, "-2.5"),
    ],
)
def test_the_tests_print_numbers_as_browsers_do(value: float, printed: str) -> None:
    assert as_javascript(value) == printed


@given(finite)
@example(-0.0)
def test_every_finite_double_is_understood_exactly(value: float) -> None:
    for text in (as_javascript(value), repr(value), f"{value:.17g}", f"{value:.17e}", f" {value!r} "):
        found = parse_number("alpha", text)
        assert found == value
        assert math.copysign(1, found) == (math.copysign(1, value) if value else 1), "zero has no sign"
    unescaped = as_javascript(value).replace("+", " ")  # as a query string with a bare plus is read
    assert parse_number("alpha", unescaped) == value


@given(st.floats(min_value=0, allow_infinity=False), st.floats(min_value=0, allow_infinity=False))
def test_a_price_range_is_understood_exactly(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert parse_price(f"{as_javascript(low)}..{as_javascript(high)}") == (low, high)
    assert parse_price(f"..{as_javascript(high)}") == (None, high)
    assert parse_price(f"{as_javascript(low)}..") == (low, None)


@pytest.mark.parametrize(
    "text",
    ["", "nan", "NaN", "Infinity", "-inf", "1e999", "-1e999", "0x10", "1_000", "1,5", "²", "1e", "e5", "."],
)
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="alpha: "):
        parse_number("alpha", text)


@given(fractions, fractions, fractions, fractions, st.sampled_from([None, 2, 3, 5, 16]))
@example(0.123455, 0.0, 1.0, 1.0, 5)
@example(0.7, 0.1, 1.0, 1.0, None)
@example(0.0, 0.0, 1.0, 6e-8, 16)
def test_a_box_between_two_points_of_the_photo_is_taken(
    ax: float, ay: float, bx: float, by: float, decimals: int | None
) -> None:
    """x, y and x2 - x1, y2 - y1 as a page computes them, in full or rounded as toFixed does."""
    (left, right), (top, bottom) = sorted((ax, bx)), sorted((ay, by))
    numbers = [left, top, right - left, bottom - top]
    texts = [as_javascript(n) if decimals is None else f"{n:.{decimals}f}" for n in numbers]
    if any(float(text) == 0 for text in texts[2:]) or any(float(text) >= 1 for text in texts[:2]):
        return  # no box is left
    x, y, width, height = parse_box(",".join(texts))
    assert x >= 0
    assert y >= 0
    assert width > 0
    assert height > 0
    assert x + width <= 1 + 1e-15
    assert y + height <= 1 + 1e-15
    tolerance = 1e-6 if decimals is None else 2 * 10.0**-decimals
    numbers[2:] = (max(side, 1e-6) for side in numbers[2:])  # a box is never thinner
    assert [x, y, width, height] == pytest.approx(numbers, abs=tolerance)


@given(*[st.integers(0, 1000)] * 4)
def test_a_box_inside_is_taken_as_it_is(ax: int, ay: int, bx: int, by: int) -> None:
    (left, right), (top, bottom) = sorted((ax, bx + 1)), sorted((ay, by + 1))
    box = left / 1001, top / 1001, (right - left) / 1002, (bottom - top) / 1002
    if box[2] and box[3]:
        assert parse_box(",".join(map(as_javascript, box))) == box


@pytest.mark.parametrize(
    "text",
    [
        "0,0,1",
        "0,0,0,1",
        "0,0,1,-0.0",
        "0,0,-0.5,1",
        "0,0,1.02,1",
        "0.6,0,0.5,1",
        "-0.02,0,1,1",
        "1,0,0.005,1",
        "1.005,0,0.005,1",
        "-0.005,0,0.005,1",
        "0,0,1e300,1",
        "0,0,nan,1",
        "1e308,0,1e308,1",
    ],
)
def test_a_box_that_does_not_lie_in_the_photo_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="box"):
        parse_box(text)


def test_an_unknown_aspect_is_named_with_those_there_are_and_the_nearest() -> None:
    known = ["brand", "colour", "material"]
    check_names(SearchRequest(filters=Filters((("colour", ("no such colour",)),))), known)
    for name, said in {
        "color": "unknown aspect 'color'; did you mean 'colour'? There are brand, colour, material",
        "Colour": "unknown aspect 'Colour'; did you mean 'colour'? There are brand, colour, material",
        "xyz": "unknown aspect 'xyz'. There are brand, colour, material",
    }.items():
        with pytest.raises(QueryError) as refused:
            check_names(SearchRequest(filters=Filters(((name, ("red",)),))), known)
        assert str(refused.value) == said
    with pytest.raises(QueryError, match="Listings have none"):
        check_names(SearchRequest(filters=Filters((("colour", ("red",)),))), [])
