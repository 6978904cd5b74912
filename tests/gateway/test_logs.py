"""A log line is one line, whatever somebody put into it."""

from __future__ import annotations

import logging

from hypothesis import given
from hypothesis import strategies as st

from gateway.logs import LineFormatter


def line(message: str, **facts: object) -> str:
    record = logging.LogRecord("name", logging.INFO, "path", 1, message, None, None)
    record.facts = facts
    return LineFormatter().format(record)


@given(st.text(), st.text())
def test_no_text_can_make_a_second_line_or_a_control_character(message: str, value: str) -> None:
    assert line(message, path=value).isprintable()


def test_facts_are_written_as_keys_and_values() -> None:
    assert line("request", path="/v1", status=200, note='a "b"').endswith(
        'info name request path=/v1 status=200 note="a \\"b\\""'
    )
