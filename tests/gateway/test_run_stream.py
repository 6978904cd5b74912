"""A run's event stream: nothing lost, nothing twice, an end, whatever is cut or restarted in between."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from catalog.plan import Plan
from catalog.run_life import Ended
from catalog.runs import ClaimedRun, RunStore
from gateway import run_stream
from tests.gateway.following import Follower
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import DEADLINE_S, Served, served, wait_until

PLAN = Plan(
    base="ragweld-nano", dataset_path="/data.jsonl", seed=0, epochs=1, batch_size=1, lr=1e-3, warmup_ratio=0,
    max_length=64, lora_rank=4, lora_alpha=8, lora_dropout=0, lora_target_modules=["q_proj"], grad_accum_steps=1,
    telemetry_interval_steps=1, promote_if_improves=False, promote_epsilon=0,
)  # fmt: skip


def running(store: RunStore, scope: str = "default") -> ClaimedRun:
    """A run that a trainer, here the test itself, has claimed."""
    store.create(scope, PLAN)
    claimed = store.claim_next()
    assert claimed is not None
    return claimed


class Reader(Follower):
    """Reads one run's stream."""

    def __init__(self, gateway: Served, run_id: str, last_event_id: str | None = None) -> None:
        super().__init__(gateway, f"/api/agent/train/run/{run_id}/stream", last_event_id)

    @property
    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        return [(block["id"], block["event"], json.loads(block["data"])) for block in self.blocks]

    @property
    def steps(self) -> list[int]:
        return [event["step"] for _, kind, event in self.events if kind == "telemetry"]


@contextmanager
def reading(gateway: Served, run_id: str, last_event_id: str | None = None) -> Iterator[Reader]:
    reader = Reader(gateway, run_id, last_event_id)
    try:
        yield reader
    finally:
        reader.close()


def test_stored_then_live_then_the_end(gateway: Served, engine: ScriptedEngine) -> None:
    store = gateway.context.runs
    claimed = running(store)
    run_id = claimed.run.run_id
    store.append(run_id, "telemetry", step=1, loss=2.0)
    with reading(gateway, run_id) as reader:
        assert reader.content_type == "text/event-stream"
        wait_until(lambda: reader.steps == [1], "what is stored")
        store.append(run_id, "telemetry", step=2, loss=float("nan"))
        wait_until(lambda: reader.steps == [1, 2], "what comes")
        store.apply(run_id, Ended("completed"))
        claimed.claim.release()
        assert reader.ended.wait(DEADLINE_S)
    kinds = [kind for _, kind, _ in reader.events]
    assert kinds == ["state", "state", "telemetry", "telemetry", "state"]
    assert reader.events[-1][2]["status"] == "completed"
    assert [int(event_id) for event_id, _, _ in reader.events][-1] == store.metrics_path(run_id).stat().st_size


def test_cut_anywhere_and_resumed_nothing_is_lost_or_doubled(gateway: Served, engine: ScriptedEngine) -> None:
    store = gateway.context.runs
    claimed = running(store)
    run_id = claimed.run.run_id
    for step in range(20):
        store.append(run_id, "telemetry", step=step)
    with reading(gateway, run_id) as whole:
        wait_until(lambda: len(whole.events) == 22, "all events")
    for event_id, _, _ in whole.events:
        at = [one for one, _, _ in whole.events].index(event_id)
        with reading(gateway, run_id, event_id) as rest:
            wait_until(lambda rest=rest, at=at: len(rest.events) == 21 - at, "the rest")  # type: ignore[misc]
            assert whole.events[: at + 1] + rest.events == whole.events
    store.apply(run_id, Ended("failed", reason="the test is over"))
    claimed.claim.release()


def test_it_resumes_over_a_restart_of_the_gateway(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    claimed = running(store)
    run_id = claimed.run.run_id
    store.append(run_id, "telemetry", step=1)
    with served(tmp_path, ScriptedEngine()) as gateway, reading(gateway, run_id) as before:
        wait_until(lambda: before.steps == [1], "the first")
        gateway.end()
        assert before.ended.wait(DEADLINE_S), "a draining gateway ends its run streams"
    store.append(run_id, "telemetry", step=2)
    with served(tmp_path, ScriptedEngine()) as gateway, reading(gateway, run_id, before.events[-1][0]) as after:
        wait_until(lambda: after.steps == [2], "the second")
        store.append(run_id, "telemetry", step=3)
        store.apply(run_id, Ended("cancelled"))
        claimed.claim.release()
        assert after.ended.wait(DEADLINE_S)
    assert before.steps + after.steps == [1, 2, 3]


def test_half_a_line_waits_for_its_end(gateway: Served, engine: ScriptedEngine) -> None:
    store = gateway.context.runs
    claimed = running(store)
    run_id = claimed.run.run_id
    line = b'{"type":"telemetry","ts":"x","run_id":"' + run_id.encode() + b'","step":7}\n'
    with reading(gateway, run_id) as reader, store.metrics_path(run_id).open("ab", buffering=0) as file:
        file.write(line[:20])
        time.sleep(2 * run_stream.POLL_S)  # nothing to wait for: the promise is that nothing comes
        assert reader.steps == []
        file.write(line[20:])
        wait_until(lambda: reader.steps == [7], "the line")
        store.apply(run_id, Ended("completed"))
        claimed.claim.release()


def test_a_run_whose_trainer_died_ends_its_stream(gateway: Served, engine: ScriptedEngine) -> None:
    claimed = running(gateway.context.runs)
    with reading(gateway, claimed.run.run_id) as reader:
        claimed.claim.release()  # what the kernel does when the trainer is killed
        assert reader.ended.wait(DEADLINE_S)
    assert reader.events[-1][2]["status"] == "interrupted"


def test_after_the_end_a_browser_is_told_to_stop(gateway: Served, engine: ScriptedEngine) -> None:
    claimed = running(gateway.context.runs)
    gateway.context.runs.apply(claimed.run.run_id, Ended("completed"))
    claimed.claim.release()
    with reading(gateway, claimed.run.run_id) as reader:
        assert reader.ended.wait(DEADLINE_S)
    path = f"/api/agent/train/run/{claimed.run.run_id}/stream"
    assert gateway.call("GET", path, headers={"last-event-id": reader.events[-1][0]}).status == 204


@pytest.mark.parametrize("last_event_id", ["x", "-1", "3", "999999999", "9" * 30, "1e3"])
def test_an_id_that_is_none_is_400(gateway: Served, engine: ScriptedEngine, last_event_id: str) -> None:
    claimed = running(gateway.context.runs)
    path = f"/api/agent/train/run/{claimed.run.run_id}/stream"
    reply = gateway.call("GET", path, headers={"last-event-id": last_event_id})
    assert (reply.status, reply.error["param"]) == (400, "last-event-id")
    claimed.claim.release()


def test_a_silent_run_is_heard_of(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    claimed = running(store)

    async def first_blocks() -> list[bytes]:
        blocks = run_stream.follow(store, claimed.run.run_id, 0, asyncio.Event(), heartbeat_s=0.01)
        async with aclosing(blocks):
            return [await anext(blocks) for _ in range(3)]

    stored, *beats = asyncio.run(first_blocks())
    assert stored.startswith(b"id: ")
    assert beats == [run_stream.HEARTBEAT] * 2
    claimed.claim.release()


def test_many_readers_see_the_same(gateway: Served, engine: ScriptedEngine) -> None:
    store = gateway.context.runs
    claimed = running(store)
    run_id = claimed.run.run_id
    readers = [Reader(gateway, run_id) for _ in range(8)]
    for step in range(50):
        store.append(run_id, "telemetry", step=step)
    store.apply(run_id, Ended("completed"))
    claimed.claim.release()
    for reader in readers:
        assert reader.ended.wait(DEADLINE_S)
        reader.close()
    assert [reader.steps for reader in readers] == [list(range(50))] * 8
