"""Connections: heads that are slow, too large or no HTTP at all never reach the application."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from catalog.settings import GatewaySettings, Settings
from gateway.server import MAX_HEAD_BYTES
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import DEADLINE_S, Served, served

HEAD_DEADLINE_S = 1.0
HALF_REQUESTS = 500
"""As many files on either side of the sockets; a shell allows 1,024 unless it is told otherwise."""
GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = Settings(gateway=GatewaySettings(header_deadline_s=HEAD_DEADLINE_S))
    with served(tmp_path_factory.mktemp("home"), ScriptedEngine(), settings) as running:
        yield running


def test_half_heads_are_closed_at_the_deadline_while_others_are_answered(hasty: Served) -> None:
    slow: list[socket.socket] = []
    for _ in range(HALF_REQUESTS):
        slow.append(socket.create_connection(("127.0.0.1", hasty.port), timeout=DEADLINE_S))
        slow[-1].sendall(GET)
    began = time.monotonic()  # of the last one; the first may be closed by now
    assert [hasty.call("GET", "/livez").status for _ in range(20)] == [200] * 20
    for connection in slow:
        with connection:
            received = b""
            while chunk := connection.recv(4096):
                received += chunk
        assert received.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < HEAD_DEADLINE_S + DEADLINE_S


def test_a_drip_of_header_bytes_does_not_move_the_deadline(hasty: Served) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=DEADLINE_S) as connection:
        began = time.monotonic()
        connection.sendall(GET)
        connection.settimeout(0.03)
        answer = b""
        while not answer and time.monotonic() - began < DEADLINE_S:
            try:
                connection.sendall(b"x-a: b\r\n")
                answer = connection.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed(hasty: Served) -> None:
    assert hasty.raw().startswith(b"HTTP/1.1 408 ")


def test_the_deadline_counts_for_every_request_of_a_connection(hasty: Served) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=DEADLINE_S) as connection:
        connection.sendall(GET + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.sendall(GET)
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 408 ")


def test_an_answer_longer_than_the_deadline_is_not_cut(gateway: Served, hasty: Served) -> None:
    engine = hasty.context.engine
    assert isinstance(engine, ScriptedEngine)
    engine.pause_s = HEAD_DEADLINE_S / 2
    assert hasty.chat().json()["choices"][0]["message"]["content"] == "Hello world."
    engine.reset()


@pytest.mark.parametrize(
    "head",
    [
        GET + b"x-big: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        GET + b"".join(b"x-%d: a\r\n" % number for number in range(3000)) + b"\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        GET + b"x-endless: " + b"a" * (1 << 20),
    ],
)
def test_a_large_head_is_431(hasty: Served, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=DEADLINE_S) as connection:
        answer = b""
        try:
            connection.sendall(head)
            answer = connection.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            return  # closed while it was still being sent, which is as good
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "head", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"G\x00T / HTTP/1.1\r\n\r\n", b"\n" * 30 + b"x"]
)
def test_what_is_no_http_is_400_in_the_one_shape(hasty: Served, head: bytes) -> None:
    answer = hasty.raw(head)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    assert b'{"error":{' in answer


def test_a_head_just_inside_the_bound_is_read(hasty: Served) -> None:
    head = GET + b"connection: close\r\nx-big: " + b"a" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n"
    assert hasty.raw(head).startswith(b"HTTP/1.1 200 ")


def test_a_body_may_be_larger_than_a_head(hasty: Served) -> None:
    assert hasty.chat(messages=[{"role": "user", "content": "a" * (4 * MAX_HEAD_BYTES)}]).status == 200
