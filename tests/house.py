"""A real ragweld for a test: `ragweld up` in its own process group on free ports with a home of its own.

    with ragweld_up(tmp_path) as house:
        house.client().chat.completions.create(...)

Gone when the block ends, whatever happened; on a failure its log is in the message.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from deploy.ports import free_port

REPOSITORY = Path(__file__).parents[1]
START_DEADLINE_S = 180.0
STOP_DEADLINE_S = 40.0
POLL_S = 0.1
BASE = "ragweld-nano"


@dataclass(frozen=True, slots=True)
class House:
    """A running ragweld."""

    home: Path
    gateway: str
    trainer: str
    process: subprocess.Popen[bytes]
    log_path: Path

    def client(self) -> openai.OpenAI:
        """The official client, as a user would make it."""
        return openai.OpenAI(base_url=f"http://{self.gateway}/v1", api_key="none", max_retries=0, timeout=300)

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        return self.send("GET", path)[1]

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Status and JSON of a POST."""
        return self.send("POST", path, body)

    def send(self, method: str, path: str, body: object | None = None) -> tuple[int, Any]:
        """Status and JSON of one request."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.gateway}{path}", content, {"content-type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def wait(self, condition: Callable[[], Any], what: str, deadline_s: float) -> Any:
        """The first true value of `condition`; fails with the log's end after the deadline."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            assert self.process.poll() is None, f"ragweld ended with {self.process.returncode}:\n{self.log()}"
            value = condition()
            if value:
                return value
            time.sleep(POLL_S)
        raise AssertionError(f"no {what} within {deadline_s} s:\n{self.log()}")

    def is_ready(self) -> bool:
        """Whether the gateway can answer and the trainer is there."""
        return _answers(f"http://{self.gateway}/readyz") and _answers(f"http://{self.trainer}/metrics")

    def log(self) -> str:
        """The end of what it printed."""
        return self.log_path.read_text(errors="replace")[-6000:]

    def child_pid(self, name: str) -> int:
        """The process id of the supervisor's child `gateway` or `trainer`."""
        listing = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        (line,) = [line for line in listing.stdout.splitlines() if f" {name}" in line]
        return int(line.split()[0])


@contextmanager
def ragweld_up(home: Path, environ: Mapping[str, str] | None = None) -> Iterator[House]:
    """Start `ragweld up` and wait until it can answer."""
    gateway_port, trainer_port = free_ports(2)
    log_path = home.parent / f"{home.name}.log"
    command = [sys.executable, "-m", "deploy", "up", "--home", str(home), "--base", BASE]
    command += ["--port", str(gateway_port), "--trainer-port", str(trainer_port)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **(environ or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    house = House(home, f"127.0.0.1:{gateway_port}", f"127.0.0.1:{trainer_port}", process, log_path)
    try:
        house.wait(house.is_ready, "readiness", START_DEADLINE_S)
        yield house
    finally:
        _stop(process)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, nor takes by chance."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port("127.0.0.1"))
    return list(found)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30):
            return True
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def full_disk(most_bytes: int = 0) -> Iterator[None]:
    """A block in which the kernel lets no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
