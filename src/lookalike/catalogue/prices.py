"""Prices as shops write them: ``12.90 EUR``, ``EUR 12.90``, ``€ 1.299,00``, ``1,299.00``, ``12,90 €``.

A number and an ISO 4217 code leave. Which mark is the decimal one follows from the price where it can: the last of two
different marks; the only one, unless it repeats or parts groups of three. What is left, such as ``1.299``, follows the
column's other prices (`decimal_mark`), and else is read as programs write numbers: a point is the decimal mark, and a
comma before three digits parts thousands.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_SYMBOLS = {
    "€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW", "₫": "VND",
    "฿": "THB", "₴": "UAH", "₪": "ILS", "₱": "PHP", "₦": "NGN", "zł": "PLN", "kč": "CZK", "ft": "HUF",
    "lei": "RON", "лв": "BGN", "us$": "USD", "a$": "AUD", "au$": "AUD", "c$": "CAD", "ca$": "CAD", "nz$": "NZD",
    "hk$": "HKD", "s$": "SGD", "r$": "BRL", "mx$": "MXN", "nt$": "TWD", "rs": "INR", "rs.": "INR", "fr.": "CHF",
    "sfr.": "CHF", "руб.": "RUB", "руб": "RUB", "kr": "", "kr.": "",
}  # fmt: skip
"""In small letters; `kr` is four countries' money, so it says nothing."""
_ISO_4217 = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD "
    "CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT "
    "LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR "
    "NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP "
    "STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD "
    "XCG XOF XPF YER ZAR ZMW ZWG "
)
_CODES = frozenset(_ISO_4217.split())
_PRICE = re.compile(
    r"([^\d+\-.,]*\.?)\s*(\+?[\d.,' \u00a0\u202f\u2019]*\d\.?)\s*(?:[.,]?[-–—]{1,2})?\s*(\D*)", re.ASCII
)
_GROUPS = re.compile(r"\+?\d{1,3}([ \u00a0\u202f'\u2019.,])(?:\d{2,3}\1)*\d{3}", re.ASCII)
_EXPONENT = re.compile(r"\+?\d+(?:\.\d+)?[eE][+-]?\d+", re.ASCII)


def parse_price(text: str, decimal: str = "") -> tuple[float, str] | None:
    """The number and the currency, empty where none is named; None where it is no price of at least 0."""
    text = text.strip()
    if _EXPONENT.fullmatch(text):
        return _finite(float(text), "")
    found = _PRICE.fullmatch(text)
    if not found:
        return None
    before, digits, after = found[1].strip(), found[2], found[3].strip()
    if before.endswith(".") and before.lower() not in _SYMBOLS:
        before, digits = before[:-1].strip(), "." + digits
    currency = _currency(before or after)
    if (before and after) or currency is None:
        return None
    number = _number(digits, decimal)
    return None if number is None else _finite(number, currency)


def decimal_mark(prices: Iterable[str]) -> str:
    """The decimal mark of a column, ``.`` or ``,``, by the prices that leave no doubt; empty where none does."""
    marks: Counter[str] = Counter()
    for text in prices:
        found = _PRICE.fullmatch(text.strip())
        if found and (mark := _certain(found[2])):
            marks[mark] += 1
    return max(marks, key=lambda mark: marks[mark], default="")


def _certain(digits: str) -> str:
    last = max(digits.rfind("."), digits.rfind(","))
    if last < 0:
        return ""
    mark, other = digits[last], "," if digits[last] == "." else "."
    if other in digits:
        return mark
    if digits.count(mark) > 1:
        return other
    return "" if len(digits) - last - 1 == 3 else mark


def _number(digits: str, decimal: str) -> float | None:
    mark = _certain(digits) or decimal or "."
    other = "," if mark == "." else "."
    whole, _, part = digits.partition(mark)
    if mark in part or other in part:
        return None
    if not whole:
        whole = "0"
    if not whole.removeprefix("+").isdigit() and not _GROUPS.fullmatch(whole):
        return None
    if mark == "." and not decimal and re.fullmatch(r"0,\d{3}", digits):
        whole, part = digits.split(",")
    plain = re.sub(r"[^\d]", "", whole)
    return float(f"{plain}.{part or 0}") if part.isdigit() or not part else None


def _currency(text: str) -> str | None:
    """ISO code; empty for none, and None for what is no currency."""
    if not text:
        return ""
    if text.upper() in _CODES:
        return text.upper()
    found = _SYMBOLS.get(text.lower())
    if found is None:  # EUR €, or $ USD
        parts = text.split()
        codes = {
            _SYMBOLS.get(part.lower(), part.upper() if part.upper() in _CODES else None) for part in parts
        }
        return codes.pop() if len(parts) > 1 and len(codes) == 1 else None
    return found


def _finite(number: float, currency: str) -> tuple[float, str] | None:
    return (number, currency) if math.isfinite(number) and number >= 0 else None
