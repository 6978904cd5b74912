"""What ragweld's own engine does with every published field of a chat request: honoured, refused, or a mere hint.

Nothing is accepted and then ignored: a field is `Ignored` only where the specification itself says that it does not
change the answer. `tests/gateway/wire/test_fields.py` walks OpenAI's published list against the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from catalog.errors import InvalidRequest
from gateway.wire.request import AssistantMessage, ChatRequest, ObjectFormat, RefusalPart, SchemaFormat, TextPart


@dataclass(frozen=True, slots=True)
class Honoured:
    """It has its published effect."""


@dataclass(frozen=True, slots=True)
class Refused:
    """400 with `param`, for every value but those that change nothing (`unless`)."""

    why: str
    unless: Callable[[Any], bool] = lambda value: False


@dataclass(frozen=True, slots=True)
class Ignored:
    """By its specification it does not change the answer."""

    why: str


Support = Honoured | Refused | Ignored

FIELDS: dict[str, Support] = {
    "messages": Honoured(),
    "model": Honoured(),
    "audio": Refused("ragweld answers in text only"),
    "frequency_penalty": Honoured(),
    "function_call": Refused("it is deprecated; use tool_choice"),
    "functions": Refused("it is deprecated; use tools"),
    "logit_bias": Honoured(),
    "logprobs": Honoured(),
    "max_completion_tokens": Honoured(),
    "max_tokens": Honoured(),
    "metadata": Honoured(),
    "modalities": Refused("ragweld answers in text only", unless=lambda value: value == ["text"]),
    "moderation": Refused("ragweld has no moderation"),
    "n": Honoured(),
    "parallel_tool_calls": Honoured(),
    "prediction": Ignored("it only makes an answer faster"),
    "presence_penalty": Honoured(),
    "prompt_cache_key": Ignored("a hint; prefixes are cached anyway"),
    "prompt_cache_options": Ignored("a hint; prefixes are cached anyway"),
    "prompt_cache_retention": Ignored("a hint; prefixes are cached anyway"),
    "reasoning_effort": Refused(
        "the model thinks or does not; use 'none' or 'medium'", unless=lambda value: value in ("none", "medium")
    ),
    "response_format": Honoured(),
    "safety_identifier": Ignored("it names the end user to a provider"),
    "seed": Honoured(),
    "service_tier": Refused("there is one tier", unless=lambda value: value in ("auto", "default")),
    "stop": Honoured(),
    "store": Honoured(),
    "stream": Honoured(),
    "stream_options": Honoured(),
    "temperature": Honoured(),
    "tool_choice": Honoured(),
    "tools": Honoured(),
    "top_logprobs": Honoured(),
    "top_p": Honoured(),
    "user": Ignored("it names the end user to a provider"),
    "verbosity": Refused("say in the messages how long the answer should be", unless=lambda value: value == "medium"),
    "web_search_options": Refused("ragweld does not search the web"),
    "top_k": Honoured(),
    "min_p": Honoured(),
    "repetition_penalty": Honoured(),
    "chat_template_kwargs": Honoured(),
}

LOCAL_ONLY = frozenset({"top_k", "min_p", "repetition_penalty", "chat_template_kwargs"})
"""Fields that OpenAI's own API does not know."""


def check_supported(request: ChatRequest) -> None:
    """Raise InvalidRequest for the first thing asked for that the engine cannot do."""
    for name, support in FIELDS.items():
        value = getattr(request, name)
        if value is not None and isinstance(support, Refused) and not support.unless(value):
            raise InvalidRequest(
                f"{name} is not supported here: {support.why}.", param=name, code="unsupported_parameter"
            )
    if request.stream_options is not None and request.stream_options.include_obfuscation:
        raise InvalidRequest(
            "Obfuscation is not supported here.",
            param="stream_options.include_obfuscation",
            code="unsupported_parameter",
        )
    for index, tool in enumerate(request.tools or ()):
        if tool.function is None:
            raise InvalidRequest(
                "Only function tools can be called here.", param=f"tools[{index}]", code="unsupported_parameter"
            )
    wants_json = isinstance(request.response_format, ObjectFormat | SchemaFormat)
    if wants_json and request.tools and request.tool_choice != "none":
        raise InvalidRequest(
            "tools and a JSON response_format cannot be asked for together.",
            hint="Set tool_choice to none, or leave one of them out.",
            param="response_format",
            code="unsupported_parameter",
        )
    _check_parts(request)


def _check_parts(request: ChatRequest) -> None:
    for index, message in enumerate(request.messages):
        for place, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if not isinstance(part, TextPart | RefusalPart):
                raise InvalidRequest(
                    "ragweld reads text only; it does not take images, audio or files.",
                    param=f"messages[{index}].content[{place}]",
                    code="unsupported_content",
                )
            if isinstance(part, RefusalPart):
                raise InvalidRequest(
                    "A refusal cannot be shown to this model.",
                    hint="Send it as text.",
                    param=f"messages[{index}].content[{place}]",
                    code="unsupported_content",
                )
        if isinstance(message, AssistantMessage) and message.refusal:
            raise InvalidRequest(
                "A refusal cannot be shown to this model.",
                hint="Send it as content.",
                param=f"messages[{index}].refusal",
                code="unsupported_content",
            )
