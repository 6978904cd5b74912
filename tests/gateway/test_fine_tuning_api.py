"""OpenAI's fine-tuning jobs over real runs: what the official client asks for becomes a run, and every run is a job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from catalog.adapters import content_id
from catalog.run_life import Ended, Summary
from catalog.runs import ClaimedRun
from catalog.settings import Settings
from gateway.fine_tuning import micro_batch
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.gateway.serving import Served, served
from tests.gateway.test_files_api import rows
from tests.gateway.test_runs_api import write_adapter

STEP = 12


@pytest.fixture
def gateway(tmp_path: Path, engine: ScriptedEngine) -> Iterator[Served]:
    training = Settings().training.model_copy(update={"ragweld_agent_base_model": BASE})
    with served(tmp_path / "home", engine, Settings(training=training)) as running:
        yield running


@pytest.fixture
def file_id(gateway: Served) -> str:
    return gateway.client().files.create(file=("facts.jsonl", rows(20)), purpose="fine-tune").id


@pytest.fixture
def pairs_id(gateway: Served) -> str:
    pair = {
        "input": {"messages": [{"role": "user", "content": "How is it?"}]},
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }
    content = json.dumps(pair).encode() + b"\n"
    return gateway.client().files.create(file=("pairs.jsonl", content), purpose="fine-tune").id


def claim(gateway: Served) -> ClaimedRun:
    """The oldest job, running in the hands of the test."""
    claimed = gateway.context.runs.claim_next()
    assert claimed is not None
    return claimed


def complete(gateway: Served, value: float = 1.0) -> str:
    """The oldest job, completed as a trainer would."""
    runs, claimed = gateway.context.runs, claim(gateway)
    run_id = claimed.run.run_id
    folder = write_adapter(runs.model_folder(run_id), value)
    dataset = {"train_tokens": 900, "train_rows": 18}
    (folder / "manifest.json").write_text(json.dumps({"dataset": dataset, "best_step": STEP, "steps_done": 2 * STEP}))
    runs.append(run_id, "log", message="18 rows to learn from.")
    runs.append(run_id, "telemetry", step=1, loss=4.5, lr=1e-3)
    runs.append(run_id, "metrics", step=STEP, metrics={"train_loss": 0.5, "eval_loss": 0.25})
    runs.append(run_id, "error", message="A save failed.")
    gateway.context.adapters.put(folder, name=run_id)
    summary = Summary(primary_best=0.25, best_step=STEP)
    runs.apply(run_id, Ended("completed", summary=summary, adapter_id=content_id(folder)))
    claimed.claim.release()
    return run_id


def raw_job(gateway: Served, job_id: str) -> FineTuningJob:
    """A job, held to the official shape."""
    reply = gateway.call("GET", f"/v1/fine_tuning/jobs/{job_id}")
    assert reply.status == 200, reply.body
    assert set(reply.json()) == set(FineTuningJob.model_fields)
    return FineTuningJob.model_validate(reply.json(), strict=True)


def test_a_job_is_a_queued_run_with_everything_that_was_asked(gateway: Served, file_id: str) -> None:
    client = gateway.client()
    other = client.files.create(file=("held.jsonl", rows(4)), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=file_id,
        validation_file=other,
        suffix="harbour",
        seed=7,
        metadata={"team": "pilots"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 6, "learning_rate_multiplier": 0.5}},
        },
    )
    assert raw_job(gateway, job.id) == job
    assert (job.status, job.model, job.training_file, job.validation_file) == ("queued", BASE, file_id, other)
    assert (job.seed, job.metadata, job.fine_tuned_model, job.finished_at) == (7, {"team": "pilots"}, None, None)
    assert job.hyperparameters.model_dump() == {"n_epochs": 3, "batch_size": 6, "learning_rate_multiplier": 0.5}
    run = gateway.context.runs.get(job.id.removeprefix("ftjob-"))
    assert (run.plan.epochs, run.plan.batch_size, run.plan.grad_accum_steps) == (3, 3, 2)
    assert (run.plan.lr, run.plan.seed, run.plan.promote_if_improves) == (2e-3, 7, False)
    assert run.plan.dataset_path == str(gateway.context.files.content_path(file_id))
    assert run.plan.validation_path == str(gateway.context.files.content_path(other))


def test_auto_and_the_older_field_are_understood(gateway: Served, file_id: str) -> None:
    jobs = gateway.client().fine_tuning.jobs
    plain = jobs.create(model="ragweld", training_file=file_id)
    auto = jobs.create(
        model=f"ragweld:{BASE}",
        training_file=file_id,
        hyperparameters={"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
    )
    assert plain.hyperparameters == auto.hyperparameters
    assert plain.hyperparameters.learning_rate_multiplier == 1.0
    older = jobs.create(model=BASE, training_file=file_id, hyperparameters={"n_epochs": 2})
    assert older.hyperparameters.n_epochs == 2


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "gpt-4o-mini"}, "model"),
        ({"model": "mlx-community/Qwen3-1.7B-4bit"}, "model"),
        ({"model": f"ragweld:{BASE}@named"}, "model"),
        ({"training_file": "file-none"}, "training_file"),
        ({"training_file": "../../etc/passwd"}, "training_file"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"suffix": "a:b"}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
        ({"method": {"type": "dpo"}}, "method.type"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 1}}}},
            "method.supervised.hyperparameters.beta",
        ),
        ({"method": {"type": "supervised"}, "hyperparameters": {}}, "hyperparameters"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs.literal['auto']"),
        ({"hyperparameters": {"learning_rate_multiplier": 999}}, "hyperparameters"),
        ({"hyperparameters": {"lora_rank": 4}}, "hyperparameters.lora_rank"),
        ({"color": "red"}, "color"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(
    gateway: Served, file_id: str, fields: dict[str, Any], param: str
) -> None:
    body = {"model": BASE, "training_file": file_id, **fields}
    reply = gateway.call("POST", "/v1/fine_tuning/jobs", body)
    assert (reply.status, reply.error["param"]) == (
        404 if param == "model" and "@" not in body["model"] else 400,
        param,
    )
    assert gateway.context.runs.list() == []


def test_preference_pairs_are_learned_from_by_dpo(gateway: Served, pairs_id: str) -> None:
    client = gateway.client()
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=pairs_id,
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": 2}}},
    )
    found = raw_job(gateway, job.id).method
    assert found is not None and found.type == "dpo" and found.dpo is not None and found.dpo.hyperparameters is not None
    assert (found.dpo.hyperparameters.beta, found.dpo.hyperparameters.n_epochs) == (0.3, 2)
    plan = gateway.context.runs.get(job.id.removeprefix("ftjob-")).plan
    assert (plan.objective, plan.dpo_beta, plan.epochs) == ("dpo", 0.3, 2)
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model=BASE, training_file=pairs_id)
    assert caught.value.param == "method.type"


def test_a_multiplier_of_one_is_the_rate_that_auto_is_for_every_method(
    gateway: Served, file_id: str, pairs_id: str
) -> None:
    client = gateway.client()
    for method, rows_id in (("supervised", file_id), ("dpo", pairs_id)):
        found = []
        for multiplier in ("auto", 1.0):
            hyperparameters = {"learning_rate_multiplier": multiplier}
            job = client.fine_tuning.jobs.create(
                model=BASE,
                training_file=rows_id,
                method={"type": method, method: {"hyperparameters": hyperparameters}},  # type: ignore[typeddict-item,misc]
            )
            found.append(gateway.context.runs.get(job.id.removeprefix("ftjob-")).plan.lr)
        assert found[0] == found[1]


def test_a_file_of_another_purpose_is_no_training_file(gateway: Served) -> None:
    other = gateway.client().files.create(file=("notes.txt", b"notes"), purpose="user_data").id
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.client().fine_tuning.jobs.create(model=BASE, training_file=other)
    assert caught.value.param == "training_file"


def test_a_completed_job_names_its_model_which_is_listed_and_answers(
    gateway: Served, file_id: str, engine: ScriptedEngine
) -> None:
    client = gateway.client()
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id, suffix="harbour")
    run_id = complete(gateway)
    done = raw_job(gateway, job.id)
    assert (done.status, done.error) == ("succeeded", None)
    assert done.fine_tuned_model == f"ft:{BASE}:ragweld:harbour:{run_id}"
    assert done.finished_at is not None and done.finished_at >= done.created_at
    assert done.trained_tokens is not None and done.trained_tokens > 0
    listed = {model.id: model for model in client.models.list()}
    assert done.fine_tuned_model in listed
    assert client.models.retrieve(done.fine_tuned_model).id == done.fine_tuned_model


def test_a_succeeded_jobs_metrics_are_its_result_file(gateway: Served, file_id: str) -> None:
    client = gateway.client()
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id)
    assert client.fine_tuning.jobs.retrieve(job.id).result_files == []
    absent = f"file-results-{job.id.removeprefix('ftjob-')}"
    with pytest.raises(openai.NotFoundError):
        client.files.content(absent)
    complete(gateway)
    (result,) = raw_job(gateway, job.id).result_files
    table = client.files.content(result).read().decode()
    assert table == f"step,train_loss,valid_loss\n1,4.5,\n{STEP},,0.25\n"
    found = client.files.retrieve(result)
    assert (found.bytes, found.purpose, found.filename) == (len(table), "fine-tune-results", "step_metrics.csv")


def test_a_run_whose_file_is_spoiled_hides_no_other_model(gateway: Served, file_id: str) -> None:
    gateway.client().fine_tuning.jobs.create(model=BASE, training_file=file_id)
    run_id = complete(gateway)
    (gateway.context.runs.root / run_id / "run.json").write_text("{")
    assert run_id in {model.id for model in gateway.client().models.list()}


def test_a_fine_tuned_model_is_deleted_unless_it_is_active_and_not_rolled_back(gateway: Served, file_id: str) -> None:
    client, store = gateway.client(), gateway.context.adapters
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id)
    complete(gateway)
    name = raw_job(gateway, job.id).fine_tuned_model
    assert name is not None
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == name
    store.move(BASE, store.resolve(BASE, job.id.removeprefix("ftjob-")), expected=None, reason="test")
    with pytest.raises(openai.ConflictError) as caught:
        client.models.delete(name)
    assert caught.value.code == "adapter_in_use"
    store.rollback(BASE)
    gone = client.models.delete(name)
    assert (gone.id, gone.deleted, gone.object) == (name, True, "model")
    assert name not in {model.id for model in client.models.list()}
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.delete(name)
    assert missing.value.code == "model_not_found"


@pytest.mark.parametrize("model", ["ragweld", f"ragweld:{BASE}", f"{BASE}@base", "gpt-4o", "local:qwen"])
def test_what_is_no_adapter_cannot_be_deleted(gateway: Served, model: str) -> None:
    with pytest.raises(openai.BadRequestError):
        gateway.client().models.delete(model)


def test_a_run_begun_elsewhere_is_a_job_too(gateway: Served) -> None:
    path = gateway.context.home / "mine.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rows(20))
    started = gateway.call("POST", "/api/agent/train/start", {"dataset_path": "mine.jsonl"}).json()
    (job,) = list(gateway.client().fine_tuning.jobs.list())
    assert (job.id, job.training_file) == (f"ftjob-{started['run_id']}", str(path))
    assert raw_job(gateway, job.id).hyperparameters.learning_rate_multiplier is None


def test_a_run_may_be_given_an_uploaded_file_by_its_id(gateway: Served, file_id: str) -> None:
    started = gateway.call("POST", "/api/agent/train/start", {"dataset_path": file_id})
    assert started.status == 200, started.body
    assert raw_job(gateway, f"ftjob-{started.json()['run_id']}").training_file == file_id
    absent = gateway.call("POST", "/api/agent/train/start", {"dataset_path": f"file-{'0' * 24}"})
    assert (absent.status, absent.error["param"]) == (404, "file_id")


def test_jobs_are_listed_in_pages_and_by_metadata(gateway: Served, file_id: str) -> None:
    jobs = gateway.client().fine_tuning.jobs
    made = [
        jobs.create(model=BASE, training_file=file_id, metadata={"n": str(n % 2), "all": "yes"}).id for n in range(4)
    ]
    bare = jobs.create(model=BASE, training_file=file_id).id
    page = jobs.list(limit=2)
    assert page.has_more and len(page.data) == 2
    assert sorted(job.id for job in jobs.list(limit=2)) == sorted([*made, bare])
    assert {job.id for job in jobs.list(metadata={"n": "1", "all": "yes"})} == {made[1], made[3]}
    assert list(jobs.list(metadata={"n": "7"})) == []
    reply = gateway.call("GET", "/v1/fine_tuning/jobs?metadata=null")
    assert [job["id"] for job in reply.json()["data"]] == [bare]


def test_pause_resume_and_cancel_are_the_runs_own(gateway: Served, file_id: str) -> None:
    jobs = gateway.client().fine_tuning.jobs
    job = jobs.create(model=BASE, training_file=file_id)
    assert str(jobs.pause(job.id).status) == "paused"
    assert jobs.resume(job.id).status == "queued"
    cancelled = jobs.cancel(job.id)
    assert (cancelled.status, cancelled.fine_tuned_model) == ("cancelled", None)
    assert cancelled.finished_at is not None
    with pytest.raises(openai.ConflictError):
        jobs.resume(job.id)


def test_a_failed_job_says_why(gateway: Served, file_id: str) -> None:
    job = gateway.client().fine_tuning.jobs.create(model=BASE, training_file=file_id)
    claimed = claim(gateway)
    gateway.context.runs.apply(claimed.run.run_id, Ended("diverged", reason="The loss is not finite."))
    claimed.claim.release()
    failed = raw_job(gateway, job.id)
    assert failed.status == "failed" and failed.error is not None
    assert (failed.error.code, failed.error.message) == ("run_diverged", "The loss is not finite.")


def test_a_job_whose_trainer_died_is_queued_again(gateway: Served, file_id: str) -> None:
    job = gateway.client().fine_tuning.jobs.create(model=BASE, training_file=file_id)
    claimed = claim(gateway)
    assert raw_job(gateway, job.id).status == "running"
    claimed.claim.release()
    assert raw_job(gateway, job.id).status == "queued"


def test_a_running_job_is_estimated(gateway: Served, file_id: str) -> None:
    job = gateway.client().fine_tuning.jobs.create(model=BASE, training_file=file_id)
    claimed = claim(gateway)
    assert raw_job(gateway, job.id).estimated_finish is None
    gateway.context.runs.progress(claimed.run.run_id, step=1, steps=9, eta_s=60.0)
    running = raw_job(gateway, job.id)
    assert running.estimated_finish is not None and running.estimated_finish >= running.created_at + 60
    claimed.claim.release()


def test_events_come_newest_first_in_pages_with_openais_names(gateway: Served, file_id: str) -> None:
    client = gateway.client()
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id)
    complete(gateway)
    told = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    reply = gateway.call("GET", f"/v1/fine_tuning/jobs/{job.id}/events").json()
    strict = [FineTuningJobEvent.model_validate(event, strict=True) for event in reply["data"]]
    assert told == strict and not reply["has_more"]
    assert [event.message for event in told] == [
        "The job is completed.",
        "A save failed.",
        f"Step {STEP}: training loss=0.5, validation loss=0.25",
        "Step 1: training loss=4.5",
        "18 rows to learn from.",
        "The job is running.",
        "The job is queued.",
    ]
    assert [event.level for event in told[:2]] == ["info", "error"]
    assert told[2].data == {"step": STEP, "train_loss": 0.5, "full_valid_loss": 0.25}
    assert (told[2].type, told[4].type) == ("metrics", "message")


def test_a_page_of_events_reads_the_end_of_the_file_and_no_more(gateway: Served, file_id: str) -> None:
    client = gateway.client()
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id)
    run_id, runs = job.id.removeprefix("ftjob-"), gateway.context.runs
    with runs.metrics_path(run_id).open("ab") as file:
        file.write(b"what nobody can read\n" * 10_000)
    for step in range(9):
        runs.append(run_id, "telemetry", step=step, loss=1.0)
    page = client.fine_tuning.jobs.list_events(job.id, limit=4)
    more = client.fine_tuning.jobs.list_events(job.id, limit=4, after=page.data[-1].id)
    assert [event.data["step"] for event in [*page.data, *more.data]] == list(range(8, 0, -1))  # type: ignore[index, call-overload]
    assert page.has_more and more.has_more
    for foreign in ("ftevent-none-3", f"ftevent-{run_id}-3", f"ftevent-{run_id}-x", f"ftevent-{run_id}-{10**14}"):
        with pytest.raises(openai.BadRequestError):
            client.fine_tuning.jobs.list_events(job.id, after=foreign)


def test_the_checkpoint_that_can_answer_is_listed_and_resolves_to_the_adapter(gateway: Served, file_id: str) -> None:
    client = gateway.client()
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file_id, suffix="harbour")
    assert client.fine_tuning.jobs.checkpoints.list(job.id).data == []
    run_id = complete(gateway)
    reply = gateway.call("GET", f"/v1/fine_tuning/jobs/{job.id}/checkpoints").json()
    (found,) = [FineTuningJobCheckpoint.model_validate(one, strict=True) for one in reply["data"]]
    assert found.fine_tuned_model_checkpoint == f"ft:{BASE}:ragweld:harbour:{run_id}:ckpt-step-{STEP}"
    assert (found.step_number, found.metrics.full_valid_loss, found.fine_tuning_job_id) == (STEP, 0.25, job.id)
    store = gateway.context.adapters
    assert store.resolve(BASE, f"{run_id}.ckpt-step-{STEP}") == store.resolve(BASE, run_id)


@pytest.mark.parametrize("act", ["", "/events", "/checkpoints"])
@pytest.mark.parametrize("job_id", ["ftjob-none", "none", "ftjob-"])
def test_an_unknown_job_is_404(gateway: Served, job_id: str, act: str) -> None:
    reply = gateway.call("GET", f"/v1/fine_tuning/jobs/{job_id}{act}")
    assert reply.status in (400, 404), reply.body


@pytest.mark.parametrize("rows_of_a_step", [1, 2, 3, 7, 16, 127, 129, 251, 256])
@pytest.mark.parametrize("fitting", [1, 4])
def test_a_steps_rows_are_cut_evenly_and_within_bounds(rows_of_a_step: int, fitting: int) -> None:
    micro = micro_batch(rows_of_a_step, fitting)
    assert rows_of_a_step % micro == 0 and rows_of_a_step // micro <= 128
