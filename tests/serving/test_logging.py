"""The log of a search process as a person reads it on a terminal."""

from __future__ import annotations

import logging

from lookalike.serving.observing import TerminalFormatter


def test_a_line_for_a_person_has_time_message_and_fields() -> None:
    record = logging.makeLogRecord(
        {"msg": "request", "levelno": logging.INFO, "fields": {"request_id": "f00", "status": 200}}
    )
    assert TerminalFormatter().format(record)[8:] == " request status=200"
    worse = logging.makeLogRecord({"msg": "no store", "levelno": logging.ERROR, "levelname": "ERROR"})
    assert TerminalFormatter().format(worse)[8:] == " error: no store"
