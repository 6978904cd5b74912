"""`deploy/dashboards` starts both programs with our files, says what is missing, and leaves nothing running.

Grafana cannot be installed on the build machines, so stand-ins note how they were called; `promtool` and
`tests/deploy/test_configuration.py` judge the files that they are given.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/dashboards"
STAND_IN = """#!{python}
import json, os, pathlib, signal, sys, time
note = pathlib.Path(os.environ["NOTES"]) / pathlib.Path(sys.argv[0]).name
note.with_suffix(".part").write_text(
    json.dumps({{"arguments": sys.argv[1:], "environ": dict(os.environ), "pid": os.getpid()}})
)
note.with_suffix(".part").rename(note)
if note.name == "prometheus":
    signal.pause()
end = time.monotonic() + 120
while not note.with_name("prometheus").exists() and time.monotonic() < end:
    time.sleep(0.01)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Stand-ins for both programs, Grafana's folder, and a place for notes."""
    for folder in ("bin", "notes", "share/conf"):
        (tmp_path / folder).mkdir(parents=True)
    # Nothing else of this machine is found, or an installed Prometheus would be.
    for tool in ("dirname", "mkdir"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    for name in ("prometheus", "grafana"):
        program = tmp_path / "bin" / name
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
    return tmp_path


def run(place: Path) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": str(place / "bin"),
        "RAGWELD_HOME": str(place / "home"),
        "GF_PATHS_HOME": str(place / "share"),
        "NOTES": str(place / "notes"),
    }
    return subprocess.run([SCRIPT], env=environ, capture_output=True, text=True, check=False, timeout=300)


def test_both_are_started_with_our_files_and_none_is_left(place: Path) -> None:
    ran = run(place)
    assert ran.returncode == 0, ran.stderr
    assert "http://127.0.0.1:3000" in ran.stdout
    prometheus, grafana = (json.loads((place / "notes" / name).read_text()) for name in ("prometheus", "grafana"))
    assert f"--config.file={ROOT}/deploy/prometheus/prometheus.yml" in prometheus["arguments"]
    assert "--web.listen-address=127.0.0.1:9090" in prometheus["arguments"]
    assert grafana["arguments"] == ["server", "--homepath", str(place / "share")]
    provisioning = Path(grafana["environ"]["GF_PATHS_PROVISIONING"])
    assert (provisioning / "datasources/ragweld.yaml").is_file()
    assert list(Path(grafana["environ"]["RAGWELD_DASHBOARDS"]).glob("*.json"))
    with pytest.raises(ProcessLookupError):
        os.kill(prometheus["pid"], 0)


def test_it_is_provisioned_as_in_the_containers(place: Path) -> None:
    run(place)
    environ = json.loads((place / "notes/grafana").read_text())["environ"]
    contained = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["grafana"]["environment"]
    named = {name: value for name, value in contained.items() if name != "RAGWELD_DASHBOARDS"}
    assert {name: environ[name] for name in named} == named


@pytest.mark.parametrize("missing", ["prometheus", "grafana"])
def test_a_missing_program_is_one_line(place: Path, missing: str) -> None:
    (place / "bin" / missing).unlink()
    ran = run(place)
    assert ran.returncode == os.EX_UNAVAILABLE
    assert ran.stderr.count("\n") == 1 and missing in ran.stderr
