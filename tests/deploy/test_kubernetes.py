"""The example for Kubernetes is in its form and agrees with itself, the command, and what the gateway answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import cli
from gateway.border import ALWAYS_ANSWERED
from gateway.metrics import GATEWAY_METRICS

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
MANIFEST = (FOLDER / "ragweld.yaml").read_text("utf-8")
LABELS = {"app": "ragweld"}


@pytest.fixture
def objects() -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST)}


def containers(objects: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in objects["Deployment"]["spec"]["template"]["spec"]["containers"]}


def test_every_object_has_its_kinds_version_and_the_name(objects: dict[str, Any]) -> None:
    versions = {kind: document["apiVersion"] for kind, document in objects.items()}
    assert versions == {
        "ConfigMap": "v1",
        "Deployment": "apps/v1",
        "Service": "v1",
        "NetworkPolicy": "networking.k8s.io/v1",
        "InferencePool": "inference.networking.k8s.io/v1",
        "HTTPRoute": "gateway.networking.k8s.io/v1",
    }
    assert {document["metadata"]["name"] for document in objects.values()} == {"ragweld", "ragweld-proxy"}


def test_the_pool_chooses_the_pods_and_asks_the_port_that_they_open(objects: dict[str, Any]) -> None:
    pool = objects["InferencePool"]["spec"]
    assert set(pool) == {"selector", "targetPorts", "endpointPickerRef"}
    assert objects["Deployment"]["spec"]["template"]["metadata"]["labels"] == LABELS
    for selector in (pool["selector"], objects["Deployment"]["spec"]["selector"]):
        assert selector == {"matchLabels": LABELS}
    (port,) = containers(objects)["proxy"]["ports"]
    assert pool["targetPorts"] == [{"number": port["containerPort"]}]
    assert f"listen {port['containerPort']};" in objects["ConfigMap"]["data"]["default.conf"]
    (route,) = objects["HTTPRoute"]["spec"]["rules"]
    (backend,) = route["backendRefs"]
    assert backend == {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "ragweld"}


def test_the_gateway_listens_on_loopback_where_the_proxy_asks_it(objects: dict[str, Any]) -> None:
    asked = cli.parser().parse_args(containers(objects)["gateway"]["args"])
    assert (asked.command, asked.host) == ("gateway", "127.0.0.1")
    assert f"proxy_pass http://{asked.host}:{asked.port};" in objects["ConfigMap"]["data"]["default.conf"]


def test_probes_and_metrics_are_answered_whatever_the_host_header(objects: dict[str, Any]) -> None:
    proxy = containers(objects)["proxy"]
    asked = {proxy[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
    assert asked | {"/metrics"} == ALWAYS_ANSWERED


def test_every_volume_that_is_mounted_is_there(objects: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in objects["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for one in containers(objects).values() for mount in one["volumeMounts"]} == volumes


def test_the_names_that_it_promises_to_the_router_are_exported() -> None:
    promised = set(re.findall(r"vllm:\w+", MANIFEST))
    assert promised
    assert promised <= {spec.name for spec in GATEWAY_METRICS}


def test_the_image_installs_the_lock_and_runs_the_command() -> None:
    recipe = (FOLDER / "Containerfile").read_text("utf-8")
    assert "--require-hashes -r deploy/lock/run.txt" in recipe
    assert 'ENTRYPOINT ["ragweld"]' in recipe
