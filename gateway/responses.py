"""OpenAI's Responses API, where OpenAI keeps its JSON mode: one question with a schema, one text back.

Faults, deadlines, breaker and counts are those of every upstream. `tests/gateway/test_knowledge.py`. Source: OpenAI API
reference, "Create a model response".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from catalog.errors import RagweldError
from gateway import cost
from gateway.asking import Heard
from gateway.context import Context
from gateway.guard import Visit
from gateway.routing import UpstreamRoute
from gateway.upstream import UpstreamAnswer
from gateway.wire.foreign import UNREADABLE


@dataclass(frozen=True, slots=True)
class Question:
    """Messages, and the schema that the answer must fit."""

    messages: list[dict[str, str]]
    name: str
    schema: Mapping[str, Any]
    max_tokens: int


class _Part(Struct, frozen=True):
    type: str = ""
    text: str = ""


class _Item(Struct, frozen=True):
    type: str = ""
    content: list[_Part] | None = None


class _Usage(Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Response(Struct, frozen=True):
    output: list[_Item] = []
    error: Any = None
    status: str = ""
    model: str = ""
    usage: _Usage | None = None


class ResponsesAnswer(UpstreamAnswer):
    """An answer of `POST /responses`."""

    path = "/responses"
    response = _Response()

    @property
    def text(self) -> str:
        parts = [part for item in self.response.output if item.type == "message" for part in item.content or ()]
        return "".join(part.text for part in parts if part.type == "output_text")

    def _judge(self, body: bytes) -> None:
        try:
            self.response = msgspec.json.decode(body, type=_Response)
        except UNREADABLE as error:
            raise self._failure("garbage", "sends something that is no response") from error
        if self.response.error is not None or not self.response.output:
            raise self._failure("error_body", "answers 200 with an error")
        if self.response.usage is not None:
            self.count.prompt_tokens = self.response.usage.input_tokens
            self.count.answer_tokens = self.response.usage.output_tokens


def body_of(question: Question, model: str) -> bytes:
    """The request; nothing of it is stored there."""
    form = {"type": "json_schema", "name": question.name, "schema": question.schema, "strict": True}
    plain = {
        "model": model,
        "input": question.messages,
        "text": {"format": form},
        "max_output_tokens": question.max_tokens,
        "store": False,
    }
    return msgspec.json.encode(plain)


async def respond(context: Context, question: Question, route: UpstreamRoute, visit: Visit) -> Heard:
    """The answer, counted like every other; raises RagweldError."""
    began, measures, name = context.clock(), context.measures, route.upstream.name
    try:
        body = body_of(question, route.model)
        answer = await context.upstreams.open(ResponsesAnswer, route, body, streams=False)
        await answer.aclose()
    except RagweldError as error:
        measures.duration(name, "other", error.code, context.clock() - began)
        raise
    total_s, count = context.clock() - began, answer.count
    measures.duration(name, answer.speaker.label, "", total_s)
    measures.used(name, answer.speaker.label, count.prompt_tokens, count.answer_tokens)
    measures.cost(name, answer.speaker.label, cost.usd(route, count, cost.shipped_prices()))
    visit.spend_tokens((count.prompt_tokens or 0) + (count.answer_tokens or 0))
    return Heard(
        text=answer.text,
        model=answer.response.model,
        provider=name,
        fallback=None,
        finish_reason="stop" if answer.response.status == "completed" else "length",
        prompt_tokens=count.prompt_tokens,
        answer_tokens=count.answer_tokens,
        first_content_s=None,
        last_content_s=None,
        total_s=total_s,
    )
