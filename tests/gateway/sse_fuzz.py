"""Streams of an upstream, spoilt at random, through the very code that hands them on: what must hold for every one.

`python -m tests.gateway.sse_fuzz --inputs 1000000` runs so many; `test_sse_fuzz.py` a few. The same seed gives the same
streams. A stream is made of good and bad events, its bytes are changed, and it arrives in pieces cut anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from typing import Any, cast

import aiohttp
import uvloop

from catalog.errors import RagweldError
from catalog.settings import Upstream
from gateway import sse
from gateway.providers import Providers
from gateway.speaker import Speaker
from gateway.upstream import Line, UpstreamAnswer
from gateway.wire.answer import DONE_EVENT
from tests.gateway.misbehaving import DONE, FINISH, ROLE, USAGE, WORDS

PARTS = [
    *WORDS, ROLE, FINISH, USAGE, DONE, WORDS[0].replace(b"\n", b"\r\n"),
    b": ping\n\n", b"event: x\nid: 3\nretry: 9\n\n",
    b'data: {"error":{"message":"x"}}\n\n', b"data: <html>\n\n", b"data:\n\n", b"data: null\n\n", b"data: 7\n\n",
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n', b'data: {"choices":null,"usage":null}\n\n',
    b'data: {"choices":[{"delta":null}]}\n\n', b'data: {"choices":{}}\n\n', b"\n\n", b"\r\n\r\n", b"\xef\xbb\xbf",
]  # fmt: skip
SPOILERS = [b"\xff", b"\xc3", b"\xf0\x9f", b"\x00", b"\n", b"\r", b'"', b"{", b"data:", b"\xed\xa0\x80", b"\\ud800"]
UPSTREAM = Upstream(name="fuzzed", base_url="http://127.0.0.1:9/v1", model="m")
BREATH = 256
"""Streams between two turns of the event loop, which must get rid of the timers of each."""


def spoilt_stream(lots: random.Random) -> bytes:
    """A stream like those of upstreams, mostly with something wrong."""
    beginning = lots.choice((b"", WORDS[0], ROLE + WORDS[0]))
    stream = bytearray(beginning + b"".join(lots.choices(PARTS, k=lots.randint(0, 8))))
    for _ in range(lots.choice((0, 0, 1, 1, 2, 5))):
        at = lots.randint(0, len(stream))
        match lots.randrange(4):
            case 0:
                stream[at:at] = lots.choice(SPOILERS)
            case 1:
                del stream[at : at + lots.randint(1, 12)]
            case 2:
                stream[at : at + 1] = bytes([lots.randrange(256)])
            case 3:
                stream[at:at] = stream[lots.randint(0, at) : at]
    return bytes(stream)


class Content:
    """What `UpstreamAnswer` needs of aiohttp's stream: pieces, then the end."""

    def __init__(self, stream: bytes, lots: random.Random) -> None:
        cuts = sorted(lots.randint(0, len(stream)) for _ in range(lots.randint(0, 4)))
        pairs = zip([0, *cuts], [*cuts, len(stream)], strict=True)
        self._pieces = [stream[start:end] for start, end in pairs if end > start]

    async def readany(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def at_eof(self) -> bool:
        return not self._pieces


class Response:
    """An answer whose head has come."""

    status = 200
    content_type = "text/event-stream"

    def __init__(self, content: Content) -> None:
        self.content = content

    def release(self) -> None:
        """Nothing is held."""

    close = release


class Http:
    """Answers every request with one response."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def post(self, url: str, **options: Any) -> Response:
        return self._response


async def hear(stream: bytes, lots: random.Random, providers: Providers) -> tuple[bytes, str]:
    """What a client is sent of it, and how it ended: `whole`, or the code of the error."""
    answer = UpstreamAnswer(UPSTREAM, Speaker("fuzzed", "m"), True, time.monotonic, providers.turn("fuzzed"))
    http, sent = cast(aiohttp.ClientSession, Http(Response(Content(stream, lots)))), b""
    try:
        await answer.open(http, Line(UPSTREAM, ""), b"")
        async for block in answer.events():
            sent += block
    except RagweldError as error:
        return sent, error.code
    finally:
        await answer.aclose()
    return sent, "whole"


def faults(stream: bytes, sent: bytes, end: str) -> list[str]:
    """What does not hold."""
    came, seen = sent.removesuffix(DONE_EVENT), sse.look(sent)
    wrong = {
        "bytes were changed": not (stream.startswith(sent) or stream.startswith(came)),
        "half an event was sent": bool(sent) and not sent.endswith((b"\n\n", b"\r\n\r\n")),
        "a fault was sent as an answer": seen.error is not None or seen.unreadable,
        "an end without [DONE]": end == "whole" and not seen.done,
        "[DONE] before an error": end != "whole" and seen.done,
    }
    return [what for what, is_wrong in wrong.items() if is_wrong]


async def fuzz(inputs: int, seed: int) -> Counter[str]:
    """How so many streams ended; an AssertionError names the first that is handed on wrongly."""
    lots, ends = random.Random(seed), Counter[str]()
    providers = Providers(lambda: 1 << 60, time.monotonic, lots.random, lambda name, kind: None)
    for number in range(inputs):
        stream = spoilt_stream(lots)
        sent, end = await hear(stream, lots, providers)
        wrong = faults(stream, sent, end)
        assert not wrong, f"stream {number} of seed {seed}: {wrong}: {stream!r} was sent as {sent!r}, ending {end}"
        ends[end] += 1
        if number % BREATH == 0:
            await asyncio.sleep(0)
    return ends


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ends = uvloop.run(fuzz(arguments.inputs, arguments.seed))
    print(json.dumps({"inputs": arguments.inputs, "seed": arguments.seed, "ends": dict(ends.most_common())}))


if __name__ == "__main__":
    main()
