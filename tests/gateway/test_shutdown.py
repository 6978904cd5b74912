"""The end: nothing new, open streams finish, a second signal cuts, exit code 0; and a port that is taken."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.settings import GatewaySettings, Settings
from gateway.server import bind
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import DEADLINE_S, Served, events_of, served, wait_until
from tests.house import REPOSITORY

BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()


@contextmanager
def open_stream(gateway: Served) -> Iterator[http.client.HTTPResponse]:
    """A stream whose first bytes have come."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=DEADLINE_S)
    try:
        connection.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
        yield connection.getresponse()
    finally:
        connection.close()


def slow_engine() -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.pause_s = 0.05
    return engine


def test_an_open_stream_finishes_while_new_requests_are_refused(tmp_path: Path) -> None:
    engine = slow_engine()
    with served(tmp_path, engine) as gateway, open_stream(gateway) as stream:
        gateway.end()
        wait_until(gateway.context.lifecycle.draining.is_set, "draining")
        refused = gateway.chat()
        assert (refused.status, refused.error["code"]) == (503, "shutting_down")
        assert refused.headers["retry-after"]
        assert gateway.call("GET", "/readyz").status == 503
        assert gateway.call("GET", "/livez").status == 200
        assert events_of(stream.read())[-1] == "[DONE]"


def test_a_second_signal_cuts_and_the_stream_says_so(tmp_path: Path) -> None:
    engine = slow_engine()
    engine.endless = True
    with served(tmp_path, engine) as gateway, open_stream(gateway) as stream:
        gateway.end()
        wait_until(gateway.context.lifecycle.draining.is_set, "draining")
        gateway.end()
        last = events_of(stream.read())[-1]
    assert last["error"]["code"] == "shutting_down"
    assert engine.closed == 1


def test_after_the_grace_open_streams_are_cut(tmp_path: Path) -> None:
    engine = slow_engine()
    engine.endless = True
    settings = Settings(gateway=GatewaySettings(shutdown_grace_s=0.1))
    with served(tmp_path, engine, settings) as gateway, open_stream(gateway) as stream:
        gateway.end()
        assert events_of(stream.read())[-1]["error"]["code"] == "shutting_down"


def test_an_idle_gateway_ends_at_once(tmp_path: Path) -> None:
    with served(tmp_path, ScriptedEngine()) as gateway:
        gateway.end()
        wait_until(gateway.loop.is_closed, "end")


def start(home: Path, port: int, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "deploy", "gateway", "--home", str(home), "--port", str(port), *more]
    environ = {**os.environ, "RAGWELD_ENGINE_ENABLED": "false"}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_process_says_its_port_and_a_signal_ends_it_with_0(tmp_path: Path) -> None:
    process = start(tmp_path, 0)
    killer = threading.Timer(DEADLINE_S, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        port = int(line.rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
    finally:
        killer.cancel()
        process.kill()
    assert process.returncode == 0, errors.decode()


def test_a_taken_port_is_one_line_and_78(tmp_path: Path) -> None:
    with bind(GatewaySettings(port=0)) as taken:
        process = start(tmp_path, taken.getsockname()[1])
        output, errors = process.communicate(timeout=2 * DEADLINE_S)
    lines = [line for line in (output + errors).decode().splitlines() if line]
    assert process.returncode == 78
    assert len(lines) == 1 and "Choose another with --port" in lines[0]
