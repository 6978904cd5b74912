"""The page's one stream: the list as it is and as it changes, and every event of the chosen runs once, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from catalog.adapters import AdapterStore
from catalog.ids import BaseId
from catalog.run_life import Ended
from catalog.runs import RunStore
from gateway import runs_stream
from tests.gateway.following import Follower
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import DEADLINE_S, Served, served, wait_until
from tests.gateway.test_run_stream import running


class Page(Follower):
    """Reads the stream of a page that follows some runs."""

    def __init__(self, gateway: Served, runs: list[str], last_event_id: str | None) -> None:
        super().__init__(gateway, f"/api/agent/train/stream?runs={','.join(runs)}", last_event_id)

    def of(self, kind: str) -> list[Any]:
        return [json.loads(block["data"]) for block in self.blocks if block["event"] == kind]

    @property
    def events(self) -> list[dict[str, str]]:
        """Blocks that have a place."""
        return [block for block in self.blocks if "id" in block]

    @property
    def steps(self) -> list[tuple[str, int]]:
        return [(event["run_id"], event["step"]) for event in self.of("telemetry")]

    @property
    def last_id(self) -> str:
        return self.events[-1]["id"]


@contextmanager
def reading(gateway: Served, *runs: str, last_event_id: str | None = None) -> Iterator[Page]:
    page = Page(gateway, list(runs), last_event_id)
    try:
        yield page
    finally:
        page.close()


def test_the_list_comes_whole_and_then_what_changes(gateway: Served, engine: ScriptedEngine) -> None:
    store = gateway.context.runs
    first = running(store)
    with reading(gateway) as page:
        wait_until(lambda: len(page.of("runs")) == 1, "the list")
        assert first.run.run_id in {run["run_id"] for run in page.of("runs")[0]["runs"]}
        second = running(store)
        wait_until(lambda: second.run.run_id in {run["run_id"] for run in page.of("run")}, "the new run")
        store.apply(first.run.run_id, Ended("failed", reason="the test says so"))
        wait_until(lambda: page.of("run")[-1]["reason"] == "the test says so", "its end")
        second.claim.release()  # what the kernel does when the trainer is killed
        wait_until(lambda: page.of("run")[-1]["status"] == "interrupted", "the death of its trainer")
        assert page.steps == [], "nobody asked for events"
    first.claim.release()


def test_a_moved_alias_is_told(gateway: Served, engine: ScriptedEngine) -> None:
    store = AdapterStore(gateway.context.home)
    with reading(gateway) as page:
        wait_until(lambda: len(page.of("aliases")) == 1, "the aliases")
        store.move(BaseId("ragweld-nano"), None, expected=None, reason="the test moves it")
        wait_until(lambda: len(page.of("aliases")) == 2, "the move")
        assert page.of("aliases")[-1]["bases"]["ragweld-nano"][-1]["reason"] == "the test moves it"


def test_cut_anywhere_in_two_runs_and_resumed_nothing_is_lost_or_doubled(
    gateway: Served, engine: ScriptedEngine
) -> None:
    store = gateway.context.runs
    claims = [running(store), running(store)]
    first, second = (claim.run.run_id for claim in claims)
    for step in range(8):
        store.append(first, "telemetry", step=step)
        store.append(second, "telemetry", step=100 + step)
    with reading(gateway, first, second) as whole:
        wait_until(lambda: len(whole.steps) == 16, "all events")
    told = whole.events
    for at, block in enumerate(told):
        with reading(gateway, first, second, last_event_id=block["id"]) as rest:
            wait_until(lambda rest=rest, at=at: len(rest.events) >= len(told) - at - 1, "the rest")  # type: ignore[misc]
            assert sorted(event["data"] for event in rest.events) == sorted(event["data"] for event in told[at + 1 :])
    for claim in claims:
        store.apply(claim.run.run_id, Ended("failed", reason="the test is over"))
        claim.claim.release()


def test_it_resumes_over_a_restart_of_the_gateway(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    claimed = running(store)
    run_id = claimed.run.run_id
    store.append(run_id, "telemetry", step=1)
    with served(tmp_path, ScriptedEngine()) as gateway, reading(gateway, run_id) as before:
        wait_until(lambda: before.steps == [(run_id, 1)], "the first")
        gateway.end()
        assert before.ended.wait(DEADLINE_S), "a draining gateway ends its streams"
    store.append(run_id, "telemetry", step=2)
    with (
        served(tmp_path, ScriptedEngine()) as gateway,
        reading(gateway, run_id, last_event_id=before.last_id) as after,
    ):
        store.append(run_id, "telemetry", step=3)
        wait_until(lambda: len(after.steps) == 2, "the rest")
    assert [step for _, step in before.steps + after.steps] == [1, 2, 3]
    claimed.claim.release()


def test_a_run_that_is_chosen_later_begins_at_its_beginning(gateway: Served, engine: ScriptedEngine) -> None:
    store = gateway.context.runs
    first, second = running(store), running(store)
    store.append(first.run.run_id, "telemetry", step=1)
    store.append(second.run.run_id, "telemetry", step=2)
    with reading(gateway, first.run.run_id) as page:
        wait_until(lambda: len(page.steps) == 1, "the first run")
    with reading(gateway, first.run.run_id, second.run.run_id, last_event_id=page.last_id) as both:
        wait_until(lambda: len(both.steps) == 1, "the second run")
        assert both.steps == [(second.run.run_id, 2)]
    for claim in (first, second):
        claim.claim.release()


@pytest.mark.parametrize("last_event_id", ["x", "none=3", "{run}=3", "{run}=x", "{run}=999999999"])
def test_an_id_that_is_none_is_400(gateway: Served, engine: ScriptedEngine, last_event_id: str) -> None:
    claimed = running(gateway.context.runs)
    path = f"/api/agent/train/stream?runs={claimed.run.run_id}"
    reply = gateway.call("GET", path, headers={"last-event-id": last_event_id.format(run=claimed.run.run_id)})
    assert (reply.status, reply.error["param"]) == (400, "last-event-id")
    claimed.claim.release()


def test_an_unknown_run_is_404_and_too_many_are_400(gateway: Served, engine: ScriptedEngine) -> None:
    assert gateway.call("GET", "/api/agent/train/stream?runs=none__20260101_000000").status == 404
    many = ",".join(["default__20260101_000000"] * (runs_stream.MAX_CHOSEN + 1))
    assert gateway.call("GET", f"/api/agent/train/stream?runs={many}").status == 400
