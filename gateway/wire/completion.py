"""OpenAI's older completion: text in, text out, without a chat template. Its request, bounded, and its answers.

Every published field is honoured or refused by name. Source: OpenAI API reference, "Create completion".
`tests/gateway/test_completions.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from catalog.errors import InvalidRequest
from gateway import strict_json
from gateway.wire.answer import Usage
from gateway.wire.request import MAX_CHOICES, MAX_TOKENS, StreamOptions, fault_of

MAX_PROMPTS = 64
MAX_PROMPT_TOKENS = 1 << 20

Text = Annotated[str, Meta(min_length=1)]
TokenId = Annotated[int, Meta(ge=0, lt=1 << 31)]
Tokens = Annotated[list[TokenId], Meta(min_length=1, max_length=MAX_PROMPT_TOKENS)]
Prompts = Annotated[list[Text | Tokens], Meta(min_length=1, max_length=MAX_PROMPTS)]
Bias = Annotated[float, Meta(ge=-100, le=100)]


class CompletionRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of `POST /v1/completions`; null is the same as absent."""

    prompt: Any
    """A text, several, tokens, or several of tokens; read by `prompts`."""
    model: Annotated[str, Meta(max_length=512)] = ""
    best_of: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    echo: bool | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[Annotated[str, Meta(pattern=r"^[0-9]{1,9}$")], Bias] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None
    """OpenAI's default of 16 where it is absent; with 0 the prompt is read and nothing is said."""
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    stop: (
        Annotated[str, Meta(min_length=1, max_length=1024)]
        | Annotated[list[Annotated[str, Meta(min_length=1, max_length=1024)]], Meta(max_length=4)]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    user: str | None = None
    # Not OpenAI's, but what local servers take.
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_usage_chunk(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def prompts(self) -> list[str | list[int]]:
        """What is to be continued; raises InvalidRequest."""
        return several(self.prompt, Prompts, "prompt")


class TokenLogprobs(Struct, frozen=True):
    """One list entry for each token, of an echoed prompt too; null for what none was computed before."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(Struct, frozen=True):
    text: str
    index: int
    logprobs: TokenLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(Struct, frozen=True, kw_only=True):
    """A whole answer, and a chunk of a streaming one: they differ in `finish_reason` and `usage` only."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET
    system_fingerprint: str


def several(given: object, kind: Any, param: str) -> list[str | list[int]]:
    """A text, several, tokens, or several of tokens, as a list of `kind`; raises InvalidRequest."""
    is_one = isinstance(given, str) or (isinstance(given, list) and bool(given) and isinstance(given[0], int))
    try:
        read: list[str | list[int]] = msgspec.convert([given] if is_one else given, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{param}: {error}.", param=param, code="invalid_value") from error
    return read


def parse(body: bytes) -> CompletionRequest:
    """Read a request; raises InvalidRequest with `param` the path of the fault."""
    plain = strict_json.parse(body)
    if not isinstance(plain, dict):
        raise InvalidRequest("The body must be a JSON object.", param="$")
    try:
        request = msgspec.convert(plain, CompletionRequest)
    except msgspec.ValidationError as error:
        raise fault_of(error) from error
    _check(request)
    return request


def _check(request: CompletionRequest) -> None:
    refused = {
        "suffix": (request.suffix, "ragweld does not fill in the middle"),
        "best_of": (request.best_of not in (None, request.n or 1), "every answer is given; set it to n"),
        "stream_options.include_obfuscation": (
            request.stream_options is not None and request.stream_options.include_obfuscation,
            "streams are not padded",
        ),
    }
    for param, (is_asked, why) in refused.items():
        if is_asked:
            raise InvalidRequest(f"{param} is not supported here: {why}.", param=param, code="unsupported_parameter")
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("stream_options needs stream: true.", param="stream_options", code="invalid_value")
