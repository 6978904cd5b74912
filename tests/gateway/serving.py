"""A real gateway on a free port for a test: uvicorn, uvloop and the whole application, on a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import uvloop

from catalog.settings import Settings, given
from gateway.app import create_asgi
from gateway.context import Context
from gateway.main import build
from gateway.main import engine as make_engine
from gateway.ports import AnswerEngine
from gateway.server import GatewayServer, bind

DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.json()["error"])


@dataclass(frozen=True, slots=True)
class Served:
    """A running gateway."""

    context: Context
    server: GatewayServer
    loop: asyncio.AbstractEventLoop
    port: int
    clients: list[openai.OpenAI] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request on a connection of its own; `body` is bytes, or anything else as JSON."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {"content-type": "application/json"} if content is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, content, {**named, **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def chat(self, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
        body = {"model": "ragweld", "messages": [{"role": "user", "content": "hi"}], **fields}
        return self.call("POST", "/v1/chat/completions", body, headers)

    def client(self) -> openai.OpenAI:
        """The official client; its connections are closed with the gateway."""
        made = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=DEADLINE_S)
        self.clients.append(made)
        return made

    def raw(self, *pieces: bytes, timeout_s: float = DEADLINE_S) -> bytes:
        """Everything that comes back on one connection until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            for piece in pieces:
                connection.sendall(piece)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
            return received

    def end(self) -> None:
        """What a signal does."""
        self.loop.call_soon_threadsafe(self.server.end)

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the gateway's own registry; 0 when it is not there yet."""
        return self.context.measures.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def served(
    home: Path,
    engine: AnswerEngine | None,
    settings: Settings | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Serve until the block ends."""
    settings = settings or Settings()
    settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"port": 0})})
    context = build(given(settings), home, environ or {}, engine)
    server = GatewayServer(create_asgi(context), settings.gateway, context.lifecycle)
    loop = uvloop.new_event_loop()
    listener = bind(settings.gateway)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run)
    thread.start()
    running = Served(context, server, loop, listener.getsockname()[1])
    try:
        yield running
    finally:
        for client in running.clients:
            client.close()
        if thread.is_alive():
            running.end()
            running.end()
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the gateway did not end"


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as `condition` holds; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"no {what} within {deadline_s} s"
        time.sleep(0.002)


def events_of(body: bytes) -> list[Any]:
    """The data of every event of a stream; `[DONE]` as it is."""
    lines = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(events: Sequence[Any]) -> str:
    chunks = [event for event in events if isinstance(event, dict) and event.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


@contextmanager
def served_base(base: Path, home: Path) -> Iterator[Served]:
    """A gateway over the real engine, once it answers from the base in a folder."""
    settings = Settings.model_validate({"training": {"ragweld_agent_base_model": str(base)}})
    with served(home, make_engine(settings, home), settings) as running:
        wait_until(lambda: running.call("GET", "/readyz").status == 200, "readiness", 60)
        yield running
