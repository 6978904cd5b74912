"""The files that other programs read are in their form, and agree with each other and with the settings."""

from __future__ import annotations

import plistlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.settings import Settings
from deploy.neighbours import GRAFANA, PROMETHEUS
from tests.requirements_of_machine import need_promtool

DEPLOY = Path(__file__).parents[2] / "deploy"


def read_yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def test_promtool_accepts_the_scrape_configuration() -> None:
    subprocess.run([need_promtool(), "check", "config", DEPLOY / "prometheus/prometheus.yml"], check=True)


def test_prometheus_scrapes_where_both_processes_listen_by_default() -> None:
    scrapes = read_yaml("prometheus/prometheus.yml")["scrape_configs"]
    jobs = {scrape["job_name"]: scrape["static_configs"][0]["targets"] for scrape in scrapes}
    settings = Settings()
    assert jobs == {
        "ragweld-gateway": [f"{settings.gateway.host}:{settings.gateway.port}"],
        "ragweld-trainer": [f"{settings.trainer.metrics_host}:{settings.trainer.metrics_port}"],
    }


def test_the_data_source_is_the_prometheus_that_is_expected() -> None:
    (source,) = read_yaml("grafana/provisioning/datasources/ragweld.yaml")["datasources"]
    assert (source["uid"], source["type"], source["url"]) == ("ragweld-prometheus", "prometheus", PROMETHEUS.url)


def test_the_dashboards_name_that_data_source() -> None:
    for path in (DEPLOY.parent / "grafana/dashboards").glob("*.json"):
        uids = set(re.findall(r'"type":\s*"prometheus",\s*"uid":\s*"([^"]+)"', path.read_text("utf-8")))
        assert uids <= {"ragweld-prometheus"}, path


def test_compose_mounts_what_is_there_and_listens_on_loopback_only() -> None:
    services = read_yaml("compose.yaml")["services"]
    for service in services.values():
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), mount
    assert f"--web.listen-address=127.0.0.1:{PROMETHEUS.port}" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert GRAFANA.port == 3000


def test_grafana_loads_the_dashboards_that_compose_mounts() -> None:
    (provider,) = read_yaml("grafana/provisioning/dashboards/ragweld.yaml")["providers"]
    assert provider["options"]["path"] == "$RAGWELD_DASHBOARDS"
    grafana = read_yaml("compose.yaml")["services"]["grafana"]
    folder = grafana["environment"]["RAGWELD_DASHBOARDS"]
    assert f"../grafana/dashboards:{folder}:ro" in grafana["volumes"]


def test_the_launchd_agent_is_a_property_list_that_waits_for_the_stop() -> None:
    agent = plistlib.loads((DEPLOY / "launchd/ragweld.plist").read_bytes())
    assert agent["ProgramArguments"][-1].count('ragweld" up') == 1
    assert agent["ExitTimeOut"] > 30


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    # The program that it names is looked for; a stand-in lets the rest be judged.
    unit = (DEPLOY / "systemd/ragweld.service").read_text("utf-8").replace("%h/ragweld/.venv/bin/ragweld", "/bin/true")
    copy = tmp_path / "ragweld.service"
    copy.write_text(unit, "utf-8")
    result = subprocess.run([analyze, "--user", "verify", copy], capture_output=True, text=True, check=False)
    assert "ragweld.service" not in result.stderr, result.stderr
