"""The `ragweld` command: quick help, options that reach the settings, one line for a fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.files import Claim
from catalog.settings import Settings, load
from deploy import cli

ROOT = Path(__file__).parents[2]
HEAVY = ("mlx", "litestar", "pydantic", "prometheus_client", "huggingface_hub", "asyncio")


@pytest.mark.parametrize("command", [(), ("up",), ("gateway",), ("trainer",), ("doctor",)])
def test_help_explains_itself(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"], {})
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ragweld")
    assert "--child" not in shown
    assert ("--home" in shown) == bool(command)


def test_help_states_the_defaults_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["up", "--help"], {})
    shown = " ".join(capsys.readouterr().out.split())
    settings = Settings()
    for default in (settings.gateway.host, settings.gateway.port, settings.trainer.metrics_port):
        assert f"(default: {default}" in shown


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from deploy import cli
cli.parser()
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"imported {{loaded}}" if loaded else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_module_is_the_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "deploy", "--version"], check=True, cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert shown.startswith("ragweld ")


def invocation(*argv: str, **environ: str) -> cli.Invocation:
    return cli._invocation(cli.parser().parse_args(argv), environ)


def test_options_win_over_environment_over_default(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert invocation("up", "--home", home).loaded.settings.gateway.port == 8000
    assert invocation("up", "--home", home, RAGWELD_GATEWAY_PORT="8500").loaded.settings.gateway.port == 8500
    options = ("--home", home, "--port", "9000", "--trainer-port", "9001")
    given = invocation("up", *options, RAGWELD_GATEWAY_PORT="8500").loaded
    assert (given.settings.gateway.port, given.settings.trainer.metrics_port) == (9000, 9001)
    assert given.sources["gateway.port"] == "command line"


def test_the_base_is_chosen_by_option(tmp_path: Path) -> None:
    loaded = invocation("gateway", "--home", str(tmp_path), "--base", "ragweld-nano").loaded
    assert loaded.settings.training.ragweld_agent_base_model == "ragweld-nano"


def test_home_is_option_then_environment_then_default(tmp_path: Path) -> None:
    assert invocation("up", "--home", str(tmp_path / "a"), RAGWELD_HOME=str(tmp_path / "b")).home == tmp_path / "a"
    assert invocation("up", RAGWELD_HOME=str(tmp_path / "b")).home == tmp_path / "b"
    assert invocation("up").home == Path.home() / ".ragweld"


def test_every_option_names_a_setting(tmp_path: Path) -> None:
    assert set(cli.SETTING_OF_OPTION.values()) <= load(tmp_path, {}).sources.keys()


def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--home", str(tmp_path), "--port", "70000"], {}) == os.EX_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert "gateway.port" in line
    assert "command line" in line


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    home = tmp_path / "file/home"
    assert cli.main(["up", "--home", str(home), "--port", "0", "--trainer-port", "0"], {}) == os.EX_CONFIG
    shown = capsys.readouterr()
    (line,) = (shown.out + shown.err).splitlines()
    assert str(home) in line
    assert "--home" in line


def test_a_home_that_cannot_be_written_to_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("a file in the folder's place")
    assert cli.main(["gateway", "--home", str(tmp_path), "--port", "0"], {}) == os.EX_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line and "--home" in line


def test_a_second_trainer_on_one_home_is_one_line_and_may_try_again(tmp_path: Path) -> None:
    from trainer.main import DEVICE_LOCK

    claim = Claim.take(tmp_path / DEVICE_LOCK)
    assert claim is not None
    command = [sys.executable, "-m", "deploy", "trainer", "--home", str(tmp_path), "--trainer-port", "0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    claim.release()
    assert result.returncode == os.EX_TEMPFAIL
    (line,) = result.stderr.splitlines()
    assert "already works in" in line
