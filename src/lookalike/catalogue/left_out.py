"""The list of what a catalogue lost: every row and photo that is not used, as a CSV to act on.

Rows come and go one by one, so a list of any length takes no memory beside them. Cells that a spreadsheet program
would take for a formula get an apostrophe, since whoever writes the catalogue is not whoever opens this file
(https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from lookalike.catalogue.listings import LeftOut
from lookalike.catalogue.tally import ADVICE

HEADER = ("line", "listing_id", "what", "reason", "detail", "rows", "what_to_do")
_FORMULA = re.compile(r"\s*[=+\-@\t\r]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def write_left_out(path: Path, rows: Iterable[LeftOut], photos: Iterable[LeftOut] = ()) -> None:
    """`rows` of the catalogue, then `photos` of listings that are kept. UTF-8 with a mark, for Excel."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        for what, lost in (("row", rows), ("photo", photos)):
            for x in lost:
                told = (x.listing_id, what, x.reason, x.detail)
                table.writerow([x.line, *map(safe, told), x.rows, ADVICE.get(x.reason, "")])


def as_written(cell: str) -> str:
    """A cell without the apostrophe that it was given here."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def safe(text: str) -> str:
    """A cell that no spreadsheet program takes for a formula, without control characters."""
    text = _CONTROL.sub("?", text)
    return f"'{text}" if _FORMULA.match(text) else text
