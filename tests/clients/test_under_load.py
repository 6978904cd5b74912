"""Thirty-two chats at once while a model is trained beside them: everything is answered rightly and nothing dies.

One story with real processes, lived by a module fixture; each test holds it to one promise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from tests.house import REPOSITORY, House, ragweld_up

pytestmark = pytest.mark.slow

KNOWN = json.loads((REPOSITORY / "trainer" / "samples" / "questions.json").read_bytes())["known"]
CHATS = 32
ROUNDS = 3
CHILDREN = ("gateway", "trainer")
BEGUN_DEADLINE_S = 300.0
CANCEL_DEADLINE_S = 300.0


@dataclass
class Story:
    """What was seen on the way."""

    wrong: list[tuple[str, str]] = field(default_factory=list)
    answered: int = 0
    steps_before: int = 0
    status_after_chats: str = ""
    pids_before: dict[str, int] = field(default_factory=dict)
    pids_after: dict[str, int] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)


def ask(client: openai.OpenAI, question: str, *, streaming: bool) -> str:
    """The greedy answer, in one piece or in many; a status other than 200 is raised by the client."""
    fields: dict[str, Any] = {"model": "ragweld", "temperature": 0, "max_tokens": 60}
    messages: list[Any] = [{"role": "user", "content": question}]
    if not streaming:
        answer = client.chat.completions.create(messages=messages, **fields)
        return answer.choices[0].message.content or ""
    with client.chat.completions.create(messages=messages, stream=True, **fields) as stream:
        choices = [choice for chunk in stream for choice in chunk.choices]
    assert choices[-1].finish_reason == "stop"
    return "".join(choice.delta.content or "" for choice in choices)


def chat_rounds(client: openai.OpenAI, place: int) -> list[tuple[str, str]]:
    """Ask several known things one after another, plain and streaming in turn; what was wanted and what came."""
    asked = [(KNOWN[(place + n) % len(KNOWN)], (place + n) % 2 == 0) for n in range(ROUNDS)]
    return [(item["answer"], ask(client, item["question"], streaming=streaming)) for item, streaming in asked]


def steps_done(house: House, run_id: str) -> int:
    events = house.get(f"/api/agent/train/run/{run_id}/metrics?limit=10000")["events"]
    return sum(event["type"] == "telemetry" for event in events)


def pids(house: House) -> dict[str, int]:
    return {name: house.child_pid(name) for name in CHILDREN}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Live the story."""
    told = Story()
    with ragweld_up(tmp_path_factory.mktemp("load") / "home") as house:
        told.pids_before = pids(house)
        status, started = house.post("/api/agent/train/start", {"epochs": 50, "promote_if_improves": False})
        assert status in (200, 201), started
        run_id = started["run_id"]
        house.wait(lambda: steps_done(house, run_id) > 2, "telemetry", BEGUN_DEADLINE_S)
        told.steps_before = steps_done(house, run_id)
        with house.client() as client, ThreadPoolExecutor(CHATS) as threads:
            for answers in threads.map(lambda place: chat_rounds(client, place), range(CHATS)):
                told.answered += len(answers)
                told.wrong += [(wanted, got) for wanted, got in answers if wanted != got]
        told.status_after_chats = house.get(f"/api/agent/train/run/{run_id}")["status"]
        house.wait(lambda: steps_done(house, run_id) > told.steps_before, "next step", BEGUN_DEADLINE_S)
        told.pids_after = pids(house)
        status, cancelled = house.post(f"/api/agent/train/run/{run_id}/cancel", {})
        assert status == 200, cancelled
        told.run = house.wait(lambda: ended_run(house, run_id), "end of the run", CANCEL_DEADLINE_S)
        yield told


def ended_run(house: House, run_id: str) -> dict[str, Any] | None:
    run: dict[str, Any] = house.get(f"/api/agent/train/run/{run_id}")
    return None if run["status"] in ("queued", "running") else run


def test_every_chat_is_answered_rightly(story: Story) -> None:
    assert story.answered == CHATS * ROUNDS
    assert story.wrong == []


def test_the_model_was_trained_before_during_and_after(story: Story) -> None:
    assert story.steps_before > 2
    assert story.status_after_chats == "running"


def test_no_process_was_lost(story: Story) -> None:
    assert story.pids_after == story.pids_before


def test_the_run_is_cancelled_when_that_is_asked(story: Story) -> None:
    assert story.run["status"] == "cancelled"
