"""vLLM's `/tokenize` and `/detokenize` over the real engine: the tokens of a chat are those that it would prefill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.base.load import load_tokenizer
from tests.gateway.serving import Reply, Served, served_base
from tests.tiny_base import write_base

TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
CHAT = {"messages": [{"role": "user", "content": "what time is it?"}]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def gateway(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_base(base, tmp_path_factory.mktemp("home")) as running:
        yield running


def ask(gateway: Served, **body: Any) -> Reply:
    return gateway.call("POST", "/tokenize", body)


@pytest.mark.parametrize("text", ["the lighthouse of Port Ellery", "naïve 🦊", "<think>", ""])
def test_a_text_comes_back_from_its_tokens(gateway: Served, base: Path, text: str) -> None:
    told = ask(gateway, model="ragweld", prompt=text, return_token_strs=True).json()
    assert told["tokens"] == load_tokenizer(base).encode(text)
    assert (told["count"], told["max_model_len"]) == (len(told["tokens"]), 2048)
    assert len(told["token_strs"]) == told["count"]
    if text:
        back = gateway.call("POST", "/detokenize", {"model": "ragweld", "tokens": told["tokens"]})
        assert back.json() == {"prompt": text}


@pytest.mark.parametrize(
    "more",
    [{}, {"tools": [TOOL]}, {"reasoning_effort": "none"}, {"response_format": {"type": "json_object"}}],
)
def test_a_chat_is_told_exactly_as_it_would_be_read(gateway: Served, more: dict[str, Any]) -> None:
    told = ask(gateway, model="ragweld", **CHAT, **more).json()
    assert told["token_strs"] is None
    usage = gateway.chat(max_tokens=1, **CHAT, **more).json()["usage"]
    assert told["count"] == len(told["tokens"]) == usage["prompt_tokens"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "ragweld"}, 400, None),
        ({"model": "ragweld", "prompt": ["a"]}, 400, "prompt"),
        ({"model": "ragweld", "prompt": "a", "surprise": 1}, 400, "surprise"),
        ({"model": "ragweld@nobody", "prompt": "a"}, 404, "model"),
        ({"model": "ragweld", **CHAT, "add_generation_prompt": False}, 400, "add_generation_prompt"),
        ({"model": "ragweld", **CHAT, "continue_final_message": True}, 400, "continue_final_message"),
        ({"model": "ragweld", "messages": [{"role": "alien", "content": ""}]}, 400, "messages[0].role"),
        ({"model": "ragweld", **CHAT, "audio": {}}, 400, "audio"),
    ],
)
def test_what_cannot_be_told_is_an_error_by_its_path(
    gateway: Served, body: dict[str, Any], status: int, param: str | None
) -> None:
    reply = ask(gateway, **body)
    assert (reply.status, reply.error["param"]) == (status, param)


@pytest.mark.parametrize(
    ("tokens", "param"),
    [([10**6], "tokens"), ([-1], "tokens[0]"), ([], "tokens"), ([1, "a"], "tokens[1]"), ([1 << 40], "tokens[0]")],
)
def test_tokens_that_the_model_does_not_have_are_refused(gateway: Served, tokens: list[object], param: str) -> None:
    reply = gateway.call("POST", "/detokenize", {"tokens": tokens})
    assert (reply.status, reply.error["param"]) == (400, param)


def test_the_tokenizers_own_words_are_told(gateway: Served, base: Path) -> None:
    tokenizer = load_tokenizer(base)
    for query in ("", "?model=ragweld@base"):
        told = gateway.call("GET", f"/tokenizer_info{query}").json()
        assert told["eos_token"] == tokenizer.eos_token == "<|im_end|>"
        assert told["pad_token"] == tokenizer.pad_token and told["bos_token"] is None
        assert told["chat_template"] == (base / "chat_template.jinja").read_text()
    assert gateway.call("GET", "/tokenizer_info?model=nope").status == 404
