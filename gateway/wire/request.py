"""A chat request as OpenAI publishes it, every number bounded, every unknown name refused with its path.

Here only the shape is judged; what this engine cannot do is judged in `fields`, so that an upstream which can do it
is still asked. Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from catalog.errors import InvalidRequest
from gateway import strict_json

MAX_CHOICES = 8
MAX_TOKENS = 1 << 20
MAX_MESSAGES = 8192

_PATH_IN_MESSAGE = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")

Name = Annotated[str, Meta(max_length=256)]


class TextPart(Struct, tag="text", tag_field="type", forbid_unknown_fields=True, frozen=True):
    text: str
    prompt_cache_breakpoint: Any = None


class RefusalPart(Struct, tag="refusal", tag_field="type", forbid_unknown_fields=True, frozen=True):
    refusal: str


class ImagePart(Struct, tag="image_url", tag_field="type", frozen=True):
    image_url: dict[str, Any]


class AudioPart(Struct, tag="input_audio", tag_field="type", frozen=True):
    input_audio: dict[str, Any]


class FilePart(Struct, tag="file", tag_field="type", frozen=True):
    file: dict[str, Any]


Texts = str | list[TextPart]
Parts = str | list[TextPart | ImagePart | AudioPart | FilePart]


class SystemMessage(Struct, tag="system", tag_field="role", forbid_unknown_fields=True, frozen=True):
    content: Texts
    name: Name | None = None


class DeveloperMessage(Struct, tag="developer", tag_field="role", forbid_unknown_fields=True, frozen=True):
    content: Texts
    name: Name | None = None


class UserMessage(Struct, tag="user", tag_field="role", forbid_unknown_fields=True, frozen=True):
    content: Parts
    name: Name | None = None


class CalledFunction(Struct, forbid_unknown_fields=True, frozen=True):
    name: Name
    arguments: str


class ToolCall(Struct, forbid_unknown_fields=True, frozen=True):
    id: Name
    function: CalledFunction
    type: Literal["function"] = "function"
    index: int | None = None


class AssistantMessage(Struct, tag="assistant", tag_field="role", forbid_unknown_fields=True, frozen=True):
    content: str | list[TextPart | RefusalPart] | None = None
    name: Name | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class ToolMessage(Struct, tag="tool", tag_field="role", forbid_unknown_fields=True, frozen=True):
    content: Texts
    tool_call_id: Name
    name: Name | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class FunctionTool(Struct, forbid_unknown_fields=True, frozen=True):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, forbid_unknown_fields=True, frozen=True):
    type: Literal["function", "custom"]
    function: FunctionTool | None = None
    custom: dict[str, Any] | None = None


class StreamOptions(Struct, forbid_unknown_fields=True, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TemplateOptions(Struct, forbid_unknown_fields=True, frozen=True):
    enable_thinking: bool | None = None


class TextFormat(Struct, tag="text", tag_field="type", forbid_unknown_fields=True, frozen=True):
    pass


class ObjectFormat(Struct, tag="json_object", tag_field="type", forbid_unknown_fields=True, frozen=True):
    pass


class NamedSchema(Struct, forbid_unknown_fields=True, frozen=True):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    """Held to in any case."""
    description: str | None = None


class SchemaFormat(Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True, frozen=True):
    json_schema: NamedSchema


class ChosenFunction(Struct, forbid_unknown_fields=True, frozen=True):
    name: Name


class ChosenTool(Struct, forbid_unknown_fields=True, frozen=True):
    """One tool that must be called."""

    type: Literal["function"]
    function: ChosenFunction


class ChatRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of `POST /v1/chat/completions`; null is the same as absent."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, Meta(max_length=512)] = ""
    """Empty takes the default order: ragweld, then the upstreams."""
    audio: Any = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    function_call: Any = None
    functions: Any = None
    logit_bias: dict[Annotated[str, Meta(pattern=r"^[0-9]{1,9}$")], Annotated[float, Meta(ge=-100, le=100)]] | None = (
        None
    )
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None
    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: Any = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Any = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    response_format: TextFormat | ObjectFormat | SchemaFormat | None = None
    safety_identifier: str | None = None
    seed: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    stop: (
        Annotated[str, Meta(min_length=1, max_length=1024)]
        | Annotated[list[Annotated[str, Meta(min_length=1, max_length=1024)]], Meta(max_length=4)]
        | None
    ) = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: Any = None
    # Not OpenAI's, but what local servers take.
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    chat_template_kwargs: TemplateOptions | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def answer_tokens(self) -> int | None:
        """How long an answer may be, if the caller said so."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage_chunk(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def thinking(self) -> bool:
        """Whether the model may think before it answers; on unless switched off."""
        options = self.chat_template_kwargs
        if options is not None and options.enable_thinking is not None:
            return options.enable_thinking
        return self.reasoning_effort != "none"

    @property
    def asks_to_think(self) -> bool:
        """Whether the caller said that the model should think."""
        options = self.chat_template_kwargs
        return self.thinking and (self.reasoning_effort is not None or bool(options and options.enable_thinking))


@dataclass(frozen=True, slots=True)
class ParsedChat:
    """A request that was judged, and the plain JSON it came as, which templates and upstreams are given."""

    request: ChatRequest
    plain: Mapping[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Messages without their nulls."""
        return [
            {key: value for key, value in message.items() if value is not None} for message in self.plain["messages"]
        ]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Tools that may be called."""
        return [] if self.request.tool_choice == "none" else list(self.plain.get("tools") or [])


def parse(body: bytes) -> ParsedChat:
    """Read a request; raises InvalidRequest with `param` the path of the fault."""
    plain = strict_json.parse(body)
    if not isinstance(plain, dict):
        raise InvalidRequest("The body must be a JSON object.", param="$")
    return read(plain)


def read(plain: Mapping[str, Any]) -> ParsedChat:
    """Judge a request that was read; raises InvalidRequest with `param` the path of the fault."""
    try:
        request = msgspec.convert(plain, ChatRequest)
    except msgspec.ValidationError as error:
        raise fault_of(error) from error
    _check_together(request)
    return ParsedChat(request, plain)


def fault_of(error: msgspec.ValidationError) -> InvalidRequest:
    """What is wrong with a body, by its path."""
    message = str(error)
    at = _PATH_IN_MESSAGE.search(message)
    path = at.group(1) if at else ""
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown:
        path = f"{path}.{unknown.group(1)}".lstrip(".")
        return InvalidRequest(f"Unknown field {path!r}.", param=path, code="unknown_field")
    what = message[: at.start()] if at else message
    return InvalidRequest(f"{path or 'The body'}: {what}.", param=path or None, code="invalid_value")


def _check_together(request: ChatRequest) -> None:
    """Fields that only make sense beside each other."""
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs", code="invalid_value")
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("stream_options needs stream: true.", param="stream_options", code="invalid_value")
    if request.max_tokens and request.max_completion_tokens and request.max_tokens != request.max_completion_tokens:
        raise InvalidRequest(
            "max_tokens and max_completion_tokens differ.", hint="Give one.", param="max_tokens", code="invalid_value"
        )
    if request.tool_choice not in (None, "none", "auto") and not request.tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice", code="invalid_value")
    if isinstance(request.tool_choice, ChosenTool) and request.tool_choice.function.name not in _names(request):
        raise InvalidRequest(
            f"tool_choice names {request.tool_choice.function.name!r}, which is none of the tools.",
            param="tool_choice.function.name",
            code="invalid_value",
        )


def _names(request: ChatRequest) -> set[str]:
    return {tool.function.name for tool in request.tools or () if tool.function is not None}
