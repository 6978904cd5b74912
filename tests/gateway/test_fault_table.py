"""Every fault of an upstream, where somebody else can answer and where nobody can: the exact outcome of each.

Faults before the first content are answered by the next candidate; after it the stream itself says what happened.
Storms of 5xx, breakers and retries, where one request is not enough, are in `test_router.py`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalog.settings import Settings
from tests.gateway.misbehaving import (
    DONE,
    FINISH,
    GOOD_ANSWER,
    GOOD_STREAM,
    KEY,
    PATIENT,
    ROLE,
    SHORT_S,
    STREAM_HEAD,
    UNHURRIED,
    WORDS,
    Misbehaving,
    Step,
    answer,
    configured,
)
from tests.gateway.serving import Reply, Served, events_of, served, text_of

JSON_HEAD = answer(GOOD_ANSWER)[: -len(GOOD_ANSWER)]


def dripped(text: bytes, pause_s: float = 0.05) -> list[Step]:
    """One byte after the other."""
    return [step for at in range(len(text)) for step in (text[at : at + 1], pause_s)]


def error_event(text: bytes) -> bytes:
    return b"data: " + text + b"\n\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """What an upstream does to a stream and to a plain request, and what a client is told where nobody else answers."""

    status: int
    code: str
    stream: Sequence[Step] | None = None
    plain: Sequence[Step] | None = None


def same(status: int, code: str, *steps: Step) -> Fault:
    return Fault(status, code, steps, steps)


FAULTS: dict[str, Fault] = {
    "closes at once": same(502, "upstream_cut", "close"),
    "resets": same(502, "upstream_cut", "reset"),
    "silent": same(504, "upstream_timeout", "hang"),
    "slow headers": same(504, "upstream_timeout", b"HTTP/1.1 200 OK\r\n", "hang"),
    "1 byte/s in the head": same(504, "upstream_timeout", *dripped(STREAM_HEAD), "hang"),
    "silent after the head": Fault(504, "upstream_timeout", [STREAM_HEAD, "hang"], [JSON_HEAD, "hang"]),
    "silent after the role": Fault(504, "upstream_timeout", [STREAM_HEAD + ROLE, "hang"]),
    "1 byte/s in the body": Fault(
        504, "upstream_timeout", [STREAM_HEAD + ROLE, *dripped(WORDS[0])], [JSON_HEAD, *dripped(GOOD_ANSWER)]
    ),
    "garbage": same(502, "upstream_cut", b"\x00\x01 what is this\r\n\r\n", "close"),
    "garbage as an event": Fault(502, "upstream_error_body", [STREAM_HEAD + error_event(b"<html>"), "close"]),
    "not UTF-8": Fault(
        502,
        "upstream_error_body",
        [STREAM_HEAD + error_event(b'{"choices":[{"delta":{"content":"\xff\xfe"}}]}'), "close"],
    ),
    "a body that is not UTF-8": Fault(502, "upstream_garbage", plain=[answer(b'{"choices":["\xff"]}')]),
    "200 with an error body": Fault(
        502,
        "upstream_error_body",
        [STREAM_HEAD + error_event(b'{"error":{"message":"x"}}') + DONE, "close"],
        [answer(b'{"error":{"message":"x"}}')],
    ),
    "200 with no choices": Fault(502, "upstream_error_body", plain=[answer(b"{}")]),
    "the other kind": Fault(
        502, "upstream_wrong_kind", [answer(GOOD_ANSWER)], [STREAM_HEAD + GOOD_STREAM, "close"]
    ),
    "a page for a stream": Fault(502, "upstream_wrong_kind", [answer(b"<html>", kind="text/html")]),
    "a body nested too deeply": Fault(502, "upstream_garbage", plain=[answer(b'{"choices":' + b"[" * 10_000)]),
    "a page for a body": Fault(502, "upstream_garbage", plain=[answer(b"<html>", kind="text/html")]),
    "cut before content": Fault(
        502, "upstream_cut", [STREAM_HEAD + ROLE, "close"], [answer(GOOD_ANSWER)[:-20], "close"]
    ),
    "[DONE] before content": Fault(502, "upstream_cut", [STREAM_HEAD + ROLE + DONE[:8], "close"]),
    "429": same(429, "overloaded", answer(b"", "429 Too Many Requests", more="retry-after: 7\r\n")),
    "500": same(502, "upstream_status_500", answer(b"oops", "500 Internal Server Error")),
    "503": same(502, "upstream_status_503", answer(b"oops", "503 Service Unavailable")),
    "529": same(502, "upstream_status_529", answer(b"oops", "529 Overloaded")),
    "wrong key": same(502, "upstream_status_401", answer(b'{"error":{"message":"sk-a-secret"}}', "401 T")),
    "redirect": same(502, "upstream_status_307", answer(b"", "307 T", more="location: http://127.0.0.1:9/evil\r\n")),
    "unknown model": same(404, "upstream_refused", answer(b'{"error":{"message":"no such model"}}', "404 T")),
}  # fmt: skip

CASES = [
    pytest.param(fault, streaming, id=f"{name}, {'stream' if streaming else 'plain'}")
    for name, fault in FAULTS.items()
    for streaming in (True, False)
    if (fault.stream if streaming else fault.plain) is not None
]


def steps_of(fault: Fault, *, streaming: bool) -> Sequence[Step]:
    steps = fault.stream if streaming else fault.plain
    assert steps is not None
    return steps


@pytest.mark.parametrize(("fault", "streaming"), CASES)
def test_a_fault_before_content_is_an_error_where_nobody_else_is(
    alone: Served, first: Misbehaving, fault: Fault, streaming: bool
) -> None:
    first.steps = steps_of(fault, streaming=streaming)
    reply = alone.chat(stream=streaming)
    assert (reply.status, reply.error["code"]) == (fault.status, fault.code)
    assert reply.headers.get("retry-after") == {429: "7"}.get(reply.status)
    assert KEY not in reply.body.decode()
    assert len(first.asked) == 1
    assert alone.metric("ragweld_provider_in_flight", provider="first") == 0


@pytest.mark.parametrize(("fault", "streaming"), CASES)
def test_a_fault_before_content_is_nobodys_trouble_where_another_is(
    both: Served, first: Misbehaving, second: Misbehaving, fault: Fault, streaming: bool
) -> None:
    first.steps = steps_of(fault, streaming=streaming)
    second.steps, whole = good(streaming=streaming)
    reply = both.chat(stream=streaming)
    assert (reply.status, reply.body) == (200, whole)
    assert_spoke(reply, "second")
    assert (len(first.asked), len(second.asked)) == (1, 1)
    assert second.asked[0].json()["model"] == "model-of-second"


def good(*, streaming: bool) -> tuple[list[Step], bytes]:
    """A whole answer, and what a client gets of it."""
    return ([STREAM_HEAD + GOOD_STREAM, "close"], GOOD_STREAM) if streaming else ([answer(GOOD_ANSWER)], GOOD_ANSWER)


def assert_spoke(reply: Reply, provider: str) -> None:
    assert reply.headers["x-ragweld-provider"] == provider
    assert reply.headers["x-ragweld-fallback"] == "upstream_failed"


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield int(unheard.getsockname()[1])


@pytest.mark.parametrize("streaming", [True, False])
def test_a_refused_connection(closed_port: int, second: Misbehaving, tmp_path: Path, streaming: bool) -> None:
    refusing = configured("first", Misbehaving(port=closed_port), priority=1)
    second.steps, whole = good(streaming=streaming)
    with served(tmp_path / "alone", None, Settings(routing=PATIENT, upstreams=[refusing])) as gateway:
        reply = gateway.chat(stream=streaming)
        assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
        assert gateway.metric("ragweld_upstream_errors_total", provider="first", kind="unreachable") == 1
    upstreams = [refusing, configured("second", second, priority=2)]
    with served(tmp_path / "both", None, Settings(routing=PATIENT, upstreams=upstreams)) as gateway:
        reply = gateway.chat(stream=streaming)
        assert (reply.status, reply.body) == (200, whole)
        assert_spoke(reply, "second")


def test_a_silent_upstream_is_given_up_at_its_deadline(alone: Served, first: Misbehaving) -> None:
    first.steps = ["hang"]
    began = time.monotonic()
    assert alone.chat().status == 504
    assert SHORT_S <= time.monotonic() - began < SHORT_S + 20  # the machine may be busy


def assert_told(reply: Reply, code: str) -> None:
    """The stream has what came, then an error event, and no [DONE]."""
    *came, last = events_of(reply.body)
    assert reply.status == 200
    assert last["error"]["code"] == code
    assert "[DONE]" not in came
    assert text_of(came) == "ü" or "Grüße from 🙂".startswith(text_of(came))


BEGUN = STREAM_HEAD + ROLE + WORDS[0]
AFTER: dict[str, tuple[Sequence[Step], str]] = {
    "cut between events": ([BEGUN, "close"], "upstream_cut"),
    "reset": ([BEGUN, 0.02, "reset"], "upstream_cut"),
    "cut inside an event": ([BEGUN + WORDS[1][:20], "close"], "upstream_cut"),
    "cut inside [DONE]": ([BEGUN, 0.02, DONE[:8], "close"], "upstream_cut"),
    "silent": ([BEGUN, "hang"], "upstream_timeout"),
    "1 byte/s": ([BEGUN, 0.02, *dripped(WORDS[0])], "upstream_timeout"),
    "garbage": ([BEGUN, 0.02, error_event(b"<html>") + DONE], "upstream_garbage"),
    "not UTF-8": ([BEGUN, 0.02, error_event(b'{"choices":["\xc3"]}') + DONE], "upstream_garbage"),
    "an error": ([BEGUN, 0.02, error_event(b'{"error":{"message":"boom"}}') + DONE], "upstream_error_event"),
}


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("fault", AFTER)
def test_a_fault_after_content_is_told_in_the_stream_and_never_retried(
    alone: Served, both: Served, first: Misbehaving, second: Misbehaving, fault: str, fallback: bool
) -> None:
    first.steps, code = AFTER[fault]
    assert_told((both if fallback else alone).chat(stream=True), code)
    assert len(first.asked) == 1
    assert second.asked == []


BRIEF_WORD = b'data: {"choices":[{"delta":{"content":"\xc3\xbc"}}]}\n\n'
BRIEF = BRIEF_WORD + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n' + DONE


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize(
    ("stream", "first_word", "step"), [(BRIEF, len(BRIEF_WORD), 1), (GOOD_STREAM, len(ROLE) + len(WORDS[0]), 11)]
)
def test_a_stream_cut_at_every_byte_ends_cleanly(
    first: Misbehaving, second: Misbehaving, tmp_path: Path, stream: bytes, first_word: int, step: int, fallback: bool
) -> None:
    upstreams = [configured("first", first, priority=1, **UNHURRIED), configured("second", second, **UNHURRIED)]
    with served(tmp_path, None, Settings(routing=PATIENT, upstreams=upstreams[: 1 + fallback])) as gateway:
        for cut in range(0, len(stream), step):
            first.steps = [STREAM_HEAD + stream[:cut], "close"]
            reply = gateway.chat(stream=True)
            if cut < first_word and fallback:
                assert reply.body == GOOD_STREAM
                assert_spoke(reply, "second")
            elif cut < first_word:
                assert (reply.status, reply.error["code"]) == (502, "upstream_cut")
            elif cut < len(stream) - len(DONE):
                assert_told(reply, "upstream_cut")
            else:
                assert reply.body == stream  # whole but for [DONE], which is added


@pytest.mark.parametrize("fallback", [False, True])
def test_a_whole_stream_without_done_is_given_its_done(
    alone: Served, both: Served, first: Misbehaving, second: Misbehaving, fallback: bool
) -> None:
    first.steps = [STREAM_HEAD + ROLE + WORDS[0] + FINISH, "close"]
    assert (both if fallback else alone).chat(stream=True).body == ROLE + WORDS[0] + FINISH + DONE
    assert second.asked == []


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("piece", [1, 2, 3])
def test_utf8_split_anywhere_is_handed_on_byte_for_byte(
    alone: Served, both: Served, first: Misbehaving, fallback: bool, piece: int
) -> None:
    first.steps = [STREAM_HEAD, *(GOOD_STREAM[at : at + piece] for at in range(0, len(GOOD_STREAM), piece)), "close"]
    reply = (both if fallback else alone).chat(stream=True)
    assert reply.body == GOOD_STREAM
    assert text_of(events_of(reply.body)) == "Grüße from 🙂"
