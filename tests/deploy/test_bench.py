"""`ragweld bench` against a served gateway, and its one line when there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.keys import KeyStore
from catalog.settings import GatewaySettings, Settings
from deploy import cli
from deploy.bench import table
from tests.gateway.scripted import ScriptedEngine, words
from tests.gateway.serving import Served, served


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    """A gateway that asks for keys."""
    engine = ScriptedEngine()
    engine.script = words("Paris", ".\n", "\x1b[2JReally.")
    with served(tmp_path, engine, Settings(gateway=GatewaySettings(require_keys=True))) as running:
        yield running


def bench(gateway: Served, capsys: pytest.CaptureFixture[str], *options: str, **environ: str) -> tuple[int, list[str]]:
    command = ["bench", "--home", str(gateway.context.home), "--url", gateway.url, *options]
    code = cli.main(command, environ)
    shown = capsys.readouterr()
    return code, (shown.out + shown.err).splitlines()


def test_a_table_of_models_and_their_answers(
    gateway: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = KeyStore(tmp_path).add("desk", ["admin"])
    gateway.context.file_watches[1].look()
    code, lines = bench(
        gateway, capsys, "--model", "ragweld", "--model", "nobody", "--prompt", "Capital?", RAGWELD_KEY=key
    )
    assert code == os.EX_OK, lines
    assert lines[0].split() == ["model", "answered", "latency", "s", "first", "token", "s", "tokens/s", "cost", "USD"]
    assert lines[1].split()[:2] == ["ragweld", "1/1"] and lines[1].endswith("0.000000")
    assert lines[2].split() == ["nobody", "0/1", "?", "?", "?", "?"]
    assert lines[4:6] == ["> Capital?", "  ragweld: Paris.  [2JReally."], "nothing of a model moves the terminal"
    assert "does not exist" in lines[6]


def test_without_its_key_the_line_says_what_to_set(gateway: Served, capsys: pytest.CaptureFixture[str]) -> None:
    code, (line,) = bench(gateway, capsys)
    assert code and "RAGWELD_KEY" in line


def test_without_a_gateway_it_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--home", str(tmp_path), "--url", "http://127.0.0.1:1"], {}) == os.EX_TEMPFAIL
    (line,) = capsys.readouterr().err.splitlines()
    assert "127.0.0.1:1" in line and "ragweld up" in line


def test_columns_stand_under_their_headings() -> None:
    one = {"model": "a" * 30, "answered": 1, "failed": 0, "latency_s": 1.0, "first_token_s": 0.5, "tokens_per_s": 9.0}
    lines = table({"standings": [{**one, "cost_usd": None}], "prompts": [], "answers": [], "id": "bench__1"})
    assert lines[0].index("answered") == lines[1].index("1/1")
