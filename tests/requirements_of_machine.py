"""What a test may need from the machine beside Python packages.

Each function returns the thing or ends the test: with CI=true in the environment it fails, because .ci/run installs
these, elsewhere it is skipped with the reason and what to type.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

OPENBLAS_NAMES = ("libopenblas.so.0", "libopenblas.0.dylib")
STUDIO = Path(__file__).parents[1] / "gateway" / "studio"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")


def missing(what: str, how: str, environ: Mapping[str, str] = os.environ) -> NoReturn:
    """End the running test for want of `what`; `how` is what to type."""
    reason = f"needs {what}: {how}"
    if environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need_prometheus() -> Path:
    """The `prometheus` server."""
    return _program(("prometheus",), "Prometheus", "apt-get install prometheus, or brew install prometheus")


def need_promtool() -> Path:
    """`promtool`, which checks configurations, rules and metrics; it comes with Prometheus."""
    return _program(("promtool",), "promtool", "apt-get install prometheus, or brew install prometheus")


def need_chromium() -> Path:
    """A Chromium that can be driven headless."""
    return _program(CHROMIUM_NAMES, "Chromium", "apt-get install chromium")


def need_ffmpeg() -> Path:
    """`ffmpeg`, with `ffprobe` beside it."""
    return _program(("ffmpeg",), "ffmpeg", "apt-get install ffmpeg, or brew install ffmpeg")


def need_studio_tools() -> Path:
    """`node`, with the packages of the page's source beside it."""
    node = _program(("node",), "node 20 or newer", "apt-get install nodejs npm, or brew install node")
    if not (STUDIO / "node_modules" / "esbuild").is_dir():
        missing("the packages of the page", "npm ci --prefix gateway/studio")
    return node


def need_node() -> Path:
    """Node with npm, which builds pages and runs Grafana's own code on the dashboards."""
    _program(("npm",), "npm", "apt-get install npm, or brew install node")
    return _program(("node",), "Node 20", "apt-get install nodejs, or brew install node")


def need_openblas() -> str:
    """The name under which the loader finds OpenBLAS."""
    for name in OPENBLAS_NAMES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    missing("OpenBLAS", "apt-get install libopenblas0-pthread")


def _program(names: tuple[str, ...], what: str, how: str) -> Path:
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    missing(what, how)
