"""Adapters of a base that is not the default one: added, listed, asked for by name, activated and promoted by curl."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog import models
from catalog.adapters import content_id
from catalog.base import locate
from catalog.base.load import load_tokenizer
from catalog.ids import BaseId
from catalog.run_life import Ended
from catalog.settings import Settings
from gateway.main import engine as make_engine
from tests.gateway.engine.conftest import held
from tests.gateway.serving import Reply, Served, served, wait_until
from tests.gateway.test_run_stream import PLAN
from tests.tiny_base import write_adapter, write_base

FOLDER = "models/learning-agent-epstein-files-1"


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The default base and another, of one shape."""
    default, other = (write_base(tmp_path / f"base{seed}", seed=seed) for seed in (0, 1))
    monkeypatch.setattr(models, "known_bases", lambda training: {str(default), str(other)})
    return default, other


@pytest.fixture
def gateway(bases: tuple[Path, Path], tmp_path: Path) -> Iterator[Served]:
    settings = Settings.model_validate({"training": {"ragweld_agent_base_model": str(bases[0])}})
    with served(tmp_path / "home", make_engine(settings, tmp_path / "home"), settings) as running:
        wait_until(lambda: running.call("GET", "/readyz").status == 200, "readiness", 60)
        write_adapter(running.context.home / "models" / "theirs", bases[1], seed=4)
        yield running


def speaker(reply: Reply) -> str:
    assert reply.status == 200, reply.body
    return str(reply.json()["model"])


def test_an_adapter_of_another_base_is_added_and_answers_there_by_its_bare_name(
    gateway: Served, bases: tuple[Path, Path]
) -> None:
    body = {"path": "models/theirs", "base": str(bases[1]), "name": "theirs", "activate": True}
    added = gateway.call("POST", "/api/adapters", body).json()
    assert (added["base"], added["active"]) == (str(bases[1]), True)
    theirs = f"ragweld:{bases[1]}@{added['id'][:12]}"
    assert speaker(gateway.chat(max_tokens=1, model="theirs")) == theirs
    assert speaker(gateway.chat(max_tokens=1, model="ragweld@theirs")) == theirs
    assert speaker(gateway.chat(max_tokens=1, model=f"ragweld:{bases[1]}")) == theirs
    assert speaker(gateway.chat(max_tokens=1)) == f"ragweld:{bases[0]}@base"
    assert speaker(gateway.chat(max_tokens=1, model=f"ragweld:{bases[0]}@theirs")).startswith(f"ragweld:{bases[0]}@")
    listed = {one["id"]: (one["root"], one["parent"]) for one in gateway.call("GET", "/v1/models").json()["data"]}
    assert listed["theirs"] == listed[theirs] == (str(bases[1]), f"ragweld:{bases[1]}@base")
    assert not (gateway.context.home / FOLDER).exists(), "the watched folder is the default base's"


def test_an_adapter_that_is_kept_for_one_base_takes_no_name_for_another_and_is_told_how_to_be_asked(
    gateway: Served, bases: tuple[Path, Path]
) -> None:
    body = {"path": "models/theirs", "name": "ours"}
    kept = gateway.call("POST", "/api/adapters", body).json()["id"]
    refused = gateway.call("POST", "/api/adapters", body | {"base": str(bases[1]), "name": "theirs"})
    there = f"ragweld:{bases[1]}@{kept[:12]}"
    assert (refused.status, refused.error["code"]) == (409, "adapter_of_another_base")
    assert there in refused.error["message"]
    assert gateway.context.adapters.pointers().names == {"ours": kept}
    assert speaker(gateway.chat(max_tokens=1, model=there)) == there
    body = {"path": "models/theirs", "base": str(bases[1]), "activate": True}
    assert gateway.call("POST", "/api/adapters", body).status == 200
    assert speaker(gateway.chat(max_tokens=1, model=f"ragweld:{bases[1]}")) == there
    assert speaker(gateway.chat(max_tokens=1, model="ours")) == f"ragweld:{bases[0]}@{kept[:12]}"


def test_vllms_base_model_name_is_honoured(gateway: Served, bases: tuple[Path, Path]) -> None:
    body = {"lora_name": "theirs", "lora_path": "models/theirs", "base_model_name": f"ragweld:{bases[1]}"}
    assert gateway.call("POST", "/v1/load_lora_adapter", body).status == 200
    assert speaker(gateway.chat(max_tokens=1, model="theirs")).startswith(f"ragweld:{bases[1]}@")


def test_a_base_that_is_fetched_meanwhile_is_listed_before_it_was_asked_for(
    gateway: Served, bases: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "late"
    monkeypatch.setattr(models, "known_bases", lambda training: {str(bases[0]), str(late)})
    assert gateway.call("GET", f"/v1/models/ragweld:{late}").status == 404
    assert gateway.call("POST", "/api/engine/load", {"base": str(late)}).status == 404
    write_base(tmp_path / "fetched", seed=2).rename(late)
    assert gateway.call("GET", f"/v1/models/ragweld:{late}").json()["root"] == str(late)
    assert str(late) in {one["base"] for one in gateway.call("GET", "/api/engine").json()["bases"]}
    assert gateway.call("POST", "/api/engine/load", {"base": str(late)}).json()["loaded"] is True


def test_a_base_waits_for_memory_until_another_has_answered_and_not_for_ever(
    bases: tuple[Path, Path], tmp_path: Path
) -> None:
    nbytes = int(1.5 * 4 * locate.size_of(bases[0]).parameters)
    settings = Settings.model_validate(
        {
            "training": {"ragweld_agent_base_model": str(bases[0])},
            "engine": {"memory_bytes": nbytes, "memory_wait_s": 0.1},
        }
    )
    engine = make_engine(settings, tmp_path / "tight")
    with served(tmp_path / "tight", engine, settings) as running:
        wait_until(lambda: running.call("GET", "/readyz").status == 200, "readiness", 60)
        other = f"ragweld:{bases[1]}@base"
        ends = {str(token): -100 for token in load_tokenizer(bases[0]).eos_token_ids}
        asked: Any = {"model": "ragweld@base", "prompt": "Once", "max_tokens": 1900, "stream": True, "logit_bias": ends}
        with running.client().completions.create(**asked) as stream, held(engine, BaseId(str(bases[0]))):
            next(stream)
            refused = running.chat(max_tokens=1, model=other)
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.error["code"] == "overloaded"
        wait_until(lambda: running.chat(max_tokens=1, model=other).status == 200, "memory")


def test_a_run_of_another_base_is_promoted_there(gateway: Served, bases: tuple[Path, Path]) -> None:
    store = gateway.context.runs
    run = store.create("default", PLAN.model_copy(update={"base": str(bases[1])}))
    claimed = store.claim_next()
    assert claimed is not None
    store.apply(
        run.run_id,
        Ended("completed", adapter_id=content_id(write_adapter(store.model_folder(run.run_id), bases[1], 5))),
    )
    claimed.claim.release()
    promoted = gateway.call("POST", f"/api/agent/train/run/{run.run_id}/promote", {}).json()
    assert speaker(gateway.chat(max_tokens=1, model=f"ragweld:{bases[1]}")).endswith(promoted["adapter_id"][:12])
    assert speaker(gateway.chat(max_tokens=1)) == f"ragweld:{bases[0]}@base"
    assert not (gateway.context.home / FOLDER).exists()
    back = gateway.call("POST", "/api/adapters/rollback", {"base": str(bases[1])}).json()
    assert (back["base"], back["adapter_id"]) == (str(bases[1]), None)


@pytest.mark.parametrize("is_default", [False, True])
def test_an_automatic_rollback_refreshes_the_watched_folder_for_the_default_base_only(
    gateway: Served, bases: tuple[Path, Path], tmp_path: Path, is_default: bool
) -> None:
    here, base = gateway.context, BaseId(str(bases[not is_default]))
    good, bad = (here.adapters.put(write_adapter(tmp_path / str(seed), Path(base), seed)) for seed in (6, 7))
    here.adapters.move(base, good, expected=None, reason="first")
    here.adapters.move(base, bad, expected=good, reason="second")
    taking_back = here.probation.failed_trial(base, bad, "it babbles")
    asyncio.run_coroutine_threadsafe(taking_back, gateway.loop).result(60)
    assert here.adapters.active(base) == good
    assert (here.home / FOLDER).exists() == is_default
