"""A fast OpenAI-compatible upstream for benches: fixed answers over a raw protocol, so that it costs next to nothing.

A word in the prompt says how a stream comes: `flood` as fast as it is taken, `paced` one chunk each PACE_S.
`python -m tests.bench.mock_upstream PORT`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

FLOOD_EVENTS = 512
PACED_EVENTS = 22
PACE_S = 0.02
WORD = " measured"


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "mock", "choices": [choice]}
    event = b"data: " + json.dumps(body).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


_ANSWER = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": WORD * 32}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 16, "completion_tokens": 32, "total_tokens": 48},
    }
).encode()
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CONTENTS = [_chunk({"content": f"{WORD} {number}"}) for number in range(FLOOD_EVENTS + 1)]
"""All different: litellm breaks off a stream that says the same again and again."""
LAST = _chunk({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection; answers a request as soon as its body is whole."""

    def __init__(self) -> None:
        self._received = b""
        self._loop = asyncio.get_running_loop()
        self._may_write = True
        self._resume: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
        if len(rest) < length:
            return
        body, self._received = rest[:length], rest[length:]
        if b"flood" in body:
            self._transport.write(HEAD)
            self._flood(FLOOD_EVENTS)
        elif b"paced" in body:
            self._transport.write(HEAD)
            self._pace(PACED_EVENTS)
        else:
            self._transport.write(PLAIN)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._resume is not None:
            left, self._resume = self._resume, None
            self._flood(left)

    def _flood(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if not self._may_write:
            self._resume = left
        elif left:
            self._transport.write(CONTENTS[left])
            self._loop.call_soon(self._flood, left - 1)
        else:
            self._transport.write(LAST)

    def _pace(self, left: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(CONTENTS[left] if left else LAST)
        if left:
            self._loop.call_later(PACE_S, self._pace, left - 1)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
