"""/metrics holds exactly the table, read as one snapshot."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from catalog.adapters import AdapterStore
from catalog.metrics import series_names
from catalog.settings import EngineSettings
from gateway.home_state import HomeState
from gateway.measure import Measures
from gateway.metrics import GATEWAY_METRICS
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served
from tests.promtool import complaints


def test_every_row_of_the_table_is_exported_and_nothing_else(gateway: Served, engine: ScriptedEngine) -> None:
    gateway.chat()
    text = gateway.call("GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    table = {spec.name.removesuffix("_total"): spec for spec in GATEWAY_METRICS}
    assert set(families) == set(table)
    samples = {sample.name for family in families.values() for sample in family.samples}
    assert samples <= series_names(GATEWAY_METRICS)
    for name, spec in table.items():
        assert (families[name].type, families[name].documentation) == (spec.kind, spec.help)


def test_labels_are_those_of_the_table(gateway: Served, engine: ScriptedEngine) -> None:
    gateway.chat()
    for family in gateway.context.measures.registry.collect():
        spec = next(spec for spec in GATEWAY_METRICS if spec.name.removesuffix("_total") == family.name)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(spec.labels)


def test_the_engine_is_read_when_it_is_scraped(gateway: Served, engine: ScriptedEngine) -> None:
    engine.counters.steps, engine.counters.rows = 41, 3
    assert gateway.metric("ragweld_engine_steps_total") == 41
    assert gateway.metric("ragweld_engine_rows") == 3
    assert gateway.metric("ragweld_engine_ready") == 1
    engine.reason_not_ready = "gone"
    assert gateway.metric("ragweld_engine_ready") == 0


def test_without_an_engine_it_is_not_ready_and_no_model_server(tmp_path: Path) -> None:
    measures = Measures(None, EngineSettings(), HomeState(tmp_path, AdapterStore(tmp_path)))
    assert measures.registry.get_sample_value("ragweld_engine_ready") == 0
    assert measures.registry.get_sample_value("vllm:num_requests_running") is None


def test_promtool_finds_no_fault_in_what_is_exported(gateway: Served, engine: ScriptedEngine) -> None:
    gateway.chat()
    assert complaints(gateway.call("GET", "/metrics").body) == []
