"""One named promise for each failure that other adapter servers ship, kept through real HTTP with the official client.

The engine is the real one on a tiny random base: an answer of another adapter, of the bare base, of a stale prefix or
of another seed differs in its first few tokens.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from safetensors.numpy import load_file, save_file

from catalog.base.load import load_tokenizer
from catalog.ids import AdapterId, BaseId
from catalog.settings import Settings
from gateway.main import engine as make_engine
from tests.gateway.serving import Served, served, wait_until
from tests.tiny_base import write_adapter, write_base

START_DEADLINE_S = 60
LONG = "Tell me about the sea, the wind and the rain, and about the ships that come home in the evening."
KEYS = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
PROMPTS = ("hello", "what is the capital of France?", LONG)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees of one plain answer."""

    text: str
    model: str
    adapter: str
    """The header `x-ragweld-adapter`."""
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int


class Caller:
    """The official client, greedy but not repeating itself, with answers as long as they may be."""

    def __init__(self, client: openai.OpenAI, ends: dict[str, int]) -> None:
        self.client = client
        self.ends = ends

    def ask(self, said: str | list[dict[str, str]] = "hello", model: str = "ragweld", **fields: Any) -> Answer:
        raw = self.client.chat.completions.with_raw_response.create(**self._body(said, model, fields))
        completion = raw.parse()
        (choice,) = completion.choices
        assert completion.usage is not None and completion.usage.prompt_tokens_details is not None
        return Answer(
            text=getattr(choice.message, "reasoning_content", "") + (choice.message.content or ""),
            model=completion.model,
            adapter=raw.headers["x-ragweld-adapter"],
            finish_reason=choice.finish_reason,
            prompt_tokens=completion.usage.prompt_tokens,
            cached_tokens=completion.usage.prompt_tokens_details.cached_tokens or 0,
        )

    def open(self, said: str = "hello", model: str = "ragweld", **fields: Any) -> openai.Stream[Any]:
        """A stream whose first chunk is here."""
        stream: openai.Stream[Any] = self.client.chat.completions.create(stream=True, **self._body(said, model, fields))
        next(iter(stream))
        return stream

    def _body(self, said: str | list[dict[str, str]], model: str, fields: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
        plain = {"temperature": 0, "frequency_penalty": 2, "max_tokens": 24, "logit_bias": self.ends}
        return {"model": model, "messages": messages, **plain, **fields}


def rest_of(stream: openai.Stream[Any]) -> tuple[str, str]:
    """The text that is still to come, and the id that says it."""
    text, model = "", ""
    for chunk in stream:
        model = chunk.model
        for choice in chunk.choices:
            text += getattr(choice.delta, "reasoning_content", None) or choice.delta.content or ""
    return text, model


@contextmanager
def gateway_over(base: Path, home: Path, **engine: Any) -> Iterator[tuple[Served, Caller]]:
    """A gateway of the test's own with these engine settings, and who calls it."""
    settings = Settings.model_validate({"training": {"ragweld_agent_base_model": str(base)}, "engine": engine})
    ends = {str(token): -100 for token in load_tokenizer(base).eos_token_ids}
    with served(home, make_engine(settings, home), settings) as running:
        wait_until(lambda: running.call("GET", "/readyz").status == 200, "readiness", START_DEADLINE_S)
        with running.client() as client:
            yield running, Caller(client, ends)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def house(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Caller]]:
    with gateway_over(base, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def gateway(house: tuple[Served, Caller]) -> Served:
    return house[0]


@pytest.fixture
def caller(house: tuple[Served, Caller]) -> Caller:
    return house[1]


def load_adapter(gateway: Served, base: Path, name: str, seed: int, *, again: bool = False) -> AdapterId:
    """Load random weights under a name as vLLM's tooling does, and return their content id."""
    folder = write_adapter(gateway.context.home / "models" / f"{name}-{seed}", base, seed, keys=KEYS)
    body = {"lora_name": name, "lora_path": str(folder), "load_inplace": again}
    reply = gateway.call("POST", "/v1/load_lora_adapter", body)
    assert reply.status == 200, reply.body
    return gateway.context.adapters.resolve(BaseId(str(base)), name)


def move_alias(gateway: Served, base: Path, to: AdapterId | None) -> None:
    """What the trainer does when it promotes: no word to the gateway."""
    store, base_id = gateway.context.adapters, BaseId(str(base))
    store.move(base_id, to, expected=store.active(base_id), reason="test")


def test_a_reload_under_the_same_name_never_answers_from_the_old_weights_prefix(
    gateway: Served, caller: Caller, base: Path, tmp_path: Path
) -> None:
    old_id = load_adapter(gateway, base, "reloaded", seed=1)
    old = caller.ask(LONG, "reloaded")
    again = caller.ask(LONG, "reloaded")
    assert (again.text, again.adapter) == (old.text, old_id)
    assert again.cached_tokens >= old.prompt_tokens - 2, "the old prefix must be there for this to prove anything"
    new_id = load_adapter(gateway, base, "reloaded", seed=2, again=True)
    new = caller.ask(LONG, "reloaded")
    assert (new.adapter, new.cached_tokens) == (new_id, 0)
    with gateway_over(base, tmp_path / "other") as (other, other_caller):
        load_adapter(other, base, "fresh", seed=2)
        assert new.text == other_caller.ask(LONG, "fresh").text != old.text
    warm = caller.ask(LONG, "reloaded")
    assert (warm.text, warm.adapter) == (new.text, new_id)
    assert warm.cached_tokens >= new.prompt_tokens - 2


def test_an_open_stream_is_finished_by_the_adapter_that_began_it(gateway: Served, caller: Caller, base: Path) -> None:
    first, second = (load_adapter(gateway, base, f"open-{seed}", seed) for seed in (3, 4))
    alone = {adapter: rest_of(caller.open(model=f"ragweld@{adapter}", max_tokens=200)) for adapter in (first, second)}
    assert alone[first][0] != alone[second][0]
    move_alias(gateway, base, first)
    stream = caller.open(max_tokens=200)
    move_alias(gateway, base, second)
    during = caller.ask(max_tokens=200)
    assert during.adapter == second
    assert during.text == alone[second][0]
    assert rest_of(stream) == alone[first]
    move_alias(gateway, base, None)
    assert caller.ask(max_tokens=1).adapter == "base"


@pytest.mark.parametrize("form", ["{name}", "ragweld@{name}", "ragweld:{base}@{name}", "ragweld@{adapter}"])
def test_a_named_adapter_is_never_ignored(gateway: Served, caller: Caller, base: Path, form: str) -> None:
    adapter = load_adapter(gateway, base, "named", seed=5, again=True)
    bare = caller.ask(model="ragweld@base")
    answer = caller.ask(model=form.format(name="named", base=base, adapter=adapter[:12]))
    assert (answer.adapter, answer.model) == (adapter, f"ragweld:{base}@{adapter[:12]}")
    assert answer.text != bare.text
    assert (bare.adapter, bare.model) == ("base", f"ragweld:{base}@base")


@pytest.mark.parametrize("model", ["nobody", "ragweld@nobody", "ragweld:{base}@nobody", "unloaded", "ragweld@unloaded"])
def test_an_unknown_adapter_is_404_and_never_the_bases_answer(
    gateway: Served, caller: Caller, base: Path, model: str
) -> None:
    load_adapter(gateway, base, "unloaded", seed=6)
    assert gateway.call("POST", "/v1/unload_lora_adapter", {"lora_name": "unloaded"}).status == 200
    with pytest.raises(openai.NotFoundError) as refusal:
        caller.ask(model=model.format(base=base))
    assert refusal.value.param == "model"


SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "sure": {"type": "boolean"},
    },
    "required": ["colour", "count", "sure"],
    "additionalProperties": False,
}


def answer_format(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def test_a_response_format_is_never_ignored(caller: Caller) -> None:
    """The weights are random and the temperature 1: only the constraint can make this JSON."""
    fields: dict[str, Any] = {
        "response_format": answer_format(SCHEMA),
        "temperature": 1,
        "logit_bias": {},
        "max_tokens": 200,
    }
    answers = [caller.ask(seed=seed, **fields) for seed in range(8)]
    whole = [json.loads(answer.text) for answer in answers if answer.finish_reason == "stop"]
    assert len(whole) >= 4
    for value in whole:
        assert sorted(value) == ["colour", "count", "sure"]
        assert value["colour"] in SCHEMA["properties"]["colour"]["enum"]  # type: ignore[index]
        assert type(value["count"]) is int and 0 <= value["count"] <= 99
        assert type(value["sure"]) is bool
    assert len({answer.text for answer in answers}) > 1


@pytest.mark.parametrize("schema", [{"type": "sentence"}, {"type": "string", "pattern": "("}, {"$ref": "#/$defs/none"}])
def test_a_schema_that_cannot_be_followed_is_400(caller: Caller, schema: object) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        caller.ask(response_format=answer_format(schema))
    assert refusal.value.param == "response_format"


def test_seeded_and_unseeded_requests_share_one_batch_and_a_seed_says_what_it_says_alone(
    gateway: Served, caller: Caller
) -> None:
    seeds = (0, 1, 2, 3, None, None, None, None)

    def drawn(seed: int | None) -> str:
        return caller.ask(seed=seed, temperature=1, max_tokens=100).text

    def steps() -> float:
        return gateway.metric("ragweld_engine_steps_total")

    began = steps()
    alone = [drawn(seed) for seed in seeds]
    apart = steps() - began
    with ThreadPoolExecutor(len(seeds)) as threads:
        together_texts = list(threads.map(drawn, seeds))
    together = steps() - began - apart
    assert together_texts[:4] == alone[:4]
    assert len(set(together_texts)) == len(seeds)
    assert together < apart / 2, f"{together} steps together, {apart} one after another"


def test_clients_that_leave_are_decoded_no_further(gateway: Served, caller: Caller) -> None:
    def decoded() -> float:
        return gateway.metric("ragweld_engine_tokens_total", phase="decode")

    cancelled, before = gateway.metric("ragweld_engine_cancelled_total"), decoded()
    streams = [caller.open(max_tokens=1500) for _ in range(4)]
    assert gateway.metric("ragweld_engine_rows") == 4
    for stream in streams:
        stream.close()
    wait_until(lambda: gateway.metric("ragweld_engine_rows") == 0, "free batch")
    assert gateway.metric("ragweld_engine_cancelled_total") == cancelled + 4
    assert gateway.metric("ragweld_engine_queued_tokens") == 0
    stopped_at = decoded()
    assert stopped_at - before < 4 * 1400
    assert caller.ask(max_tokens=1).finish_reason == "length"
    assert decoded() == stopped_at + 1, "something was decoded for nobody"


def test_clients_that_leave_while_their_prompt_is_read_disturb_nobody(gateway: Served, caller: Caller) -> None:
    """Prompts of four chunks are given up after each of them, beside an open stream."""

    def count(name: str, **labels: str) -> float:
        return gateway.metric(f"ragweld_engine_{name}_total", **labels)

    alone = rest_of(caller.open(max_tokens=400))
    stream = caller.open(max_tokens=400)
    for chunks in (0, 1, 2, 3) * 2:
        body = json.dumps({"messages": [{"role": "user", "content": f"{chunks} {LONG * 30}"}]}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        prefilled, cancelled = count("tokens", phase="prefill"), count("cancelled")
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            wait_until(lambda before=prefilled: count("tokens", phase="prefill") > before, "row")  # type: ignore[misc]
            until = count("steps") + chunks
            wait_until(lambda until=until: count("steps") >= until, "chunk")  # type: ignore[misc]
        wait_until(lambda before=cancelled: count("cancelled") > before, "cancelled row")  # type: ignore[misc]
    wait_until(lambda: gateway.metric("ragweld_engine_rows") == 1, "row of the open stream alone")
    assert rest_of(stream) == alone
    wait_until(lambda: gateway.metric("ragweld_engine_queued_tokens") == 0, "freed tokens")


def write_thoughtless_base(folder: Path) -> Path:
    """A base that says `<think>\\n\\n</think>\\n\\n`, then anything: each token of these decides the next one.

    Its blocks add nothing, and its head looks for the embedding of the token before.
    """
    write_base(folder)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weights[name] = weights[name] * 0
    embeddings = weights["model.embed_tokens.weight"]
    said = load_tokenizer(folder).encode("assistant\n<think>\n\n</think>\n\n", add_special_tokens=False)[1:]
    head = embeddings * 0
    for token, following in itertools.pairwise(said):
        head[following] += 100 * embeddings[token]
    weights["lm_head.weight"] = head
    save_file(weights, folder / "model.safetensors", {"format": "mlx"})
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return folder


def test_a_prompt_that_is_an_earlier_prompt_and_its_whole_answer_is_answered(tmp_path: Path) -> None:
    """The cache then holds the whole prompt, yet one token must be left to decode from."""
    base = write_thoughtless_base(tmp_path / "base")
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    with gateway_over(base, tmp_path / "cold", prompt_cache_bytes=0) as (_, caller):
        cold = caller.ask(LONG, extra_body=off)
        assert cold.cached_tokens == 0
    with gateway_over(base, tmp_path / "warm") as (_, caller):
        first = caller.ask(LONG, max_tokens=4)
        assert first.text.strip() == "", "the base must say an empty thought for this to prove anything"
        second = caller.ask(LONG, extra_body=off)
        assert second.prompt_tokens == first.prompt_tokens + 4
        assert first.prompt_tokens < second.cached_tokens < second.prompt_tokens
        assert second.text == cold.text
        assert caller.ask(LONG, extra_body=off).text == cold.text
        assert caller.ask("hello", extra_body=off).finish_reason == "length"


def test_the_second_turn_of_a_long_chat_prefills_only_what_is_new_and_says_the_same(
    gateway: Served, caller: Caller, base: Path, tmp_path: Path
) -> None:
    load_adapter(gateway, base, "chatty", seed=7, again=True)
    system = {"role": "system", "content": " ".join([LONG] * 6)}
    first_turn = [system, {"role": "user", "content": "hello"}]
    first = caller.ask(first_turn, "chatty")
    more = [{"role": "assistant", "content": first.text}, {"role": "user", "content": "and then?"}]
    second_turn = [*first_turn, *more]
    second = caller.ask(second_turn, "chatty")
    assert first.prompt_tokens > 100
    assert second.cached_tokens >= first.prompt_tokens - 2
    with gateway_over(base, tmp_path / "cold", prompt_cache_bytes=0) as (cold, cold_caller):
        load_adapter(cold, base, "chatty", seed=7)
        alone = [cold_caller.ask(turn, "chatty") for turn in (first_turn, second_turn, second_turn)]
        assert [answer.cached_tokens for answer in alone] == [0, 0, 0]
        assert [answer.text for answer in alone] == [first.text, second.text, second.text]


def test_three_hundred_swaps_under_load_fail_nothing_and_mix_nothing(base: Path, tmp_path: Path) -> None:
    """Three slots for four adapters in turn: swaps also put adapters out that were in use a moment ago."""
    clients, swaps = 4, 300
    with gateway_over(base, tmp_path, adapter_slots=3) as (gateway, caller):
        adapters = [load_adapter(gateway, base, f"swapped-{seed}", seed) for seed in range(10, 14)]
        alone = {
            (str(adapter), prompt): caller.ask(prompt, f"ragweld@{adapter}", max_tokens=8).text
            for adapter in adapters
            for prompt in PROMPTS
        }
        assert len(set(alone.values())) == len(alone), "every text must name its adapter for this to prove anything"
        move_alias(gateway, base, adapters[0])
        over = threading.Event()
        answered = [0] * clients

        def ask_on(client: int) -> list[tuple[str, str, str]]:
            """Adapter, prompt and text of every answer until the swaps are over."""
            answers: list[tuple[str, str, str]] = []
            for prompt in itertools.cycle(PROMPTS):
                if over.is_set():
                    return answers
                answer = caller.ask(prompt, max_tokens=8)
                answers.append((answer.adapter, prompt, answer.text))
                answered[client] += 1
            raise AssertionError("a cycle has no end")

        with ThreadPoolExecutor(clients) as threads:
            asking = [threads.submit(ask_on, client) for client in range(clients)]
            try:
                for swap in range(swaps):
                    before = sum(answered)
                    move_alias(gateway, base, adapters[(swap + 1) % len(adapters)])
                    wait_until(lambda before=before: sum(answered) > before, "answer after a swap")  # type: ignore[misc]
            finally:
                over.set()
            answers = [answer for client in asking for answer in client.result()]
        assert len(answers) >= swaps
        assert {adapter for adapter, _, _ in answers} == set(adapters)
        assert [answer for answer in answers if alone[answer[:2]] != answer[2]] == []
