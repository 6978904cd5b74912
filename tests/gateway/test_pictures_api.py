"""A run's path and surface by HTTP, as their files have them."""

from __future__ import annotations

from catalog import pictures
from catalog.runs import RunStore
from tests.catalog.test_pictures import PLANE, surface
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served
from tests.gateway.test_run_stream import running

RUN = "/api/agent/train/run"


def test_the_path_and_the_surface_are_answered(gateway: Served, engine: ScriptedEngine) -> None:
    store: RunStore = gateway.context.runs
    claimed = running(store)
    run_id = claimed.run.run_id
    empty = gateway.call("GET", f"{RUN}/{run_id}/surface")
    assert (empty.status, empty.error["code"]) == (404, "no_surface")
    assert gateway.call("GET", f"{RUN}/{run_id}/path").json() == {"run_id": run_id, "planes": []}
    folder = pictures.folder(store, run_id)
    pictures.write_plane(folder, PLANE)
    pictures.write_surface(folder, surface(run_id))
    assert gateway.call("GET", f"{RUN}/{run_id}/path").json()["planes"] == [PLANE.model_dump(mode="json")]
    assert gateway.call("GET", f"{RUN}/{run_id}/surface").json() == surface(run_id).model_dump(mode="json")
    claimed.claim.release()


def test_an_unknown_run_is_404(gateway: Served, engine: ScriptedEngine) -> None:
    for what in ("path", "surface"):
        reply = gateway.call("GET", f"{RUN}/default__20260101_000000/{what}")
        assert (reply.status, reply.error["code"]) == (404, "not_found")
