"""A real server of another make, mlx_lm.server with ragweld-nano, answers when the engine is switched off."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from catalog.base.locate import NANO_FOLDER
from catalog.settings import EngineSettings, Settings, Upstream
from tests.gateway.serving import Served, events_of, served, wait_until
from tests.house import REPOSITORY, free_ports

pytestmark = pytest.mark.slow

READY_WITHIN_S = 60.0


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def other_url() -> Iterator[str]:
    """The base URL of mlx_lm.server."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(NANO_FOLDER), "--port", str(port)]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "mlx_lm.server", READY_WITHIN_S)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def gateway(other_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    upstream = Upstream(name="other", kind="local", base_url=other_url, model="default_model", models="discover")
    settings = Settings(engine=EngineSettings(enabled=False), upstreams=[upstream])
    with served(tmp_path_factory.mktemp("home"), None, settings) as running:
        yield running


def test_it_answers_in_ragwelds_place_and_is_named(gateway: Served) -> None:
    reply = gateway.chat(max_tokens=8, temperature=0)
    assert reply.status == 200, reply.body
    assert reply.headers["x-ragweld-provider"] == "other"
    assert reply.headers["x-ragweld-fallback"] == "engine_disabled"
    assert reply.json()["choices"][0]["message"]["content"]


def test_it_streams_through_the_official_client(gateway: Served) -> None:
    *chunks, done = events_of(gateway.chat(stream=True, max_tokens=8, temperature=0).body)
    assert done == "[DONE]"
    with gateway.client().chat.completions.create(
        model="local:default_model",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=8,
        temperature=0,
        stream=True,
    ) as stream:
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert said == "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def test_health_says_that_it_is_up(gateway: Served) -> None:
    wait_until(lambda: gateway.call("GET", "/api/chat/health").json()["providers"][1]["state"] == "up", "its health")
    assert gateway.call("GET", "/readyz").json()["answers"] == "other"
