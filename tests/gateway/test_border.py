"""What no request passes: foreign hosts and origins, forms, bodies too large or too slow."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.settings import GatewaySettings, Settings
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served

CHAT = "/v1/chat/completions"
LIMIT_BYTES = 4096
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with small limits."""
    limits = GatewaySettings(max_body_bytes=LIMIT_BYTES, body_deadline_s=1, allowed_hosts=["127.0.0.1", "localhost"])
    home: Path = tmp_path_factory.mktemp("home")
    with served(home, ScriptedEngine(), Settings(gateway=limits)) as running:
        yield running


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "localhost@evil"]
)
def test_a_foreign_host_is_403(gateway: Served, engine: ScriptedEngine, host: str) -> None:
    reply = gateway.chat({"host": host})
    assert reply.status == 403
    assert engine.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1234", "[::1]:8000", "LocalHost"])
def test_a_loopback_host_is_answered(gateway: Served, engine: ScriptedEngine, host: str) -> None:
    assert gateway.chat({"host": host}).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
def test_a_foreign_origin_is_403(gateway: Served, engine: ScriptedEngine, origin: str) -> None:
    assert gateway.chat({"origin": origin}).status == 403
    assert gateway.call("GET", "/v1/models", headers={"origin": origin}).status == 403
    assert engine.asked == []


def test_a_local_page_may_ask_but_is_given_no_cors(gateway: Served, engine: ScriptedEngine) -> None:
    reply = gateway.chat({"origin": "http://localhost:3000"})
    assert reply.status == 200
    assert not any(name.startswith("access-control") for name in reply.headers)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_is_not_json_is_415(gateway: Served, engine: ScriptedEngine, kind: str) -> None:
    assert gateway.chat({"content-type": kind}).status == 415
    assert engine.asked == []


def test_a_large_body_is_413_before_it_is_read(tight: Served) -> None:
    head = HEAD + b"content-length: %d\r\n\r\n" % (1 << 40)
    assert tight.raw(head).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"9" * 300])
def test_a_length_that_is_no_length_is_refused(tight: Served, length: bytes) -> None:
    assert tight.raw(HEAD + b"content-length: " + length + b"\r\n\r\n").startswith(b"HTTP/1.1 4")


def test_chunks_without_end_are_413_at_the_limit(tight: Served) -> None:
    chunk = b"400\r\n" + b" " * 0x400 + b"\r\n"
    answer = tight.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n", chunk * (LIMIT_BYTES // 0x400 + 1))
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bodies_without_end_cost_no_more_memory_than_the_limit(tmp_path: Path) -> None:
    limit_bytes, chunk_bytes = 24 << 20, 1 << 20
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n" % chunk_bytes + b" " * chunk_bytes + b"\r\n"
    with served(tmp_path, ScriptedEngine(), Settings(gateway=GatewaySettings(max_body_bytes=limit_bytes))) as gateway:
        for endless in (head, HEAD + b"content-length: %d\r\n\r\n" % (1 << 40)):
            with PeakMemory() as peak, contextlib.suppress(ConnectionError):
                gateway.raw(endless, *[chunk] * 16 * (limit_bytes // chunk_bytes))
            assert peak.grown_bytes <= 2 * limit_bytes, f"{peak.grown_bytes >> 20} MiB"


class PeakMemory:
    """How far this process's memory has grown at most while the block ran."""

    grown_bytes = 0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew, see proc(5)
        self._before = self._peak_bytes()
        return self

    def __exit__(self, *fault: object) -> None:
        self.grown_bytes = self._peak_bytes() - self._before

    @staticmethod
    def _peak_bytes() -> int:
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) << 10


def test_a_body_that_does_not_arrive_is_408(tight: Served) -> None:
    answer = tight.raw(HEAD + b"content-length: 100\r\n\r\n", b'{"model"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer


def test_a_body_at_the_limit_is_read(tight: Served) -> None:
    body = b'{"messages": [{"role": "user", "content": "hi"}]}'
    assert tight.call("POST", CHAT, body + b" " * (LIMIT_BYTES - len(body))).status == 200


def test_requests_are_counted_by_route_never_by_text(gateway: Served, engine: ScriptedEngine) -> None:
    before = gateway.metric("ragweld_http_requests_total", route="unmatched", status="404")
    gateway.call("GET", "/some/text/of/a/client")
    assert gateway.metric("ragweld_http_requests_total", route="unmatched", status="404") == before + 1
    assert b"/some/text" not in gateway.call("GET", "/metrics").body


def test_an_administrators_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "data" / "admin_log.jsonl").mkdir(parents=True)  # as good as a full disk
    with served(tmp_path, ScriptedEngine()) as gateway:
        assert gateway.call("POST", "/api/keys", {"name": "guest", "scopes": ["chat"]}).status < 300
        assert gateway.chat().status == 200
