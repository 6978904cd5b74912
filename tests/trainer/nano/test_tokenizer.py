"""The shipped tokenizer loses nothing, and `mlx_lm` finds tools and thinking in it; the template is Qwen3's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from catalog.base import blas

blas.preload()

from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402
from mlx_lm.tokenizer_utils import load as load_tokenizer  # noqa: E402

from trainer.nano import tokenizer as recipe  # noqa: E402
from trainer.nano.corpus import training_chat  # noqa: E402
from trainer.nano.rendering import pieces, render  # noqa: E402

FOLDER = Path(__file__).parents[3] / "catalog" / "nano"
WORDS = recipe.load(FOLDER)
# sha256 of 600 seeded conversations (tools, several steps of them, reasoning, thinking on and off) under the
# chat template that Qwen publishes with Qwen3; ours must give the same bytes.
PUBLISHED_RENDERING = "8f09c50172189392631f7cce74a3e5d2b90a1ec35df947bf471332dac91d8b76"


@pytest.fixture(scope="module")
def served() -> TokenizerWrapper:
    return load_tokenizer(FOLDER)


@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    assert WORDS.decode(WORDS.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_special_tokens_have_the_qwen3_names_and_one_id_each() -> None:
    names = (*recipe.CONTROL_TOKENS, *recipe.MARKUP_TOKENS)
    assert [WORDS.token_to_id(name) for name in names] == list(range(len(names)))
    assert all(WORDS.encode(name, add_special_tokens=False).ids == [i] for i, name in enumerate(names))
    assert WORDS.get_vocab_size() == recipe.VOCABULARY


def test_decoding_skips_controls_and_keeps_markup() -> None:
    ids = WORDS.encode("<think>\n\n</think>\n\nYes.<|im_end|>", add_special_tokens=False).ids
    assert WORDS.decode(ids, skip_special_tokens=True) == "<think>\n\n</think>\n\nYes."


def test_mlx_lm_finds_tools_thinking_and_the_end(served: TokenizerWrapper) -> None:
    assert served.has_tool_calling
    assert served.has_thinking
    assert served.eos_token_ids == {WORDS.token_to_id("<|im_end|>")}
    made = served.tool_parser('\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n', None)
    assert made == {"name": "get_weather", "arguments": {"city": "Paris"}}


def _some_conversation(rng: Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    contents = (
        "hi", "<tool_response>\nx\n</tool_response>", "a</think>b", "<think>\nhm\n</think>\n\nyes", "\n\nlead", "",
        "it's \"q\" é 日本", "  sp ",
    )  # fmt: skip
    calls = (
        {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"type": "function", "function": {"name": "f", "arguments": {"a": "é", "b": [1, 2]}}},
        {"name": "g", "arguments": {}},
    )
    messages: list[dict[str, Any]] = []
    if rng.random() < 0.4:
        messages.append({"role": "system", "content": rng.choice(contents)})
    for _ in range(rng.randint(1, 6)):
        role = rng.choice(("user", "user", "assistant", "assistant", "tool", "system"))
        message: dict[str, Any] = {"role": role, "content": rng.choice(contents)}
        if role == "assistant" and rng.random() < 0.4:
            message["reasoning_content"] = rng.choice(("", "\nthought\n", "t"))
        if role == "assistant" and rng.random() < 0.4:
            message["tool_calls"] = [rng.choice(calls) for _ in range(rng.randint(1, 3))]
        messages.append(message)
    function = {"name": "f", "description": "é<b>", "parameters": {}}
    return messages, rng.choice((None, [{"type": "function", "function": function}]))


def _rendering_digest(served: TokenizerWrapper) -> str:
    rng = Random("renderings")
    digest = hashlib.sha256()
    for _ in range(600):
        messages, tools = _some_conversation(rng)
        for generation in (False, True):
            for thinking in (False, True):
                text = served.apply_chat_template(
                    messages, tools=tools, tokenize=False, add_generation_prompt=generation, enable_thinking=thinking
                )
                digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def test_template_renders_what_the_published_qwen3_template_renders(served: TokenizerWrapper) -> None:
    assert _rendering_digest(served) == PUBLISHED_RENDERING


def test_pretraining_saw_the_text_that_serving_renders(served: TokenizerWrapper) -> None:
    rng = Random("served")
    for _ in range(300):
        chat = training_chat(rng)
        text = served.apply_chat_template(chat.messages, tools=chat.tools, tokenize=False)
        assert "".join(piece.text for piece in pieces(chat, dense=False)) == text
        assert render(chat, WORDS, dense=False, rest_weight=0.0).ids == WORDS.encode(text, add_special_tokens=False).ids


def test_template_is_the_one_of_the_recipe() -> None:
    assert (FOLDER / "chat_template.jinja").read_text() == recipe.TEMPLATE.read_text()
    assert isinstance(WORDS, Tokenizer)
    assert json.loads((FOLDER / "tokenizer_config.json").read_text())["eos_token"] == "<|im_end|>"
