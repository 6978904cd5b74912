"""What is far too large costs next to no memory: it is refused before it was held. Linux only, told by the kernel."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import peers

LIMIT_BYTES = 4 * 1024 * 1024
"""`gateway.max_body_bytes` as it is by default."""
PIECE = b"a" * (1 << 20)
MOST_SENT = 256
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc"),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Server]:
    """A gateway process before an upstream alone, which is ready at once."""
    upstream = '[{"name": "away", "base_url": "http://127.0.0.1:9/v1", "model": "m"}]'
    environ = {"RAGWELD_ENGINE_ENABLED": "false", "RAGWELD_UPSTREAMS": upstream}
    with peers.ragweld(Path("ragweld-nano"), tmp_path_factory.mktemp("home"), environ) as server:
        send(server, [HEAD + b"content-length: %d\r\n\r\n" % LIMIT_BYTES, *[PIECE] * 4])  # the largest that is read
        yield server


def send(server: peers.Server, pieces: list[bytes]) -> bytes:
    """The first of the answer, to as much as the gateway takes before it closes."""
    host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
        with contextlib.suppress(ConnectionResetError):
            return connection.recv(4096)
    return b""


def peak_bytes(server: peers.Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([HEAD + b"content-length: 100000000000\r\n\r\n", *[PIECE] * MOST_SENT], b"413"),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n", *[b"100000\r\n" + PIECE + b"\r\n"] * MOST_SENT], b"413"),
        ([HEAD + b"x-giant: ", *[PIECE] * MOST_SENT], b"431"),
    ],
    ids=["a body of 100 GB", "chunks without end", "a header without end"],
)
def test_the_peak_of_memory_grows_by_at_most_twice_the_limit(
    gateway: peers.Server, pieces: list[bytes], status: bytes
) -> None:
    before = peak_bytes(gateway)
    for _ in range(4):
        answer = send(gateway, pieces)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    assert peak_bytes(gateway) - before <= 2 * LIMIT_BYTES
