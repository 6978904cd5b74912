"""What a chat request asks of the engine: how to draw, how long, and what the answer must be. Pure.

What the request leaves out is as the base's own config says. `tests/gateway/test_chat.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.errors import InvalidRequest
from catalog.settings import EngineSettings
from gateway.engine.requests import AnyObject, CallsTools, Constraint, FitsSchema, Generation, Sampling
from gateway.wire.completion import CompletionRequest
from gateway.wire.request import ChatRequest, ChosenTool, ObjectFormat, ParsedChat, SchemaFormat


def sampling(request: ChatRequest | CompletionRequest, plain: Sampling, choice: int) -> Sampling:
    """How a choice is drawn; with a seed each choice has its own."""
    return Sampling(
        temperature=_or(request.temperature, plain.temperature),
        top_p=_or(request.top_p, plain.top_p),
        top_k=plain.top_k if request.top_k is None else request.top_k,
        min_p=_or(request.min_p, plain.min_p),
        seed=None if request.seed is None else (request.seed + choice) % (1 << 63),
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        repetition_penalty=_or(request.repetition_penalty, plain.repetition_penalty),
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
    )


def answer_tokens(request: ChatRequest, settings: EngineSettings, context: int, prompt: int) -> int:
    """How long an answer may be: as asked, else the default as far as the context allows."""
    if request.answer_tokens is not None:
        return request.answer_tokens
    return max(1, min(settings.default_max_tokens, context - prompt))


def check_together(generations: Sequence[Generation], settings: EngineSettings, param: str) -> None:
    """Raise InvalidRequest for one request's answers that the engine will never admit all at once; `param` makes them
    several. One alone is admitted as far as the context allows."""
    tokens, limit = sum(len(one.prompt) + one.max_tokens for one in generations), settings.max_queued_tokens
    if len(generations) > 1 and tokens > limit:
        raise InvalidRequest(
            f"{len(generations)} answers and prompts may take {tokens} tokens; {limit} are admitted at once.",
            hint="Ask for fewer at once, lower max_tokens, or raise engine.max_queued_tokens.",
            param=param,
            code="too_many_tokens",
        )


def constraint(chat: ParsedChat) -> Constraint | None:
    """What the answer must be, if the request says so: JSON, or calls of its tools."""
    match chat.request.response_format:
        case ObjectFormat():
            return AnyObject()
        case SchemaFormat(json_schema):
            return FitsSchema(json_schema.schema or {})
    many = chat.request.parallel_tool_calls is not False
    match chat.request.tool_choice:
        case "required":
            return CallsTools(chat.tools, many, or_words=False)
        case ChosenTool(function=function):
            chosen = [tool for tool in chat.tools if tool["function"]["name"] == function.name]
            return CallsTools(chosen, many=False, or_words=False)
    is_strict = any(tool["function"].get("strict") for tool in chat.tools)
    return CallsTools(chat.tools, many, or_words=True) if is_strict else None


def thinks(request: ChatRequest, held: Constraint | None) -> bool:
    """Whether the model may think first; an answer that is held to a form does so only when the caller says so."""
    return request.thinking if held is None else request.asks_to_think


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
