"""A log line is one line, whatever somebody put into it, and one that cannot be written stops nobody."""

from __future__ import annotations

import logging
import os

from hypothesis import given
from hypothesis import strategies as st

from gateway.logs import LineFormatter, LineHandler, quoted


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("name", logging.INFO, "path", 1, message, None, None)


@given(st.text(), st.text())
def test_no_text_can_make_a_second_line_or_a_control_character(message: str, value: str) -> None:
    assert LineFormatter().format(record(f"{message} path={quoted(value)}")).isprintable()


def test_a_line_has_time_level_logger_and_message() -> None:
    said = record(f"request path=/v1 note={quoted('a b')}")
    said.created = 1.25
    assert LineFormatter().format(said) == '1970-01-01T00:00:01.250Z info name request path=/v1 note="a b"'


def test_a_value_that_is_plain_stays_as_it_is_and_every_other_is_json() -> None:
    assert [quoted(text) for text in ("/v1/models", "", "a b", "a=b", "\n")] == [
        "/v1/models", '""', '"a b"', '"a=b"', '"\\n"',
    ]  # fmt: skip


def test_a_line_that_cannot_be_written_is_counted_and_stops_nobody() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    lost: list[int] = []
    handler = LineHandler(full, lambda: lost.append(1))
    handler.handle(record("a"))
    os.close(full)
    handler.handle(record("b"))
    assert len(lost) == 2
