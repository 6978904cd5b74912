"""OpenAI's older completion: text in, text out, through the official client and by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.scripted import ScriptedEngine, words
from tests.gateway.serving import Reply, Served, events_of


def ask(gateway: Served, **fields: Any) -> Reply:
    return gateway.call("POST", "/v1/completions", {"model": "ragweld", "prompt": "Once", **fields})


def test_the_official_client_is_answered_with_text(gateway: Served, engine: ScriptedEngine) -> None:
    answer = gateway.client().completions.create(model="ragweld", prompt="Once", max_tokens=9, stop=["x"], seed=3)
    assert answer.object == "text_completion"
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Hello world.", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 3)
    (asked,) = engine.asked
    assert (asked.prompt, asked.max_tokens, asked.stop, asked.sampling.seed) == (tuple(b"Once"), 9, ("x",), 3)


def test_a_stream_says_the_same_and_counts(gateway: Served, engine: ScriptedEngine) -> None:
    options: Any = {"include_usage": True}
    stream = gateway.client().completions.create(
        model="ragweld", prompt="Once", echo=True, stream=True, stream_options=options
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "OnceHello world."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, None, None, "stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3
    assert events_of(ask(gateway, stream=True).body)[-1] == "[DONE]"


def test_several_prompts_and_several_answers_are_numbered_prompt_by_prompt(
    gateway: Served, engine: ScriptedEngine
) -> None:
    body = ask(gateway, prompt=["ab", "cde"], n=2, echo=True, seed=1).json()
    texts = [(choice["index"], choice["text"]) for choice in sorted(body["choices"], key=lambda one: one["index"])]
    assert texts == list(enumerate(["abHello world."] * 2 + ["cdeHello world."] * 2))
    assert body["usage"]["prompt_tokens"] == 5
    assert [asked.sampling.seed for asked in engine.asked] == [1, 2, 1, 2]


@pytest.mark.parametrize("prompt", [[97, 98], [[97, 98]]])
def test_tokens_are_a_prompt_too(gateway: Served, engine: ScriptedEngine, prompt: Any) -> None:
    assert ask(gateway, prompt=prompt, echo=True).json()["choices"][0]["text"] == "abHello world."
    assert engine.asked[0].prompt == (97, 98)


def test_logprobs_have_an_entry_for_each_token(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("a", "b")
    logprobs = ask(gateway, logprobs=2).json()["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["top_logprobs"]) == 2
    assert [list(top) for top in logprobs["top_logprobs"]] == [["<100>", "<101>", "<1>"], ["<100>", "<101>", "<2>"]]
    assert logprobs["text_offset"] == [0, 1]
    assert ask(gateway, logprobs=0).json()["choices"][0]["logprobs"]["top_logprobs"] is None
    assert ask(gateway).json()["choices"][0]["logprobs"] is None


def test_an_echoed_prompt_has_logprobs_whose_first_is_null(gateway: Served, engine: ScriptedEngine) -> None:
    engine.script = words("a", "b")
    choice = ask(gateway, echo=True, logprobs=1).json()["choices"][0]
    assert choice["text"] == "Onceab"
    assert choice["logprobs"] == {
        "tokens": ["<79>", "<110>", "<99>", "<101>", "<1>", "<2>"],
        "token_logprobs": [None, -0.5, -0.5, -0.5, -0.5, -0.5],
        "top_logprobs": [None, *({"<100>": -1.0, f"<{token}>": -0.5} for token in (110, 99, 101, 1, 2))],
        "text_offset": [0, 1, 2, 3, 4, 5],
    }
    chosen = [(one.prompt_logprobs, one.top_logprobs) for one in engine.asked]
    assert chosen == [(1, 1)]
    ask(gateway, logprobs=1)
    assert engine.asked[-1].prompt_logprobs is None


def test_prompts_that_are_never_admitted_together_are_refused_once_and_for_all(
    gateway: Served, engine: ScriptedEngine
) -> None:
    limit = gateway.context.settings.engine.max_queued_tokens
    reply = ask(gateway, prompt=["a", "b"], max_tokens=limit // 2)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "prompt", "too_many_tokens")
    assert ask(gateway, n=2, max_tokens=limit // 2).error["param"] == "n"
    assert gateway.chat(n=2, max_tokens=limit // 2).error["param"] == "n"
    assert engine.asked == []
    assert ask(gateway, prompt=["a", "b"], max_tokens=limit // 2 - 1).status == 200


def test_with_max_tokens_0_the_prompt_is_all_there_is(gateway: Served, engine: ScriptedEngine) -> None:
    body = ask(gateway, echo=True, logprobs=0, max_tokens=0).json()
    (choice,) = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("Once", "length")
    assert choice["logprobs"]["token_logprobs"] == [None, -0.5, -0.5, -0.5]
    assert choice["logprobs"]["top_logprobs"] is None
    assert body["usage"]["completion_tokens"] == 0
    assert ask(gateway, max_tokens=0).json()["choices"][0]["text"] == ""


def test_a_stream_tells_the_prompt_and_its_logprobs_before_the_answer_once(
    gateway: Served, engine: ScriptedEngine
) -> None:
    *events, done = events_of(ask(gateway, echo=True, logprobs=1, stream=True, prompt=["ab", "c"]).body)
    assert done == "[DONE]"
    whole = ask(gateway, echo=True, logprobs=1, prompt=["ab", "c"]).json()["choices"]
    for index in (0, 1):
        parts = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
        assert "".join(part["text"] for part in parts) == whole[index]["text"]
        for name, expected in whole[index]["logprobs"].items():
            assert [entry for part in parts for entry in part["logprobs"][name]] == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": "x"}, "top_p"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    gateway: Served, engine: ScriptedEngine, fields: dict[str, Any], param: str
) -> None:
    reply = ask(gateway, **fields)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body
    assert engine.asked == []
