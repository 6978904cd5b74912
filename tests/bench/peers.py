"""Servers as processes: our gateway, and peers in environments of their own at pinned versions."""

from __future__ import annotations

import ctypes.util
import os
import signal
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.house import REPOSITORY, free_ports

MLX_LM = "0.32.2"
MLX = "0.32.4"
LITELLM = "1.106.0"
START_DEADLINE_S = 180.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where its OpenAI base URL is and what its model is called."""

    name: str
    url: str
    model: str
    pid: int


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The python of an environment with exactly these packages, made once."""
    root = Path(os.environ.get("RAGWELD_BENCH_CACHE", "~/.cache/ragweld-bench")).expanduser() / name
    python = root / "bin" / "python"
    if not (root / "whole").exists():
        venv.create(root, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        (root / "whole").touch()
    return python


def mlx_lm_python() -> Path:
    """The pinned mlx-lm, as its users install it."""
    extra = "[cpu]" if sys.platform == "linux" else ""
    return environment(f"mlx-lm-{MLX_LM}", [f"mlx{extra}=={MLX}", f"mlx-lm[server]=={MLX_LM}"])


@contextmanager
def ragweld(base: Path, home: Path, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Our gateway alone, without a trainer."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "deploy", "gateway", "--home", str(home), "--port", str(port), "--base", str(base)]
    with process(command, f"http://127.0.0.1:{port}/readyz", environ) as pid:
        yield Server("ragweld", f"http://127.0.0.1:{port}/v1", "ragweld", pid)


@contextmanager
def mlx_lm_server(base: Path) -> Iterator[Server]:
    """mlx_lm.server of the pinned version with the same BLAS."""
    (port,) = free_ports(1)
    command = [str(mlx_lm_python()), "-m", "mlx_lm", "server", "--model", str(base), "--port", str(port)]
    with process(command, f"http://127.0.0.1:{port}/health", {"LD_PRELOAD": openblas()}) as pid:
        yield Server("mlx_lm.server", f"http://127.0.0.1:{port}/v1", str(base), pid)


@contextmanager
def litellm(config: Path) -> Iterator[Server]:
    """The litellm proxy of the pinned version."""
    (port,) = free_ports(1)
    python = environment(f"litellm-{LITELLM}", [f"litellm[proxy]=={LITELLM}", "prometheus-client"])
    command = [str(python.with_name("litellm")), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "true", "NO_PROXY": "127.0.0.1"}
    with process(command, f"http://127.0.0.1:{port}/health/liveliness", environ) as pid:
        yield Server("litellm", f"http://127.0.0.1:{port}/v1", "mock", pid)


def cpu_s(group: int) -> float:
    """User and system CPU of every process of a process group."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def openblas() -> str:
    """What LD_PRELOAD needs for a fast BLAS; empty where there is none."""
    return ctypes.util.find_library("openblas") or ""


@contextmanager
def process(command: Sequence[str], ready_url: str, environ: Mapping[str, str] | None) -> Iterator[int]:
    """Run a server in a process group of its own until the block ends; its id, once `ready_url` answers."""
    running = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(ready_url, running)
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{url} did not answer within {START_DEADLINE_S} s")
