"""A closed-loop streaming load: so many streams, each asking again when it was answered; what came, and how soon."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.peers import Server

FORBID = -100


@dataclass(slots=True)
class Load:
    """What one load gave: answered tokens per second over all streams, and each answer's time to first token."""

    tokens: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """What the server took, where it was measured."""
    first_token_s: list[float] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s

    @property
    def tokens_per_cpu_s(self) -> float:
        """Not a number where the server's CPU cannot be read."""
        return self.tokens / self.cpu_s if self.cpu_s else math.nan

    @property
    def median_first_token_s(self) -> float:
        return statistics.median(self.first_token_s)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a load."""

    prompt: str
    max_tokens: int
    extra: dict[str, Any] = field(default_factory=dict)


def run_load(server: Server, streams: Sequence[Sequence[Ask]], ends: Sequence[int]) -> Load:
    """Run all streams side by side, each its requests one after another."""
    return asyncio.run(_run(server, streams, ends))


def asks(
    streams: int, each: int, max_tokens: int, extra: Callable[[int], dict[str, Any]], beginning: str = ""
) -> list[list[Ask]]:
    """Distinct prompts, so that no prefix cache answers for another stream; nor for a load that began otherwise."""
    return [
        [
            Ask(
                f"{beginning}Question {stream}-{n} of stream {stream}: {'tell me more about it, ' * 4}please.",
                max_tokens,
                extra(stream),
            )
            for n in range(each)
        ]
        for stream in range(streams)
    ]


async def _run(server: Server, streams: Sequence[Sequence[Ask]], ends: Sequence[int]) -> Load:
    load = Load()
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(_stream(session, server, stream, ends, load) for stream in streams))
        load.wall_s = time.perf_counter() - began
    return load


async def _stream(
    session: aiohttp.ClientSession, server: Server, stream: Sequence[Ask], ends: Sequence[int], load: Load
) -> None:
    for ask in stream:
        body = {
            "model": server.model,
            "messages": [{"role": "user", "content": ask.prompt}],
            "max_tokens": ask.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "logit_bias": {str(end): FORBID for end in ends},
            "chat_template_kwargs": {"enable_thinking": False},  # an empty thought is shown by one side only
            **ask.extra,
        }
        await _answer(session, server, body, load)


async def _answer(session: aiohttp.ClientSession, server: Server, body: dict[str, Any], load: Load) -> None:
    """Only what is counted is parsed: the client shares the machine with the server it measures."""
    began = time.perf_counter()
    first_s = None
    async with session.post(f"{server.url}/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            if first_s is None and _has_text(json.loads(line[6:])):
                first_s = time.perf_counter() - began
            if b"completion_tokens" in line:
                load.tokens += json.loads(line[6:])["usage"]["completion_tokens"]
    load.first_token_s.append(first_s if first_s is not None else time.perf_counter() - began)


def _has_text(chunk: dict[str, Any]) -> bool:
    deltas = [choice["delta"] for choice in chunk.get("choices", ())]
    return any(delta.get(name) for delta in deltas for name in ("content", "reasoning_content", "reasoning"))
