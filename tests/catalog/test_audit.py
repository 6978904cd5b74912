"""The administrators' log is only ever added to, and read back whole."""

from __future__ import annotations

import stat
from pathlib import Path

from catalog.audit import AdminLog


def test_entries_come_back_in_order_and_bounded(tmp_path: Path) -> None:
    log = AdminLog(tmp_path)
    assert log.tail(10) == []
    for number in range(5):
        log.append("desk", "PATCH /api/config", {"number": number})
    assert [entry["number"] for entry in log.tail(3)] == [2, 3, 4]
    assert set(log.tail(1)[0]) == {"ts", "who", "what", "number"}
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_a_line_that_a_crash_cut_is_left_out(tmp_path: Path) -> None:
    log = AdminLog(tmp_path)
    log.append("desk", "one")
    with log.path.open("ab") as file:
        file.write(b'{"ts": "20')
    assert [entry["what"] for entry in log.tail(10)] == ["one"]


def test_a_line_break_in_a_fact_starts_no_line(tmp_path: Path) -> None:
    log = AdminLog(tmp_path)
    log.append("desk", 'one\n{"who": "forged"}')
    assert len(log.tail(10)) == 1
