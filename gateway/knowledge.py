"""Concepts and relations of a text, as JSON, by whichever route is asked for.

ragweld is held to the schema while it decodes, OpenAI by its Responses API, other servers by `response_format`. An
answer that max_tokens cut keeps what was whole in it. What cannot be read all the same is an empty extraction, counted
and logged, so that the caller's own means take over.
`tests/gateway/test_knowledge.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from catalog.errors import RagweldError
from gateway import balance, chat, responses, routing
from gateway.asking import Heard, ask_among
from gateway.context import Context
from gateway.guard import Visit
from gateway.responses import Question
from gateway.routing import Choice, Route, UpstreamRoute
from gateway.wire.foreign import UNREADABLE

log = logging.getLogger(__name__)

MAX_ITEMS = 64
INSTRUCTION = (
    "Extract the knowledge graph of the user's text. Answer with JSON only: `concepts`, the names of its important "
    "entities and ideas, and `relations`, each with `source` and `target` (both of the concepts) and `relation_type`, "
    "a short verb phrase in snake_case. Say nothing that the text does not say."
)
_NAME = {"type": "string"}
_RELATION = {
    "type": "object",
    "properties": {"source": _NAME, "target": _NAME, "relation_type": _NAME},
    "required": ["source", "target", "relation_type"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "concepts": {"type": "array", "items": _NAME, "maxItems": MAX_ITEMS},
        "relations": {"type": "array", "items": _RELATION, "maxItems": MAX_ITEMS},
    },
    "required": ["concepts", "relations"],
    "additionalProperties": False,
}
SCHEMA_NAME = "knowledge_graph"

_MAY_END = '"}['
_RESTS = ("]}", '],"relations":[]}')
"""What closes an extraction after a whole relation, or after a whole concept."""


class ExtractRequest(BaseModel):
    """Body of `POST /api/kg/extract`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    text: str = Field(min_length=1, max_length=1_000_000)
    model: str = Field("", max_length=512)
    """Any id that chat takes; empty takes the default order."""
    max_tokens: int = Field(1024, ge=16, le=32768)


class Relation(Struct, frozen=True):
    source: str
    target: str
    relation_type: str


class Extraction(Struct, frozen=True):
    concepts: list[str]
    relations: list[Relation]


async def extract(context: Context, wanted: ExtractRequest, visit: Visit, *, strict: bool) -> tuple[Extraction, Heard]:
    """What the text says, and who said so; raises RagweldError when nobody answers."""
    heard = await _hear(context, wanted, visit, await context.choose(wanted.model, strict=strict))
    found = read(heard.text) or (mended(heard.text) if heard.finish_reason == "length" else None)
    context.measures.extraction(heard.provider, is_readable=found is not None)
    if found is None:
        log.warning("extraction: %s gave nothing that can be read (%s)", heard.provider, heard.finish_reason)
    return found or Extraction([], []), heard


def read(text: str) -> Extraction | None:
    """The extraction in an answer, also where it stands in a fence; None when there is none."""
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        return msgspec.json.decode(bare, type=Extraction)
    except UNREADABLE:
        return None


def mended(text: str) -> Extraction | None:
    """What was whole in an extraction whose end is missing; None when it had not begun."""
    ends = (end + 1 for end in range(len(text) - 1, -1, -1) if text[end] in _MAY_END)
    return next((found for end in ends for rest in _RESTS if (found := read(text[:end] + rest)) is not None), None)


async def _hear(context: Context, wanted: ExtractRequest, visit: Visit, choice: Choice) -> Heard:
    """The first candidate's answer, asked in the way that it holds to a schema best."""
    routes, reason = balance.in_order(choice.routes, context.providers.loads(), context.draw), choice.fallback
    for route in routes[:-1]:
        try:
            return replace(await _by(context, wanted, route, visit), fallback=reason)
        except RagweldError as error:
            if not chat.moves_on(error, route):
                raise
            log.warning("extraction: the next candidate is asked: %s", error)
            reason = routing.reason_for(error, route)
    return replace(await _by(context, wanted, routes[-1], visit), fallback=reason)


async def _by(context: Context, wanted: ExtractRequest, route: Route, visit: Visit) -> Heard:
    messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": wanted.text}]
    if isinstance(route, UpstreamRoute) and route.upstream.kind == "cloud_direct":
        question = Question(messages, SCHEMA_NAME, SCHEMA, wanted.max_tokens)
        return await responses.respond(context, question, route, visit)
    form = {"type": "json_schema", "json_schema": {"name": SCHEMA_NAME, "schema": SCHEMA, "strict": True}}
    body = {
        "model": wanted.model,
        "messages": messages,
        "max_tokens": wanted.max_tokens,
        "temperature": 0,
        "response_format": form,
    }
    return await ask_among(context, body, Choice((route,)), visit)
