"""Chats are kept when they are asked to be, found, rated, erased and made into rows; a full disk fails no request."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from catalog import datasets
from catalog.chats import Chat, ChatStore
from catalog.errors import EngineFailed
from catalog.settings import ChatLogSettings, Settings, Upstream
from gateway.engine.requests import Finish
from tests.gateway.misbehaving import GOOD_ANSWER, GOOD_STREAM, STREAM_HEAD, answer, misbehaving
from tests.gateway.scripted import BASE, ScriptedEngine, words
from tests.gateway.serving import Reply, Served, events_of, served, wait_until

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who keeps the light?"}]
ANSWER = "Hello world."


def settings(keep: str = "asked") -> Settings:
    training = Settings().training.model_copy(update={"ragweld_agent_base_model": BASE})
    return Settings(training=training, chat_log=ChatLogSettings.model_validate({"keep": keep}))


@pytest.fixture
def gateway(tmp_path: Path, engine: ScriptedEngine) -> Iterator[Served]:
    with served(tmp_path / "home", engine, settings()) as running:
        yield running


def kept(gateway: Served) -> list[dict[str, Any]]:
    reply = gateway.call("GET", "/v1/chat/completions?limit=1000")
    assert reply.status == 200, reply.body
    return list(reply.json()["data"])


def ask(gateway: Served, **fields: Any) -> str:
    """The id of an answer that was asked to be kept."""
    reply = gateway.chat(**{"messages": ASKED, "store": True, **fields})
    assert reply.status == 200, reply.body
    return str(reply.json()["id"])


def rate(gateway: Served, chat_id: str, rating: str | None, **more: str) -> Reply:
    return gateway.call("POST", "/api/feedback", {"id": chat_id, "rating": rating, **more})


def make(gateway: Served, **fields: Any) -> tuple[dict[str, Any], list[Any]]:
    """The answer to a request for a dataset, and the rows of the file."""
    reply = gateway.call("POST", "/api/datasets/chats", fields)
    assert reply.status == 200, reply.body
    content = gateway.client().files.content(reply.json()["dataset_path"]).read()
    return reply.json(), [json.loads(line) for line in content.splitlines()]


def test_the_official_client_stores_lists_changes_and_deletes(gateway: Served) -> None:
    chats = gateway.client().chat.completions
    made = chats.create(
        model="ragweld",
        messages=ASKED,
        store=True,
        metadata={"team": "pilots"},
        temperature=0.5,
        seed=3,  # type: ignore[arg-type]
    )
    found = chats.retrieve(made.id)
    assert (found.id, found.choices, found.usage, found.model) == (made.id, made.choices, made.usage, made.model)
    assert [one.id for one in chats.list()] == [made.id]
    said = list(chats.messages.list(made.id))
    assert [one.content for one in said] == ["Be brief.", "Who keeps the light?"]
    assert [one.id for one in said] == [f"{made.id}-0", f"{made.id}-1"]
    changed = chats.update(made.id, metadata={"team": "bakers"})
    assert changed.id == made.id and [one.id for one in chats.list(metadata={"team": "bakers"})] == [made.id]
    gone = chats.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "chat.completion.deleted")
    with pytest.raises(openai.NotFoundError):
        chats.retrieve(made.id)


def test_a_stored_completion_has_the_official_shape_and_what_was_asked(gateway: Served) -> None:
    chat_id = ask(gateway, temperature=0.5, metadata={"a": "b"})
    (one,) = kept(gateway)
    assert ChatCompletion.model_validate({**one, "usage": one["usage"]}).id == chat_id
    assert (one["temperature"], one["metadata"], one["rating"]) == (0.5, {"a": "b"}, None)


def test_only_what_asks_to_be_kept_is_kept(gateway: Served) -> None:
    gateway.chat()
    gateway.chat(store=False)
    gateway.chat(store=None)
    assert kept(gateway) == []
    assert not (gateway.context.home / "data" / "chats").exists()


def test_all_are_kept_where_the_setting_says_so_but_for_those_that_say_no(
    tmp_path: Path, engine: ScriptedEngine
) -> None:
    with served(tmp_path / "home", engine, settings("all")) as gateway:
        first = gateway.chat().json()["id"]
        gateway.chat(store=False)
        assert [one["id"] for one in kept(gateway)] == [first]


def test_where_nothing_is_kept_asking_for_it_is_refused(tmp_path: Path, engine: ScriptedEngine) -> None:
    with served(tmp_path / "home", engine, settings("nothing")) as gateway:
        reply = gateway.chat(store=True)
        assert (reply.status, reply.error["param"]) == (400, "store")
        assert gateway.chat(store=False).status == 200
        assert kept(gateway) == []


def test_a_stream_is_kept_as_the_completion_that_it_was(gateway: Served, engine: ScriptedEngine) -> None:
    stream = gateway.client().chat.completions.create(model="ragweld", messages=ASKED, store=True, stream=True)  # type: ignore[call-overload]
    ids = {chunk.id for chunk in stream}
    (one,) = kept(gateway)
    assert {one["id"]} == ids
    assert one["choices"][0]["message"] == {"role": "assistant", "content": ANSWER}


def test_an_answer_that_breaks_off_is_not_kept(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("Hello", EngineFailed("It broke."))
    gateway.chat(messages=ASKED, store=True, stream=True)
    assert kept(gateway) == []
    assert gateway.metric("ragweld_chats_total", outcome="dropped") == 1


def test_an_upstreams_answer_is_kept_here_and_not_there(tmp_path: Path, engine: ScriptedEngine) -> None:
    with misbehaving() as other:
        other.steps = [answer(GOOD_ANSWER)]
        upstream = Upstream(name="there", base_url=other.base_url, model="m")
        with served(tmp_path / "home", engine, settings().model_copy(update={"upstreams": [upstream]})) as gateway:
            reply = gateway.chat(model="local:m", messages=ASKED, store=True, metadata={"a": "b"})
            assert reply.status == 200, reply.body
            assert [one["id"] for one in kept(gateway)] == [reply.json()["id"]]
            assert reply.headers["x-ragweld-provider"] == "there"
            (asked,) = other.asked
            assert "store" not in asked.json() and "metadata" not in asked.json()


@pytest.mark.parametrize("streams", [False, True])
def test_answers_under_one_id_of_an_upstream_are_kept_under_ids_of_ours(
    tmp_path: Path, engine: ScriptedEngine, streams: bool
) -> None:
    with misbehaving() as other:
        other.steps = [STREAM_HEAD + GOOD_STREAM, "close"] if streams else [answer(GOOD_ANSWER)]
        upstream = Upstream(name="there", base_url=other.base_url, model="m")
        with served(tmp_path / "home", engine, settings().model_copy(update={"upstreams": [upstream]})) as gateway:

            def said_id(**fields: Any) -> str:
                reply = gateway.chat(model="local:m", messages=ASKED, stream=streams, **fields)
                events = events_of(reply.body)[:-1] if streams else [reply.json()]
                (one,) = {event["id"] for event in events}
                return str(one)

            assert said_id() == "c"
            first, second = said_id(store=True), said_id(store=True)
            assert [one["id"] for one in kept(gateway)] == [first, second]
            assert rate(gateway, first, "good").status == 200
            assert [one["rating"] for one in kept(gateway)] == ["good", None]
            assert gateway.call("DELETE", f"/v1/chat/completions/{second}").status == 200
            assert [one["id"] for one in kept(gateway)] == [first]


class _Surprised(ChatStore):
    """Fails once as no disk does."""

    has_failed = False

    def append(self, chat: Chat, max_bytes: int) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise ValueError("nobody thought of it")
        super().append(chat, max_bytes)


def test_a_fault_that_nobody_thought_of_drops_one_chat_and_keeps_the_next(gateway: Served) -> None:
    gateway.context.recorder.store = _Surprised(gateway.context.home)
    ask(gateway)
    wait_until(lambda: gateway.metric("ragweld_chats_total", outcome="dropped") == 1, "a dropped chat")
    assert "chats are not kept: ValueError" in gateway.call("GET", "/readyz").json()["degraded"]
    second = ask(gateway)
    assert [one["id"] for one in kept(gateway)] == [second]
    assert "chats" not in gateway.call("GET", "/readyz").json().get("degraded", "")


def test_pages_and_filters(gateway: Served) -> None:
    ids = [ask(gateway, metadata={"n": str(number % 2)}) for number in range(5)]
    bare = ask(gateway)
    chats = gateway.client().chat.completions
    assert [one.id for one in chats.list(limit=2)] == [*ids, bare]
    assert [one.id for one in chats.list(order="desc", limit=4)] == [bare, *ids[::-1]]
    assert [one.id for one in chats.list(metadata={"n": "1"})] == [ids[1], ids[3]]
    assert list(chats.list(model="nobody")) == []
    assert [one["id"] for one in gateway.call("GET", "/v1/chat/completions?metadata=null").json()["data"]] == [bare]


def test_only_liked_answers_become_rows(gateway: Served) -> None:
    good, bad, unrated = (ask(gateway, metadata={"team": "a"}) for _ in range(3))
    assert rate(gateway, good, "good", comment="Right.").json() == {"ok": True, "id": good, "rating": "good"}
    assert rate(gateway, bad, "bad").status == 200
    made, rows = make(gateway)
    assert [row["id"] for row in rows] == [good]
    assert (made["rows"], made["not_rated_so"]) == (1, 2)
    assert rows[0]["messages"] == [*ASKED, {"role": "assistant", "content": ANSWER}]
    assert [row["id"] for row in make(gateway, rating="not_bad")[1]] == [good, unrated]
    assert len(make(gateway, rating="any", metadata={"team": "a"})[1]) == 3
    assert rate(gateway, good, None).status == 200
    reply = gateway.call("POST", "/api/datasets/chats", {})
    assert (reply.status, reply.error["code"]) == (400, "no_chats")


def test_what_was_said_before_is_read_and_only_the_answer_is_learned(gateway: Served) -> None:
    earlier = [*ASKED, {"role": "assistant", "content": "Clara."}, {"role": "user", "content": "And the inn?"}]
    ask(gateway, messages=earlier)
    made, (row,) = make(gateway, rating="any")
    assert [message.get("weight") for message in row["messages"]] == [None, None, 0, None, None]
    datasets.verify(gateway.context.files.content_path(made["dataset_path"]))


def test_a_cut_answer_and_several_at_once_are_no_rows(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("Hello", Finish("length", 7, 1, 0))
    ask(gateway)
    engine.script = words("Hello")
    ask(gateway, n=2)
    ask(gateway)
    made, rows = make(gateway, rating="any")
    assert (len(rows), made["unfinished"]) == (1, 2)


def test_calls_of_tools_become_rows(gateway: Served, engine: ScriptedEngine) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}]
    engine.script = words('<tool_call>{"name": "find", "arguments": {}}</tool_call>')
    ask(gateway, tools=tools)
    _, (row,) = make(gateway, rating="any")
    assert row["tools"] == tools
    assert row["messages"][-1]["tool_calls"][0]["function"]["name"] == "find"


def test_a_run_learns_from_the_file(gateway: Served) -> None:
    for number in range(3):
        ask(gateway, messages=[{"role": "user", "content": f"Question {number}?"}])
    made, _ = make(gateway, rating="any")
    job = gateway.client().fine_tuning.jobs.create(model=BASE, training_file=made["dataset_path"])
    assert job.status == "queued"
    started = gateway.call("POST", "/api/agent/train/start", {"dataset_path": made["dataset_path"]})
    assert started.status == 200, started.body


def test_a_full_disk_drops_the_chat_and_fails_no_request(gateway: Served) -> None:
    (gateway.context.home / "data").mkdir(parents=True, exist_ok=True)
    (gateway.context.home / "data" / "chats").write_bytes(b"in the way")
    assert gateway.chat(messages=ASKED, store=True).status == 200
    wait_until(lambda: gateway.metric("ragweld_chats_total", outcome="dropped") == 1, "a dropped chat")
    assert "chats are not kept" in gateway.call("GET", "/readyz").json()["degraded"]
    (gateway.context.home / "data" / "chats").unlink()
    ask(gateway)
    assert len(kept(gateway)) == 1
    assert gateway.metric("ragweld_chats_total", outcome="kept") == 1
    assert "chats" not in gateway.call("GET", "/readyz").json().get("degraded", "")


def test_what_waits_is_written_before_the_end(tmp_path: Path, engine: ScriptedEngine) -> None:
    with served(tmp_path / "home", engine, settings()) as gateway:
        ids = [ask(gateway) for _ in range(5)]
    with served(tmp_path / "home", engine, settings()) as gateway:
        assert [one["id"] for one in kept(gateway)] == ids


def test_chats_are_for_their_owner_alone(gateway: Served) -> None:
    ask(gateway)
    kept(gateway)
    (segment,) = (gateway.context.home / "data" / "chats").glob("*.jsonl")
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "chatcmpl-none", "rating": "good"}, 404),
        ({"id": "chatcmpl-none"}, 422),
        ({"id": "chatcmpl-none", "rating": "great"}, 422),
        ({"id": "chatcmpl-none", "rating": "bad", "comment": "x" * 3000}, 422),
    ],
)
def test_feedback_that_says_nothing_is_refused(gateway: Served, body: dict[str, Any], status: int) -> None:
    assert gateway.call("POST", "/api/feedback", body).status == status


@pytest.mark.parametrize("metadata", [{str(n): "v" for n in range(17)}, {"k" * 65: "v"}, {"k": "v" * 513}])
def test_metadata_is_bounded_as_openai_bounds_it(gateway: Served, metadata: dict[str, str]) -> None:
    assert gateway.chat(store=True, metadata=metadata).status == 400
