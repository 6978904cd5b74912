"""The session in the README works when pasted: its shell blocks run as they stand and say what the comments say."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.house import REPOSITORY, ragweld_up

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
ADDRESS = "127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def promised(script: str) -> list[str]:
    """What the comments behind `ask` lines say will be printed, with `...` for anything."""
    return [line.split("# ")[1].strip() for line in script.splitlines() if line.startswith("ask ") and "says:" in line]


def test_every_file_and_folder_named_exists() -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", README) + re.findall(r"\]\(([\w./]+)\)", README)
    own = [name for name in named if name.split("/")[0] in {path.name for path in REPOSITORY.iterdir()}]
    assert len(own) > 15
    assert [name for name in own if not (REPOSITORY / name).exists()] == []


@pytest.mark.slow
def test_the_session_works_when_pasted(tmp_path: Path) -> None:
    _, *session = blocks("sh")
    script = "\n".join(session)
    with ragweld_up(tmp_path / "home") as house:
        ran = subprocess.run(
            ["bash", "-euo", "pipefail"],
            check=False,
            input=script.replace(ADDRESS, house.gateway),
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert ran.returncode == 0, ran.stderr
        said = [line for line in ran.stdout.splitlines() if " says: " in line]
        wanted = promised(script)
        assert len(wanted) == 3
        for pattern in wanted:
            glob = pattern.replace("...", "*")
            assert any(fnmatchcase(line, glob) for line in said), f"{pattern!r} is not in {said}"
        assert "event: telemetry" in ran.stdout


@pytest.mark.slow
def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    with ragweld_up(tmp_path / "home") as house:
        namespace: dict[str, Any] = {}
        for example in blocks("python"):
            exec(compile(example.replace(ADDRESS, house.gateway), "README.md", "exec"), namespace)
        assert namespace["job"].status in ("queued", "running")
        namespace["client"].close()
