"""Events are valid JSON whatever the numbers, and are read whole and resumed from an offset."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from catalog import events
from catalog.events import Event

STAMP = "2026-11-23T09:00:00.000Z"


@given(st.floats(), st.floats(), st.text(max_size=50))
def test_non_finite_numbers_never_make_invalid_json(loss: float, eval_loss: float, message: str) -> None:
    event = Event(type="metrics", ts=STAMP, run_id="r", loss=loss, metrics={"eval_loss": eval_loss}, message=message)
    line = event.to_line()
    assert line.count(b"\n") == 1
    parsed = json.loads(line, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    assert ("loss" in parsed) == math.isfinite(loss)


def test_a_reader_resumes_from_any_id_with_nothing_lost_or_doubled(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(20):
        events.append(path, Event(type="telemetry", ts=STAMP, run_id="r", step=step))
    stored = list(events.read_lines(path))
    for n, line in enumerate(stored):
        rest = list(events.read_lines(path, line.end_offset))
        assert [json.loads(item.line)["step"] for item in rest] == list(range(n + 1, 20))


@given(st.lists(st.binary(max_size=9).filter(lambda text: b"\n" not in text)), st.binary(max_size=3), st.integers(1, 9))
def test_read_from_the_end_it_is_the_same_lines(lines: list[bytes], unfinished: bytes, block_bytes: int) -> None:
    content = b"".join(line + b"\n" for line in lines) + unfinished.replace(b"\n", b"")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_bytes(content)
        stored = list(events.read_lines(path))
        assert list(events.read_lines_back(path, block_bytes=block_bytes))[::-1] == stored
        for count, line in enumerate(stored):
            back = events.read_lines_back(path, line.end_offset, block_bytes=block_bytes)
            assert list(back)[::-1] == stored[: count + 1]


def test_the_latest_are_read_without_what_came_before_them(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"what nobody can read\n" * 10_000)
    for step in range(9):
        events.append(path, Event(type="telemetry", ts=STAMP, run_id="r", step=step))
    assert [event.step for event in events.read_latest(path, 4)] == [5, 6, 7, 8]
    assert events.read_latest(tmp_path / "none.jsonl", 4) == []


def test_an_unfinished_line_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    events.append(path, Event(type="log", ts=STAMP, run_id="r", message="whole"))
    with path.open("ab") as file:
        file.write(b'{"type":"log"')
    assert len(list(events.read_lines(path))) == 1


def test_what_a_dying_writer_left_is_not_glued_to_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for half in (b'{"type":"log"', b"", b'{"type":"log","ts":"x"}'):
        with path.open("ab") as file:
            file.write(half)
        events.append(path, Event(type="log", ts=STAMP, run_id="r", message="whole"))
    assert [event.message for event in events.read_events(path)] == ["whole"] * 3
