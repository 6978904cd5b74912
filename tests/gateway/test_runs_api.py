"""Runs by HTTP: recommended, queued after a check of their data, listed, cancelled, compared, promoted, undone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from catalog import settings as stored
from catalog.adapters import content_id
from catalog.run_life import Ended, Paused, Summary
from catalog.runs import RunStore
from catalog.settings import Settings
from gateway import training
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.gateway.serving import DEADLINE_S, Reply, Served, served, wait_until
from tests.gateway.test_run_stream import running

START = "/api/agent/train/start"
RUN = "/api/agent/train/run"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def gateway(home: Path, engine: ScriptedEngine) -> Iterator[Served]:
    """A gateway of its own for every test, whose default base is the one loaded."""
    training_settings = Settings().training.model_copy(update={"ragweld_agent_base_model": BASE})
    with served(home, engine, Settings(training=training_settings)) as running_gateway:
        yield running_gateway


def write_dataset(path: Path, rows: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    turns = [[{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}] for n in range(rows)]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))
    return path


def write_adapter(folder: Path, value: float) -> Path:
    folder.mkdir(parents=True)
    save_file({"q_proj.lora_a": np.full((4, 2), value, np.float32)}, folder / "adapters.safetensors")
    parameters = {"rank": 2, "scale": 2.0, "dropout": 0.0}
    (folder / "adapter_config.json").write_text(
        json.dumps({"num_layers": 1, "lora_parameters": parameters, "model": BASE})
    )
    return folder


def completed(store: RunStore, value: float, scope: str = "default") -> str:
    """A completed run whose adapter holds `value`."""
    claimed = running(store, scope)
    folder = write_adapter(store.model_folder(claimed.run.run_id), value)
    summary = Summary(primary_best=value, primary_final=value, best_step=1)
    store.apply(claimed.run.run_id, Ended("completed", summary=summary, adapter_id=content_id(folder)))
    claimed.claim.release()
    return claimed.run.run_id


def start(gateway: Served, **fields: Any) -> Reply:
    return gateway.call("POST", START, fields)


def test_a_start_is_queued_with_every_setting_resolved(gateway: Served, home: Path) -> None:
    path = write_dataset(home / "mine.jsonl")
    reply = start(gateway, scope="team", dataset_path="mine.jsonl", epochs=3, lr=0.01, seed=7, lora_rank=4)
    assert (reply.status, reply.json()["ok"]) == (200, True)
    run = gateway.call("GET", f"{RUN}/{reply.json()['run_id']}").json()
    assert (run["status"], run["scope"]) == ("queued", "team")
    assert reply.json()["run_id"].startswith("team__")
    plan = run["plan"]
    assert (plan["epochs"], plan["lr"], plan["seed"], plan["lora_rank"]) == (3, 0.01, 7, 4)
    assert (plan["dataset_path"], plan["base"]) == (str(path), BASE)
    assert plan["lora_target_modules"] == ["q_proj", "k_proj", "v_proj", "o_proj"]


def test_the_default_dataset_is_the_shipped_sample(gateway: Served) -> None:
    run_id = start(gateway).json()["run_id"]
    path = Path(gateway.call("GET", f"{RUN}/{run_id}").json()["plan"]["dataset_path"])
    assert path.name == "harbour.jsonl" and path.is_file()
    assert gateway.call("GET", "/api/agent/train/profile").json()["dataset_path"] == str(path)


@pytest.mark.parametrize("name", ["scope", "corpus_id", "repo_id"])
def test_the_scope_has_three_names(gateway: Served, name: str) -> None:
    assert start(gateway, **{name: "team"}).json()["run_id"].startswith("team__")


def test_settings_of_a_scope_are_its_own(gateway: Served, home: Path) -> None:
    write_dataset(home / "team.jsonl")
    changes = {"training.ragweld_agent_lora_rank": 2, "training.ragweld_agent_train_dataset_path": "team.jsonl"}
    stored.store(home, changes, scope="team")
    plan = gateway.call("GET", f"{RUN}/{start(gateway, scope='team').json()['run_id']}").json()["plan"]
    assert (plan["lora_rank"], Path(plan["dataset_path"]).name, plan["base"]) == (2, "team.jsonl", BASE)
    assert gateway.call("GET", "/api/agent/train/profile?scope=team").json()["rows"] == 20


def test_a_bad_dataset_is_422_with_every_defect_and_no_run(gateway: Served, home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "bad.jsonl").write_text('{"messages": []}\nnot json\n{"messages": [{"role": "robot", "content": "x"}]}\n')
    reply = start(gateway, dataset_path="bad.jsonl")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (422, "invalid_dataset", "dataset_path")
    defects = reply.error["defects"]
    assert [defect.split(":")[1] for defect in defects] == ["1", "2", "3"]
    assert all(defect in reply.error["message"] for defect in defects)
    assert gateway.call("GET", "/api/agent/train/runs").json() == {"runs": []}


def test_every_setting_of_the_steps_can_be_asked_for(gateway: Served) -> None:
    wanted = {"optimizer": "adafactor", "weight_decay": 0.0, "lr_schedule": "linear", "max_grad_norm": 0.5}
    wanted |= {"grad_checkpoint": True, "eval_interval_steps": 7, "early_stopping_patience": 2, "max_skipped_steps": 1}
    plan = gateway.call("GET", f"{RUN}/{start(gateway, **wanted).json()['run_id']}").json()["plan"]
    assert wanted.items() <= plan.items()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"optimizer": "sgd"}, "optimizer"),
        ({"weight_decay": 2}, "weight_decay"),
        ({"lr_schedule": "step"}, "lr_schedule"),
        ({"max_grad_norm": -1}, "max_grad_norm"),
        ({"grad_checkpoint": "perhaps"}, "grad_checkpoint"),
        ({"eval_interval_steps": -1}, "eval_interval_steps"),
        ({"early_stopping_patience": 1.5}, "early_stopping_patience"),
        ({"max_skipped_steps": 1001}, "max_skipped_steps"),
        ({"epochs": 0}, "epochs"),
        ({"lr": "fast"}, "lr"),
        ({"unheard": 1}, "unheard"),
        ({"scope": "a", "repo_id": "b"}, "scope"),
        ({"lora_rank": 1000}, "lora_rank"),
        ({"dataset_path": "/nowhere.jsonl"}, "dataset_path"),
    ],
)
def test_a_bad_start_is_422_with_its_field(gateway: Served, fields: dict[str, Any], param: str) -> None:
    reply = start(gateway, **fields)
    assert (reply.status, reply.error["param"]) == (422, param)


def test_a_scope_that_is_no_name_is_400(gateway: Served) -> None:
    assert start(gateway, scope="../evil").status == 400


def test_runs_are_listed_newest_first_by_scope(gateway: Served) -> None:
    ids = [start(gateway, scope=scope).json()["run_id"] for scope in ("a", "b", "a")]
    listed = [run["run_id"] for run in gateway.call("GET", "/api/agent/train/runs").json()["runs"]]
    assert set(listed) == set(ids) and listed[0] == ids[2]
    assert len(gateway.call("GET", "/api/agent/train/runs?scope=a").json()["runs"]) == 2
    assert len(gateway.call("GET", "/api/agent/train/runs?limit=1").json()["runs"]) == 1


def test_metrics_are_the_latest_events_oldest_first(gateway: Served) -> None:
    claimed = running(gateway.context.runs)
    for step in range(5):
        gateway.context.runs.append(claimed.run.run_id, "telemetry", step=step, loss=float("inf"))
    body = gateway.call("GET", f"{RUN}/{claimed.run.run_id}/metrics?limit=2").json()
    assert [event["step"] for event in body["events"]] == [3, 4]
    claimed.claim.release()


def test_cancel_of_a_queued_run_is_at_once_and_twice_is_no_harm(gateway: Served) -> None:
    run_id = start(gateway).json()["run_id"]
    assert gateway.call("POST", f"{RUN}/{run_id}/cancel").json()["status"] == "cancelled"
    assert gateway.call("POST", f"{RUN}/{run_id}/cancel", {}).status == 200


def test_cancel_of_a_running_run_is_asked_for(gateway: Served) -> None:
    claimed = running(gateway.context.runs)
    reply = gateway.call("POST", f"{RUN}/{claimed.run.run_id}/cancel").json()
    assert (reply["status"], reply["cancel_requested"]) == ("running", True)
    claimed.claim.release()


def test_cancel_of_a_completed_run_is_409_and_not_worth_a_retry(gateway: Served) -> None:
    reply = gateway.call("POST", f"{RUN}/{completed(gateway.context.runs, 1.0)}/cancel")
    assert (reply.status, reply.error["code"], reply.headers["x-should-retry"]) == (409, "run_completed", "false")


def test_a_running_run_is_paused_and_resumed(gateway: Served) -> None:
    runs = gateway.context.runs
    claimed = running(runs)
    run = f"{RUN}/{claimed.run.run_id}"
    reply = gateway.call("POST", f"{run}/pause").json()
    assert (reply["status"], reply["pause_requested"]) == ("running", True)
    runs.apply(claimed.run.run_id, Paused())
    claimed.claim.release()
    assert gateway.call("GET", run).json()["status"] == "paused"
    for _ in range(2):
        assert gateway.call("POST", f"{run}/resume").json()["status"] == "queued"


def test_an_interrupted_run_is_resumed(gateway: Served) -> None:
    claimed = running(gateway.context.runs)
    claimed.claim.release()  # what the kernel does when the trainer is killed
    assert gateway.call("POST", f"{RUN}/{claimed.run.run_id}/resume").json()["status"] == "queued"


@pytest.mark.parametrize("wish", ["pause", "resume"])
def test_a_completed_run_neither_pauses_nor_goes_on(gateway: Served, wish: str) -> None:
    reply = gateway.call("POST", f"{RUN}/{completed(gateway.context.runs, 1.0)}/{wish}")
    assert (reply.status, reply.error["code"], reply.headers["x-should-retry"]) == (409, "run_completed", "false")


def test_a_promotion_moves_the_alias_copies_the_folder_and_marks_the_run(gateway: Served, home: Path) -> None:
    run_id = completed(gateway.context.runs, 1.0)
    reply = gateway.call("POST", f"{RUN}/{run_id}/promote", {})
    assert reply.status == 200, reply.body
    adapter_id = reply.json()["adapter_id"]
    assert gateway.context.adapters.active(BASE) == adapter_id
    assert content_id(home / "models" / "learning-agent-epstein-files-1") == adapter_id
    run = gateway.call("GET", f"{RUN}/{run_id}").json()
    assert (run["promotion"]["promoted"], run["promotion"]["adapter_id"]) == (True, adapter_id)
    assert gateway.context.adapters.resolve(BASE, run_id) == adapter_id
    listed = {entry["id"]: entry for entry in gateway.call("GET", "/v1/models").json()["data"]}
    entry = listed[f"ragweld:ragweld-nano@{adapter_id[:12]}"]
    assert (entry["root"], entry["parent"]) == (BASE, "ragweld:ragweld-nano@base")


def test_a_second_promotion_of_the_same_is_no_second_move(gateway: Served) -> None:
    run_id = completed(gateway.context.runs, 1.0)
    for _ in range(2):
        assert gateway.call("POST", f"{RUN}/{run_id}/promote", {}).status == 200
    assert len(gateway.context.adapters.aliases().bases[BASE]) == 1


def test_what_is_not_completed_is_not_promoted(gateway: Served) -> None:
    reply = gateway.call("POST", f"{RUN}/{start(gateway).json()['run_id']}/promote")
    assert (reply.status, reply.error["code"]) == (409, "run_queued")


def test_a_spoiled_adapter_is_400_with_its_tensor_and_nothing_moves(gateway: Served) -> None:
    run_id = completed(gateway.context.runs, 1.0)
    (gateway.context.runs.model_folder(run_id) / "spoiled").touch()
    reply = gateway.call("POST", f"{RUN}/{run_id}/promote", {})
    assert (reply.status, reply.error["param"]) == (400, "layers.0.q_proj.lora_a")
    assert gateway.context.adapters.active(BASE) is None


def test_without_an_engine_nothing_is_promoted_unchecked(gateway: Served, engine: ScriptedEngine) -> None:
    run_id = completed(gateway.context.runs, 1.0)
    engine.reason_not_ready = "the base is being loaded"
    assert gateway.call("POST", f"{RUN}/{run_id}/promote", {}).status == 503
    assert gateway.context.adapters.active(BASE) is None


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(gateway: Served, home: Path) -> None:
    here = gateway.context
    first, second = completed(here.runs, 1.0, "a"), completed(here.runs, 2.0, "b")
    wanted = [training.candidate(run_id, here.runs, here.adapters) for run_id in (first, second)]
    assert gateway.call("POST", f"{RUN}/{first}/promote", {}).status == 200
    with pytest.raises(training.Conflict, match="is now"):
        training.promote(wanted[1], content_id(wanted[1].folder), here.runs, here.adapters, home / "copy")
    assert here.adapters.active(BASE) == content_id(wanted[0].folder)


def test_a_rollback_walks_back_and_ends_with_409(gateway: Served, home: Path) -> None:
    first, second = completed(gateway.context.runs, 1.0, "a"), completed(gateway.context.runs, 2.0, "b")
    ids = [gateway.call("POST", f"{RUN}/{run_id}/promote", {}).json()["adapter_id"] for run_id in (first, second)]
    back = gateway.call("POST", "/api/adapters/rollback", {"base": BASE})
    assert (back.status, back.json()["adapter_id"]) == (200, ids[0])
    assert gateway.context.adapters.active(BASE) == ids[0]
    assert content_id(home / "models" / "learning-agent-epstein-files-1") == ids[0]
    reply = gateway.call("POST", "/api/adapters/rollback", {"base": "unheard"})
    assert (reply.status, reply.error["code"]) == (409, "no_history")


def test_a_diff_says_what_became_better(gateway: Served) -> None:
    baseline, current = completed(gateway.context.runs, 2.0), completed(gateway.context.runs, 1.5)
    body = {"baseline_run_id": baseline, "current_run_id": current}
    diff = gateway.call("POST", f"{RUN}/{current}/diff", body).json()
    assert (diff["compatible"], diff["delta_best"], diff["improved"]) == (True, -0.5, True)
    assert diff["delta_time_to_best_secs"] is None
    assert gateway.call("POST", f"{RUN}/{current}/diff", {**body, "baseline_run_id": "none"}).status == 404
    assert gateway.call("POST", f"{RUN}/{current}/diff", {}).status == 422


def write_pairs(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": f"q{n}", "chosen": "yes", "rejected": "no"} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_objective_and_its_weight_can_be_asked_for(gateway: Served, home: Path) -> None:
    body = {"base": BASE, "dataset_path": str(write_pairs(home / "pairs.jsonl")), "objective": "dpo", "dpo_beta": 0.3}
    started = gateway.call("POST", START, body).json()
    plan = gateway.call("GET", f"{RUN}/{started['run_id']}").json()["plan"]
    assert (plan["objective"], plan["dpo_beta"], plan["epochs"] > 1) == ("dpo", 0.3, True)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"pairs": True}, "objective", "Set objective to dpo or orpo"),
        ({"objective": "orpo"}, "objective", "Set objective to sft"),
        ({"pairs": True, "objective": "orpo", "dpo_beta": 0.1}, "dpo_beta", "counts only with the objective dpo"),
        ({"orpo_lambda": 0.1}, "orpo_lambda", "counts only with the objective orpo"),
    ],
)
def test_an_objective_that_does_not_fit_its_rows_is_400_with_what_to_set(
    gateway: Served, home: Path, fields: dict[str, Any], param: str, words: str
) -> None:
    own = dict(fields)
    if own.pop("pairs", False):
        own["dataset_path"] = str(write_pairs(home / "pairs.jsonl"))
    reply = gateway.call("POST", START, {"base": BASE, **own})
    assert (reply.status, reply.error["param"]) == (400, param), reply.body
    assert words in reply.error["message"]
    assert gateway.call("GET", "/api/agent/train/runs").json() == {"runs": []}


def test_one_run_is_verified_at_a_time_and_others_are_told_to_come_again(gateway: Served) -> None:
    path = f"{RUN}/{completed(gateway.context.runs, 1.0)}/verify"
    verifying = gateway.context.verifying
    asyncio.run_coroutine_threadsafe(verifying.acquire(), gateway.loop).result(DEADLINE_S)
    reply = gateway.call("GET", path)
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (429, "overloaded", "5")
    gateway.loop.call_soon_threadsafe(verifying.release)
    wait_until(lambda: gateway.call("GET", path).status == 200, "its turn")
    wait_until(lambda: not verifying.locked(), "its end")
