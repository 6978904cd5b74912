"""`ragweld up` before and after its start: every obstacle is one line, and the banner says what was chosen."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.files import Claim
from catalog.keys import KeyStore
from catalog.settings import load
from deploy import banner, launch, ports, probe
from deploy.child import ChildSpec
from deploy.launch import Address, House


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def house(home: Path, overrides: Mapping[str, object]) -> House:
    """The house on free ports, unless told otherwise."""
    return launch.house_of(load(home, {}, {"gateway.port": 0, "trainer.metrics_port": 0} | dict(overrides)), home)


def line_of(home: Path, overrides: Mapping[str, object]) -> str:
    """The one line that `up` says before it ends with EX_CONFIG."""
    said: list[str] = []
    assert launch.up(house(home, overrides), said.append) == os.EX_CONFIG
    (line,) = said
    return line


@pytest.mark.parametrize(("key", "option"), [("gateway.port", "--port"), ("trainer.metrics_port", "--trainer-port")])
def test_a_taken_port_is_one_line_with_its_number_and_option(
    key: str, option: str, taken_port: int, tmp_path: Path
) -> None:
    assert line_of(tmp_path, {key: taken_port}) == (
        f"ragweld: port {taken_port} on 127.0.0.1 is taken. Stop what listens there, or choose another with {option}."
    )


@pytest.mark.skipif(not ports.kept(), reason="the kernel here gives every port to connections that go out")
def test_a_port_of_our_choice_is_given_to_no_connection_that_goes_out() -> None:
    for _ in range(20):
        port = ports.free_port("127.0.0.1")
        assert ports.is_free("127.0.0.1", port)
        assert port in ports.kept()


def test_one_port_for_both_is_refused(tmp_path: Path) -> None:
    port = ports.free_port("127.0.0.1")
    assert f"both want port {port}" in line_of(tmp_path, {"gateway.port": port, "trainer.metrics_port": port})


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    # 192.0.2.0/24 is reserved for documentation (RFC 5737): nobody's.
    assert "cannot listen on 192.0.2.1:8000" in line_of(tmp_path, {"gateway.host": "192.0.2.1", "gateway.port": 8000})


def test_an_address_that_others_reach_is_refused_until_there_is_a_key(tmp_path: Path) -> None:
    line = line_of(tmp_path, {"gateway.host": "0.0.0.0"})
    assert "0.0.0.0" in line and "ragweld keys add NAME --scope chat,admin" in line
    KeyStore(tmp_path).add("laptop", ["chat"])
    assert launch.obstacle_before(house(tmp_path, {"gateway.host": "0.0.0.0"})) is None


def test_a_second_up_on_one_home_is_refused(tmp_path: Path) -> None:
    claim = Claim.take(tmp_path / launch.LOCK_FILE)
    assert claim is not None
    assert f"another `ragweld up` runs on {tmp_path}" in line_of(tmp_path, {})
    claim.release()


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    assert "cannot be written" in line_of(tmp_path / "file", {})


def test_port_zero_becomes_a_real_port_that_the_child_is_told(tmp_path: Path) -> None:
    free = house(tmp_path, {})
    settled = replace(free, gateway=launch.settled(free.gateway), trainer=launch.settled(free.trainer))
    gateway, trainer = launch.children_of(settled)
    assert gateway.argv[-4:] == ("--host", "127.0.0.1", "--port", str(settled.gateway.port))
    assert trainer.argv[-2:] == ("--trainer-port", str(settled.trainer.port))
    assert settled.gateway.port > 0 < settled.trainer.port
    assert (gateway.essential, trainer.essential) == (True, False)


def test_children_are_told_the_base_only_if_this_command_line_named_it(tmp_path: Path) -> None:
    """A base from the settings file stays the file's, so that changing it there still counts."""
    named = launch.children_of(house(tmp_path, {launch.BASE_KEY: "ragweld-nano"}))
    assert all("ragweld-nano" in child.argv for child in named)
    assert all("--base" not in child.argv for child in launch.children_of(house(tmp_path, {})))


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000")],
)
def test_an_address_is_shown_as_it_is_reached(host: str, url: str) -> None:
    assert Address(host, 8000, "--port").url == url


GATEWAY = """
    import sys, time
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from deploy import lifeline
    class Ready(BaseHTTPRequestHandler):
        asked = 0
        def do_GET(self):
            Ready.asked += 1
            self.send_response(503 if Ready.asked < 3 else 200)
            self.end_headers()
        def log_message(self, *_): pass
    lifeline.watch(grace_s=5)
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


def test_up_says_what_it_chose_once_the_gateway_is_ready_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "curl http" in line:
            os.kill(os.getpid(), signal.SIGINT)

    def pretended(settled: House) -> list[ChildSpec]:
        return [ChildSpec("gateway", (sys.executable, "-c", textwrap.dedent(GATEWAY), str(settled.gateway.port)))]

    assert launch.up(house(tmp_path, {}), say, pretended) == os.EX_OK
    assert said[0] == f"ragweld: starting on {tmp_path} ..."
    assert "ragweld answers." in said
    assert said[-1] == "stopped."
    claim = Claim.take(tmp_path / launch.LOCK_FILE)
    assert claim is not None
    claim.release()


MACHINE = banner.Machine("CPU (cpu), 24 GiB", "ragweld-nano: it is built in", "OpenBLAS")


def test_the_banner_says_what_was_chosen_and_where_things_are(tmp_path: Path) -> None:
    ready = {"status": "ready", "answers": "near", "reason": "no weights here"}
    neighbours = {"Prometheus": True, "Grafana": False}
    lines = banner.lines(MACHINE, tmp_path, "http://127.0.0.1:9000", "http://127.0.0.1:9001", ready, neighbours)
    shown = "\n".join(lines)
    assert "near: no weights here" in shown
    places = ("http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/studio", str(tmp_path))
    for expected in (MACHINE.device, MACHINE.base, MACHINE.blas, *places):
        assert expected in shown
    assert "expected at http://127.0.0.1:9090: answers" in shown
    assert "expected at http://127.0.0.1:3000: does not answer; start it with: docker compose" in shown


def test_the_curl_line_is_a_shell_command_with_a_request_in_it() -> None:
    words = shlex.split("\n".join(banner.curl("http://127.0.0.1:9000")).replace("\\\n", " "))
    assert words[:2] == ["curl", "http://127.0.0.1:9000/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == "ragweld"


def test_the_machine_is_read_without_loading_a_model(tmp_path: Path) -> None:
    machine = banner.read_machine(load(tmp_path, {}, {launch.BASE_KEY: "nobody/nothing-here"}).settings)
    assert "nobody/nothing-here" in machine.base
    assert "GiB" in machine.device
    assert machine.blas


async def probed(raw: bytes | None, deadline_s: float = 30.0) -> probe.Answer | None:
    """What the probe makes of a server that sends `raw`, or of one that stays silent."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if raw is None:
            await reader.read()
        else:
            writer.write(raw)
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        answer = await probe.get("127.0.0.1", server.sockets[0].getsockname()[1], "/readyz", deadline_s=deadline_s)
        await ended.wait()
    return answer


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", probe.Answer(200, b"body")),
        (b"HTTP/1.0 503 \r\n\r\n", probe.Answer(503, b"")),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"", None),
        (b"HTTP/1.1 two\r\n\r\n", None),
    ],
)
def test_a_probe_understands_http_and_nothing_else(raw: bytes, answer: probe.Answer | None) -> None:
    assert asyncio.run(probed(raw)) == answer


def test_a_probe_of_nobody_and_of_somebody_silent_ends_in_time() -> None:
    assert asyncio.run(probe.get("127.0.0.1", ports.free_port("127.0.0.1"), "/")) is None
    assert asyncio.run(probed(None, deadline_s=0.05)) is None
