"""The two commands: plain sh, one line when Python is missing, and nothing to do the second time."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SH_SCRIPTS = ("deploy/up", "deploy/test", "deploy/environment.sh", "deploy/lock/make", "deploy/dashboards")
COMMANDS = ("deploy/up", "deploy/test", "deploy/lock/make", "deploy/dashboards", ".ci/run")


@pytest.mark.parametrize("script", SH_SCRIPTS)
def test_scripts_are_posix_sh(script: str) -> None:
    subprocess.run(["sh", "-n", ROOT / script], check=True)


def test_the_check_of_a_commit_is_bash() -> None:
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)


@pytest.mark.parametrize("script", [*SH_SCRIPTS, ".ci/run"])
def test_scripts_please_shellcheck(script: str) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("needs shellcheck: apt-get install shellcheck")
    # The sourced file names itself through a variable; its functions are used by whoever sources it.
    quiet = "SC1090,SC1091,SC2034,SC2148,SC2154"
    dialect = "bash" if script == ".ci/run" else "sh"
    subprocess.run([shellcheck, "--shell", dialect, "--exclude", quiet, ROOT / script], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_run(command: str) -> None:
    assert (ROOT / command).stat().st_mode & stat.S_IXUSR


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts and what they read, in a folder whose name has a space."""
    root = tmp_path / "my ragweld"
    (root / "deploy/lock").mkdir(parents=True)
    for name in ("pyproject.toml", "deploy/up", "deploy/environment.sh", "deploy/lock/run.txt", "deploy/lock/test.txt"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with what POSIX promises and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "printf", "mkdir", "cp", "chmod"):
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(program)
    return folder


def run_up(checkout: Path, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(checkout / "deploy/up"), *arguments]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o755)


def test_without_python_one_line_says_what_to_do(checkout: Path, bare_path: Path) -> None:
    program(bare_path / "python3.13", "#!/bin/sh\necho 'shim: not installed' >&2\nexit 127\n")
    program(bare_path / "python3", "#!/bin/sh\nexit 1\n")
    result = run_up(checkout, bare_path)
    assert result.returncode == os.EX_UNAVAILABLE
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "Python 3.11" in line
    assert "apt-get install python3-venv" in line


FAKE_PYTHON = """#!/bin/sh
# Records its arguments; `-m venv ... FOLDER` copies itself there, an editable install leaves the console command.
printf '%s\\n' "$*" >>"$RECORD"
here=$(dirname -- "$0")
for last; do :; done
case "$*" in
    "-m venv"*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
    *--editable*) printf '#!/bin/sh\\nprintf "ragweld %%s\\\\n" "$*"\\n' >"$here/ragweld" && chmod +x "$here/ragweld" ;;
esac
"""


def test_the_second_start_installs_nothing_and_a_changed_lock_does(checkout: Path, bare_path: Path) -> None:
    record = checkout / "record"
    program(bare_path / "python3", FAKE_PYTHON.replace("$RECORD", str(record)))

    first = run_up(checkout, bare_path, "--port", "9000")
    assert first.stdout == "ragweld up --port 9000\n"
    assert "installing the locked packages (the first time about a minute) ..." in first.stderr
    installs = [line for line in record.read_text("utf-8").splitlines() if " install " in line]
    assert "--only-binary :all: --require-hashes -r" in installs[0]
    assert "--no-deps --no-build-isolation --editable" in installs[1]

    second = run_up(checkout, bare_path)
    assert (second.stdout, second.stderr) == ("ragweld up\n", "")

    with (checkout / "deploy/lock/run.txt").open("a", encoding="utf-8") as lock:
        lock.write("# changed\n")
    assert "installing" in run_up(checkout, bare_path).stderr


def test_a_failed_install_starts_nothing_and_is_tried_again(checkout: Path, bare_path: Path) -> None:
    failing = FAKE_PYTHON.replace("*--editable*)", "*--require-hashes*) exit 3 ;; never)")
    program(bare_path / "python3", failing.replace("$RECORD", "/dev/null"))
    for _ in range(2):
        result = run_up(checkout, bare_path)
        assert (result.returncode, result.stdout) == (3, "")
        assert "installing" in result.stderr
