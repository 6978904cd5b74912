"""`ragweld doctor`: what can run on this machine, what is missing, what to type.

Each question is one function that returns a `Check` and changes nothing; what it looks at is passed in, so that every
answer can be tried. `tests/deploy/test_doctor.py` tries them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catalog.base import blas, device, locate
from catalog.errors import Unavailable
from catalog.settings import Loaded, Settings, Upstream
from deploy import neighbours, ports
from deploy.neighbours import Neighbour

Status = Literal["ok", "better", "missing", "optional"]
"""`better`: works, and could work better; `missing`: must be mended; `optional`: only some things need it."""

OLDEST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 2 * 2**30
"""A run of a 1.7 B base keeps checkpoints of a few hundred megabytes."""
OPTIONAL_PROGRAMS = {
    "ffmpeg": (("ffmpeg",), "records training as a video"),
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "tests the page"),
}
INSTALLERS = {"darwin": "brew install", "linux": "apt-get install"}


@dataclass(frozen=True, slots=True)
class Check:
    """One answer. `fix` is what to type or to change; empty when there is nothing to do."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def run(loaded: Loaded, home: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Print every check of this machine; the exit code is 0 unless nothing can answer."""
    checks = checks_of(loaded, home, environ)
    for line in table(checks):
        say(line)
    return exit_code(checks)


def exit_code(checks: Sequence[Check]) -> int:
    """0 when a model or an upstream can answer on this machine."""
    return os.EX_UNAVAILABLE if any(c.name == "answers" and c.status == "missing" for c in checks) else os.EX_OK


def checks_of(loaded: Loaded, home: Path, environ: Mapping[str, str]) -> list[Check]:
    """Everything, in the order in which a person would mend it."""
    settings = loaded.settings
    base = base_check(settings.training.ragweld_agent_base_model, locate.choose)
    answering = asyncio.run(neighbours.answering())
    return [
        python_check(sys.version_info[:3]),
        device_check(device.current()),
        blas_check(blas.preload()),
        base,
        answers_check(base, settings, environ),
        home_check(home, shutil.disk_usage),
        port_check("gateway", settings.gateway.host, settings.gateway.port, "--port"),
        port_check("trainer", settings.trainer.metrics_host, settings.trainer.metrics_port, "--trainer-port"),
        *(neighbour_check(one, answering[one.name], shutil.which) for one in neighbours.NEIGHBOURS),
        *(program_check(name, shutil.which) for name in OPTIONAL_PROGRAMS),
        settings_check(loaded),
    ]


def python_check(version: Sequence[int]) -> Check:
    """Whether this Python is new enough."""
    shown = ".".join(map(str, version))
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return Check("python", "ok", shown)
    return Check("python", "missing", shown, "install Python 3.11 or newer and run deploy/up again")


def device_check(found: device.Device) -> Check:
    """What MLX computes on."""
    return Check("device", "ok", f"{found.kind}: {found.name}, {found.memory_bytes / 2**30:.0f} GiB")


def blas_check(found: blas.Blas) -> Check:
    """Whether matrix products on the CPU are fast."""
    return Check("blas", "ok" if found.fast else "better", found.name, found.hint)


def base_check(wanted: str, choose: Callable[[str], locate.BaseChoice]) -> Check:
    """Which base answers here, and how to get the wanted one."""
    try:
        choice = choose(wanted)
    except Unavailable as error:
        return Check("base", "missing", error.message, error.hint)
    if choice.is_wanted:
        return Check("base", "ok", f"{choice.base}: {choice.reason}")
    detail = f"{choice.base} answers meanwhile; {wanted} is not here"
    return Check("base", "better", detail, locate.download_hint(wanted))


def answers_check(base: Check, settings: Settings, environ: Mapping[str, str]) -> Check:
    """Whether anybody at all can answer a chat."""
    able = [one.name for one in settings.upstreams if _may_answer(one, environ)]
    local = base.status != "missing" and settings.engine.enabled
    if not (local or able):
        return Check("answers", "missing", "no model here and no upstream with its key", base.fix or "add an upstream")
    speakers = (["this machine"] if local else []) + able
    return Check("answers", "ok", ", then ".join(speakers))


def _may_answer(upstream: Upstream, environ: Mapping[str, str]) -> bool:
    return upstream.enabled and (not upstream.api_key_env or bool(environ.get(upstream.api_key_env)))


def home_check(home: Path, disk_usage: Callable[[Path], tuple[int, int, int]]) -> Check:
    """Whether the home folder, or the nearest one above it that exists, can be written and has room."""
    folder = next(path for path in (home, *home.parents) if path.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return Check("home", "missing", f"{home} cannot be written", "choose another with --home or RAGWELD_HOME")
    free_bytes = disk_usage(folder)[2]
    detail = f"{home}, {free_bytes / 2**30:.0f} GiB free"
    if free_bytes < LEAST_FREE_BYTES:
        return Check("home", "better", detail, f"training wants {LEAST_FREE_BYTES / 2**30:.0f} GiB")
    return Check("home", "ok", detail)


def port_check(name: str, host: str, port: int, option: str) -> Check:
    """Whether `ragweld up` could listen there now; a ragweld that runs already is a good reason why not."""
    title = f"{name} port"
    if port == 0:
        return Check(title, "ok", f"any free one on {host}")
    try:
        free = ports.is_free(host, port)
    except OSError as error:
        return Check(title, "missing", f"{host}:{port}: {error.strerror}", f"choose another with {option}")
    if free:
        return Check(title, "ok", f"{host}:{port} is free")
    fix = f"fine if ragweld runs already; else choose another with {option}"
    return Check(title, "better", f"{host}:{port} is taken", fix)


def neighbour_check(one: Neighbour, answers: bool, which: Callable[[str], str | None]) -> Check:
    """Whether a neighbour answers, and how to start it."""
    name = one.name.lower()
    if answers:
        return Check(name, "ok", f"answers at {one.url}")
    fix = one.start if which(one.program) else f"{install(one.program)}, then {one.start}"
    return Check(name, "optional", f"does not answer at {one.url}", fix)


def program_check(name: str, which: Callable[[str], str | None]) -> Check:
    """Whether an optional program is on PATH."""
    programs, use = OPTIONAL_PROGRAMS[name]
    found = next((path for program in programs if (path := which(program))), None)
    return Check(name, "ok", found) if found else Check(name, "optional", f"not found; {use}", install(name))


def install(package: str, platform: str = sys.platform) -> str:
    """What to type for a package of the system."""
    return f"{INSTALLERS.get(platform, 'install')} {package}"


def settings_check(loaded: Loaded) -> Check:
    """Which settings are not the default, and who set them."""
    changed = [f"{key} ({source})" for key, source in loaded.sources.items() if source != "default"]
    return Check("settings", "ok", ", ".join(changed) or "all default")


def table(checks: Sequence[Check]) -> list[str]:
    """The checks as aligned lines, what to do under each."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<8}  {check.name:<{width}}  {check.detail}")
        if check.fix:
            lines.append(f"{'':<8}  {'':<{width}}  -> {check.fix}")
    return lines
