"""`ragweld up` for real: both processes answer on ports of their own choice, and one SIGTERM ends all of it cleanly."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import probe

ROOT = Path(__file__).parents[2]
STOP_DEADLINE_S = 60.0
METRICS_ROW = re.compile(r"metrics\s+http://127\.0\.0\.1:(\d+)/metrics and http://127\.0\.0\.1:(\d+)/metrics")


def status_of(port: int, path: str) -> int | None:
    answer = asyncio.run(probe.get("127.0.0.1", port, path))
    return answer.status if answer else None


@pytest.mark.slow
def test_up_serves_both_and_one_sigterm_ends_all(tmp_path: Path) -> None:
    ports = ("--port", "0", "--trainer-port", "0")
    command = [sys.executable, "-m", "deploy", "up", "--home", str(tmp_path), "--base", "ragweld-nano", *ports]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as house:
        assert house.stdout is not None
        found = None
        for line in house.stdout:
            if found := METRICS_ROW.search(line):
                break
        assert found is not None, "it ended before it was ready"
        gateway_port, trainer_port = map(int, found.groups())
        assert status_of(gateway_port, "/readyz") == 200
        assert status_of(gateway_port, "/v1/models") == 200
        assert status_of(trainer_port, "/metrics") == 200
        house.send_signal(signal.SIGTERM)
        rest = house.stdout.read()
        assert house.wait(STOP_DEADLINE_S) == 0, rest
    assert rest.rstrip().endswith("stopped.")
    assert status_of(gateway_port, "/livez") is None
    assert status_of(trainer_port, "/metrics") is None
