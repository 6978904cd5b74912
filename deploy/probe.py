"""One bounded HTTP GET to a server on this machine, for readiness and for "does Prometheus answer".

Reads at most 64 KiB. Written on asyncio's streams, so that the supervisor loads no HTTP library.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status and the start of the body."""

    status: int
    body: bytes


async def get(host: str, port: int, path: str, *, deadline_s: float = 2.0) -> Answer | None:
    """The answer to GET `path`, or None when nobody gave one in time."""
    try:
        async with asyncio.timeout(deadline_s):
            return _parse(await _exchange(host, port, path))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


async def _exchange(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        name = f"[{host}]" if ":" in host else host
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        received = b""
        while len(received) < MOST_BYTES and (chunk := await reader.read(MOST_BYTES)):
            received += chunk
        return received
    finally:
        writer.close()


def _parse(received: bytes) -> Answer | None:
    head, _, body = received.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return None
    return Answer(int(words[1]), body)
