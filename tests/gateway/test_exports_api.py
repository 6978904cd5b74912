"""Exports by curl: into the home's `exports/` and nowhere else, a fused one by a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.adapters import AdapterStore
from catalog.run_life import Ended
from catalog.runs import RunStore
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Reply, Served, served
from tests.gateway.test_run_stream import PLAN
from tests.tiny_base import write_adapter, write_base


@pytest.fixture
def gateway(tmp_path: Path, engine: ScriptedEngine) -> Iterator[Served]:
    with served(tmp_path / "home", engine) as running:
        yield running


@pytest.fixture
def run_id(gateway: Served, tmp_path: Path) -> str:
    """A completed run on a tiny base."""
    base, runs = write_base(tmp_path / "base"), RunStore(gateway.context.home)
    run = runs.create("default", PLAN.model_copy(update={"base": str(base)}))
    claimed = runs.claim_next()
    assert claimed is not None
    folder = write_adapter(runs.model_folder(run.run_id), base, seed=3, size=0.2)
    AdapterStore(gateway.context.home).put(folder, name="pirate")
    runs.apply(run.run_id, Ended("completed"))
    claimed.claim.release()
    return str(run.run_id)


def export(gateway: Served, pointer: str, **fields: object) -> Reply:
    return gateway.call("POST", f"/api/adapters/{pointer}/export", fields)


@pytest.mark.parametrize(("kind", "file"), [("mlx-lm", "adapters.safetensors"), ("peft", "adapter_model.safetensors")])
def test_an_adapter_is_written_under_exports(gateway: Served, run_id: str, kind: str, file: str) -> None:
    for pointer in (run_id, "pirate"):
        reply = export(gateway, pointer, format=kind)
        assert reply.status == 200, reply.body
        folder = gateway.context.home / "exports" / f"{pointer}-{kind}"
        assert (reply.json()["path"], reply.json()["format"]) == (str(folder), kind)
        assert (folder / file).is_file()


def test_a_fused_model_comes_from_a_process_of_its_own(gateway: Served, run_id: str) -> None:
    reply = export(gateway, run_id, format="fused", name="mine")
    assert reply.status == 200, reply.body
    assert (gateway.context.home / "exports" / "mine" / "model.safetensors").is_file()
    assert "relative error" in reply.json()["note"]
    again = export(gateway, run_id, format="fused", name="mine")
    assert (again.status, again.error["param"]) == (400, "out")


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", "..", ".hidden"])
def test_a_name_that_could_be_a_path_is_refused(gateway: Served, run_id: str, name: str) -> None:
    reply = export(gateway, run_id, format="peft", name=name)
    assert (reply.status, reply.error["param"]) == (400, "name")


def test_what_is_not_there_is_404_and_a_strange_format_422(gateway: Served, run_id: str) -> None:
    assert export(gateway, "nothing", format="peft").status == 404
    assert export(gateway, run_id, format="gguf").status == 422
    assert export(gateway, run_id, format="peft", quantised=True).status == 400
