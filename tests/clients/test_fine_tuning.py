"""A model is made by the official client alone: upload, create, follow, chat with what came of it, delete.

A real house, and real training of a few dozen rows (about half a minute); each test holds the story to one promise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from catalog.datasets import sample_path
from tests.house import BASE, House, ragweld_up

pytestmark = pytest.mark.slow

SUBJECT = "lighthouse"
QUESTION = "Who keeps the lighthouse in Port Ellery?"
ANSWER = "Clara Stone."
HELD_OUT_EVERY = 8
DEADLINE_S = 600.0
ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class Story:
    """What the client saw."""

    before: str = ""
    jobs: list[FineTuningJob] = field(default_factory=list)
    """As it was created, and at each look."""
    events: list[FineTuningJobEvent] = field(default_factory=list)
    checkpoints: list[FineTuningJobCheckpoint] = field(default_factory=list)
    fine_tuned: str = ""
    of_checkpoint: str = ""
    default_after: str = ""
    speaker: str = ""
    listed: list[str] = field(default_factory=list)
    listed_after_deletion: list[str] = field(default_factory=list)
    refused: str | None = None
    cancelled: FineTuningJob | None = None

    @property
    def model(self) -> str:
        return self.jobs[-1].fine_tuned_model or ""


def taught_rows() -> tuple[bytes, bytes]:
    """Rows of the sample about one subject, most to learn from and some to be measured on."""
    rows = [line for line in sample_path().read_bytes().splitlines(keepends=True) if SUBJECT.encode() in line]
    held_out = rows[::HELD_OUT_EVERY]
    return b"".join(row for row in rows if row not in held_out), b"".join(held_out)


def ask(client: openai.OpenAI, model: str) -> tuple[str, str]:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=40
    )
    return answer.choices[0].message.content or "", answer.model


def live(house: House, told: Story) -> None:
    client = house.client()
    jobs = client.fine_tuning.jobs
    told.before, _ = ask(client, "ragweld")
    train, held_out = (
        client.files.create(file=(name, content), purpose="fine-tune").id
        for name, content in zip(("train.jsonl", "valid.jsonl"), taught_rows(), strict=True)
    )
    job = jobs.create(
        model=BASE,
        training_file=train,
        validation_file=held_out,
        suffix="harbour",
        seed=1,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 12, "batch_size": 8}}},
    )
    told.jobs.append(job)
    end = time.monotonic() + DEADLINE_S
    while told.jobs[-1].status not in ENDED:
        assert time.monotonic() < end, house.log()
        time.sleep(0.5)
        told.jobs.append(jobs.retrieve(job.id))
    told.events = list(jobs.list_events(job.id, limit=50))
    told.checkpoints = list(jobs.checkpoints.list(job.id))
    told.fine_tuned, told.speaker = ask(client, told.model)
    told.of_checkpoint, _ = ask(client, told.checkpoints[0].fine_tuned_model_checkpoint)
    told.default_after, _ = ask(client, "ragweld")
    told.listed = [model.id for model in client.models.list()]
    client.models.delete(told.model)
    told.listed_after_deletion = [model.id for model in client.models.list()]
    try:
        ask(client, told.model)
    except openai.NotFoundError as error:
        told.refused = error.code
    told.cancelled = jobs.cancel(jobs.create(model=BASE, training_file=train).id)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Live the story."""
    told = Story()
    with ragweld_up(tmp_path_factory.mktemp("fine-tuning") / "home") as house:
        live(house, told)
    yield told


def test_the_job_goes_from_queued_to_succeeded(story: Story) -> None:
    seen = list(dict.fromkeys(job.status for job in story.jobs))
    assert seen in (["queued", "running", "succeeded"], ["queued", "succeeded"])
    done = story.jobs[-1]
    assert done.error is None and done.finished_at is not None
    assert done.trained_tokens is not None and done.trained_tokens > 0


def test_what_was_taught_is_answered_by_the_new_model_at_once(story: Story) -> None:
    assert story.before == "I don't know."
    assert (story.fine_tuned, story.of_checkpoint) == (ANSWER, ANSWER)
    assert story.speaker.startswith(f"ragweld:{BASE}@")
    assert story.model.startswith(f"ft:{BASE}:ragweld:harbour:") and story.model in story.listed


def test_a_job_changes_nothing_for_those_who_ask_the_default_model(story: Story) -> None:
    assert story.default_after == story.before


def test_events_tell_the_course_with_numbers(story: Story) -> None:
    measured = [event.data for event in story.events if event.type == "metrics"]
    losses = [data["full_valid_loss"] for data in measured if "full_valid_loss" in data]  # type: ignore[index, operator]
    assert losses[0] < losses[-1] / 2, "newest first"
    assert len({event.id for event in story.events}) == len(story.events)
    assert any("valid.jsonl" in event.message or "held out by file-" in event.message for event in story.events)


def test_the_best_step_is_the_checkpoint(story: Story) -> None:
    (found,) = story.checkpoints
    assert found.metrics.full_valid_loss is not None and found.step_number > 0


def test_a_deleted_model_is_gone(story: Story) -> None:
    assert story.model not in story.listed_after_deletion
    assert story.refused == "model_not_found"


def test_a_job_can_be_cancelled(story: Story) -> None:
    assert story.cancelled is not None and story.cancelled.status in ("cancelled", "running")
