"""A real Prometheus for a test: its own process on a free port, scraping what it is told, gone when the block ends.

    with prometheus({"trainer": "127.0.0.1:8001"}, tmp_path) as server:
        server.wait_for("ragweld_train_step > 3", timeout_s=20)

Holds every wait to a deadline and says what Prometheus logged when one passes.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deploy.ports import free_port
from tests.requirements_of_machine import need_prometheus

READY_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
REQUEST_DEADLINE_S = 30.0
POLL_S = 0.1
LOG_TAIL_CHARS = 2000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Series:
    """One answer: labels (the metric's name as `__name__`) and points of (unix seconds, value), oldest first."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class QueryRefused(AssertionError):
    """Prometheus did not accept an expression."""


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A running server."""

    address: str
    log: Path

    def query(self, expr: str) -> list[Series]:
        """The instant query's series, each with one point."""
        return [Series(row["metric"], (_point(row["value"]),)) for row in self._ask("query", query=expr)]

    def stored(self, selector: str, back: str) -> list[Series]:
        """Every sample as it is stored, of the last `back`, for example `1h`."""
        answer = self._ask("query", query=f"{selector}[{back}]")
        return [Series(row["metric"], tuple(_point(value) for value in row["values"])) for row in answer]

    def query_range(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """The range query's series; times are unix seconds."""
        answer = self._ask("query_range", query=expr, start=start_s, end=end_s, step=step_s)
        return [Series(row["metric"], tuple(_point(value) for value in row["values"])) for row in answer]

    def numbers(self, expr: str, *, instant: bool, window_s: float = 60.0, step_s: float = 1.0) -> list[float]:
        """Every finite value that a panel would be given, now or over the last `window_s`."""
        now = time.time()
        series = self.query(expr) if instant else self.query_range(expr, now - window_s, now, step_s)
        return [value for one in series for _, value in one.points if math.isfinite(value)]

    def wait_for(self, expr: str, timeout_s: float) -> list[Series]:
        """The first non-empty answer; fails when there is none within `timeout_s`."""
        return self._wait(lambda: self.query(expr), f"an answer to {expr}", timeout_s)

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return once it answers; fails when it ended or takes too long."""

        def ready() -> bool:
            assert process.poll() is None, f"Prometheus ended with {process.returncode}:\n{self._log_tail()}"
            return self._is_ready()

        self._wait(ready, "Prometheus to be ready", READY_DEADLINE_S)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=REQUEST_DEADLINE_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _wait(self, probe: Callable[[], T], what: str, timeout_s: float) -> T:
        deadline = time.monotonic() + timeout_s
        while not (found := probe()):
            assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}; Prometheus says:\n{self._log_tail()}"
            time.sleep(POLL_S)
        return found

    def _ask(self, endpoint: str, **parameters: object) -> list[dict[str, Any]]:
        url = f"http://{self.address}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=REQUEST_DEADLINE_S) as answer:
                result = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise QueryRefused(f"{parameters['query']}: {error.read().decode()}") from error
        assert isinstance(result, list), f"{parameters['query']} is no vector: {result}"
        return result

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARS:]


@contextmanager
def prometheus(
    targets: Mapping[str, str], folder: Path, *, scrape_interval_s: float = 1.0
) -> Iterator[PrometheusServer]:
    """Run Prometheus over `targets`, job name to host:port, keeping its database, configuration and log in `folder`."""
    program = need_prometheus()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "prometheus.yml"
    configuration.write_text(json.dumps(_configuration(targets, scrape_interval_s)))
    server = PrometheusServer(f"127.0.0.1:{free_port('127.0.0.1')}", folder / "prometheus.log")
    command = [
        str(program),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={server.address}",
    ]
    with server.log.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as process:
        try:
            server.wait_until_ready(process)
            yield server
        finally:
            _stop(process)


def _configuration(targets: Mapping[str, str], scrape_interval_s: float) -> dict[str, Any]:
    """JSON is YAML too."""
    interval = f"{round(scrape_interval_s * 1000)}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()
        ],
    }


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _point(pair: tuple[float, str]) -> tuple[float, float]:
    at_s, value = pair
    return at_s, float(value)
