"""`ragweld keys` and `ragweld config` do from the shell what curl does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.audit import AdminLog
from catalog.keys import KeyRing, KeyStore
from catalog.settings import load
from deploy import cli

RANK = "training.ragweld_agent_lora_rank"
Shell = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs `ragweld ...` on a home of its own: exit code and every line said."""

    def run(*words: str, **environ: str) -> tuple[int, list[str]]:
        code = cli.main([*words, "--home", str(tmp_path)], environ)
        shown = capsys.readouterr()
        return code, (shown.out + shown.err).splitlines()

    return run


def test_a_key_is_shown_once_and_fits(shell: Shell, tmp_path: Path) -> None:
    code, (key, _) = shell("keys", "add", "laptop", "--scope", "chat,admin", "--requests-per-minute", "60")
    assert code == os.EX_OK
    found = KeyRing(KeyStore(tmp_path).known()).find(key)
    assert found is not None and found.scopes == ["chat", "admin"]
    _, (line,) = shell("keys", "list")
    assert line.startswith("laptop  chat,admin  60 requests/min") and key not in line
    assert shell("keys", "remove", "laptop") == (os.EX_OK, [])
    assert shell("keys", "list") == (os.EX_OK, [])
    assert [entry["what"] for entry in AdminLog(tmp_path).tail(9)] == ["keys add", "keys remove"]
    assert key not in AdminLog(tmp_path).path.read_text()


def test_what_cannot_be_done_is_one_line(shell: Shell) -> None:
    code, (line,) = shell("keys", "remove", "nobody")
    assert code and "nobody" in line
    code, (line,) = shell("config", "set", RANK, "1000")
    assert code == os.EX_CONFIG and RANK in line
    code, (line,) = shell("config", "set", "training.misspelt", "1")
    assert code == os.EX_CONFIG and "training.misspelt" in line


def test_a_setting_is_stored_shown_and_forgotten(shell: Shell, tmp_path: Path) -> None:
    assert shell("config", "set", RANK, "8") == (os.EX_OK, [])
    assert load(tmp_path, {}).settings.training.ragweld_agent_lora_rank == 8
    assert shell("config", "get", RANK) == (os.EX_OK, [f"{RANK} = 8  (file)"])
    shell("config", "set", RANK, "")
    assert shell("config", "get", RANK) == (os.EX_OK, [f"{RANK} = 16  (default)"])


def test_a_scope_has_values_of_its_own(shell: Shell) -> None:
    shell("config", "set", RANK, "4", "--scope", "mine")
    assert shell("config", "get", RANK) == (os.EX_OK, [f"{RANK} = 16  (default)"])
    assert shell("config", "get", RANK, "--scope", "mine") == (os.EX_OK, [f"{RANK} = 4  (scope mine)"])


def test_what_is_one_for_all_scopes_is_not_stored_for_one(shell: Shell, tmp_path: Path) -> None:
    code, (line,) = shell("config", "set", "gateway.port", "9000", "--scope", "mine")
    assert code == os.EX_CONFIG and "gateway.port is one for all scopes" in line
    assert not (tmp_path / "data" / "settings.json").exists()


def test_what_counts_after_a_restart_says_so(shell: Shell) -> None:
    code, (line,) = shell("config", "set", "engine.max_rows", "4")
    assert code == os.EX_OK and "after a restart" in line


def test_a_setting_that_the_environment_overrules_says_so(shell: Shell) -> None:
    code, (line,) = shell("config", "set", RANK, "8", RAGWELD_AGENT_LORA_RANK="32")
    assert code == os.EX_OK and "RAGWELD_AGENT_LORA_RANK" in line


def test_schema_and_environment_are_printed_whole(shell: Shell) -> None:
    _, lines = shell("config", "schema")
    routing = json.loads("\n".join(lines))["$defs"]["RoutingSettings"]["properties"]
    assert (routing["strict"]["x-env"], routing["strict"]["x-effective"]) == ("RAGWELD_ROUTING_STRICT", "now")
    _, lines = shell("config", "env")
    assert "RAGWELD_AGENT_LORA_RANK=16" in lines
    shell("config", "set", RANK, "4", "--scope", "mine")
    assert "RAGWELD_AGENT_LORA_RANK=4" in shell("config", "env", "--scope", "mine")[1]
