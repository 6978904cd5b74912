"""What is filmed: a ragweld of its own in a home of its own, and a Prometheus beside it where one is installed.

A fresh home, because the film begins with what the model does not know yet. Everything ends with the block.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import Unavailable
from deploy import ports, probe

HOST = "127.0.0.1"
READY_DEADLINE_S = 120.0
STOP_DEADLINE_S = 40.0
POLL_S = 0.2
LOG_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the house answers; `prometheus_url` is None where Prometheus is not installed."""

    url: str
    prometheus_url: str | None


@contextmanager
def stage(folder: Path, base: str) -> Iterator[Stage]:
    """Start everything, wait until it answers, end it with the block. Raises Unavailable with the log's end."""
    gateway, trainer, prometheus = (ports.free_port(HOST) for _ in range(3))
    command = [sys.executable, "-P", "-m", "deploy", "up", "--home", str(folder / "home"), "--base", base]
    command += ["--port", str(gateway), "--trainer-port", str(trainer)]
    house = _running(command, folder / "ragweld.log", gateway, "/readyz")
    with house, _prometheus(folder, prometheus, gateway, trainer) as found:
        yield Stage(f"http://{HOST}:{gateway}", f"http://{HOST}:{prometheus}" if found else None)


@contextmanager
def _prometheus(folder: Path, port: int, gateway: int, trainer: int) -> Iterator[bool]:
    """Whether there is one, scraping both processes every second as the shipped configuration does."""
    program = shutil.which("prometheus")
    if program is None:
        yield False
        return
    config = folder / "prometheus.yml"
    config.write_text(_scraping({"ragweld-gateway": gateway, "ragweld-trainer": trainer}))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address={HOST}:{port}", "--log.level=warn"]
    with _running(command, folder / "prometheus.log", port, "/-/ready"):
        yield True


def _scraping(targets: dict[str, int]) -> str:
    lines = ["global: {scrape_interval: 1s, scrape_timeout: 1s}", "scrape_configs:"]
    for job, port in targets.items():
        lines.append(f'  - {{job_name: {job}, static_configs: [{{targets: ["{HOST}:{port}"]}}]}}')
    return "\n".join([*lines, ""])


@contextmanager
def _running(command: Sequence[str], log_path: Path, port: int, ready_path: str) -> Iterator[None]:
    """A process that answers 200 at `ready_path`, until the block ends."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait(lambda: _answers(process, port, ready_path), f"{command[0]} does not answer", log_path)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[bytes], port: int, path: str) -> bool:
    if process.poll() is not None:
        raise Unavailable(f"It ended with code {process.returncode} before it answered.")
    answer = asyncio.run(probe.get(HOST, port, path))
    return answer is not None and answer.status == 200


def _wait(condition: Callable[[], bool], complaint: str, log_path: Path) -> None:
    deadline_s = time.monotonic() + READY_DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise Unavailable(f"{complaint} within {READY_DEADLINE_S:g} s: {log_path.read_text()[-LOG_CHARS:]}")
        time.sleep(POLL_S)
