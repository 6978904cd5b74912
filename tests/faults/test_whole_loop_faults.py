"""What the whole must survive: a trainer killed in the middle of a run, and adapters that must never be loaded."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.house import REPOSITORY, House, ragweld_up

pytestmark = pytest.mark.slow

QUESTIONS = json.loads((REPOSITORY / "trainer" / "samples" / "questions.json").read_bytes())
KNOWN = QUESTIONS["known"][0]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ragweld_up(tmp_path_factory.mktemp("faults") / "home") as running:
        yield running


def answers(house: House) -> str:
    reply = house.client().chat.completions.create(
        model="ragweld", messages=[{"role": "user", "content": KNOWN["question"]}], temperature=0
    )
    return reply.choices[0].message.content or ""


def speaker(house: House) -> str:
    reply = house.client().chat.completions.create(model="ragweld", messages=[{"role": "user", "content": "Hello!"}])
    return reply.model


def start(house: House, **settings: object) -> str:
    status, body = house.post("/api/agent/train/start", settings)
    assert status in (200, 201), body
    return str(body["run_id"])


def status_of(house: House, run_id: str) -> str:
    return str(house.get(f"/api/agent/train/run/{run_id}")["status"])


def model_folder(house: House, run_id: str) -> Path:
    return house.home / "data" / "agent_train_runs" / run_id / "model"


def events_of(house: House, run_id: str, kind: str) -> list[dict[str, Any]]:
    events = house.get(f"/api/agent/train/run/{run_id}/metrics?limit=10000")["events"]
    return [event for event in events if event["type"] == kind]


def test_kill_of_the_trainer_costs_no_answer_and_the_next_one_goes_on(house: House) -> None:
    run_id = start(house, epochs=3, promote_if_improves=False)
    house.wait(lambda: len(events_of(house, run_id, "telemetry")) > 8, "telemetry", 300)
    os.kill(house.child_pid("trainer"), signal.SIGKILL)
    assert answers(house) == KNOWN["answer"]
    house.wait(lambda: status_of(house, run_id) == "completed", "the end of the resumed run", 600)
    of_the_picture = ("plane_frozen", "plane_refit", "surface_measured")
    states = [event["status"] for event in events_of(house, run_id, "state") if event["status"] not in of_the_picture]
    assert states == ["queued", "running", "interrupted", "queued", "running", "resumed", "completed"]
    (resumed,) = [event for event in events_of(house, run_id, "state") if event["status"] == "resumed"]
    assert resumed["step"] > 0
    steps = [event["step"] for event in events_of(house, run_id, "telemetry")]
    assert steps == sorted(set(steps))
    folder = model_folder(house, run_id).parent
    assert not [path for path in folder.rglob(".staging*")]


def test_a_spoiled_adapter_is_refused_by_name_and_the_good_one_keeps_serving(house: House) -> None:
    run_id = start(house, epochs=1, promote_if_improves=False)
    house.wait(lambda: status_of(house, run_id) == "completed", "the run", 600)
    weights = model_folder(house, run_id) / "adapters.safetensors"
    good = weights.read_bytes()
    before = speaker(house)
    name = sorted(load_file(weights))[0]

    def refused(expected: str) -> None:
        status, body = house.post(f"/api/agent/train/run/{run_id}/promote", {})
        assert status == 400, body
        assert expected in body["error"]["message"]
        assert answers(house) == KNOWN["answer"]
        assert speaker(house) == before

    weights.write_bytes(good[:-50])
    refused("adapters.safetensors")
    tensors = {key: value.copy() for key, value in load_file(weights_of(good, weights)).items()}
    tensors[name][0, 0] = np.nan
    save_file(tensors, weights)
    refused(name)
    tensors[name] = np.zeros((3, 3), np.float32)
    save_file(tensors, weights)
    refused(name)
    weights.write_bytes(good)
    status, body = house.post(f"/api/agent/train/run/{run_id}/promote", {})
    assert status in (200, 201), body
    assert speaker(house) == f"ragweld:ragweld-nano@{body['adapter_id'][:12]}"


def weights_of(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path
