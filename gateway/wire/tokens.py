"""Text to tokens and back as vLLM's `/tokenize`, `/detokenize` and `/tokenizer_info` have it: eval harnesses ask them.

Either a text, or any chat request: then its tokens are exactly what that request would have the model read.
`tests/gateway/test_tokens.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from catalog.errors import InvalidRequest
from gateway import strict_json
from gateway.wire import request
from gateway.wire.completion import Tokens
from gateway.wire.request import ParsedChat, fault_of

T = TypeVar("T")
Model = Annotated[str, Meta(max_length=512)]


class Wanted(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What may stand in a body beside a chat request."""

    return_token_strs: bool | None = None
    add_special_tokens: bool | None = None
    """What the tokenizer begins every text with; not in a chat, whose template has its own."""
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None


class TextRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of `POST /tokenize` with a text."""

    prompt: str
    model: Model = ""
    return_token_strs: bool | None = None
    add_special_tokens: bool | None = None


class DetokenizeRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of `POST /detokenize`."""

    tokens: Tokens
    model: Model = ""


class Tokenized(Struct, frozen=True, kw_only=True):
    """The answer of `POST /tokenize`; `max_model_len` is the context in tokens."""

    count: int
    max_model_len: int
    tokens: tuple[int, ...]
    token_strs: list[str] | None


class Detokenized(Struct, frozen=True):
    """The answer of `POST /detokenize`."""

    prompt: str


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """What is to be told in tokens."""

    said: str | ParsedChat
    model: str
    return_token_strs: bool
    add_special_tokens: bool


def parse_tokenize(body: bytes) -> TokenizeRequest:
    """Read a request; raises InvalidRequest with `param` the path of the fault."""
    plain = _object(body)
    if "messages" not in plain:
        text = _converted(plain, TextRequest)
        return TokenizeRequest(
            text.prompt, text.model, bool(text.return_token_strs), text.add_special_tokens is not False
        )
    own = {name: plain.pop(name) for name in Wanted.__struct_fields__ if name in plain}
    wanted, chat = _converted(own, Wanted), request.read(plain)
    refused = {
        "add_special_tokens": wanted.add_special_tokens,
        "add_generation_prompt": wanted.add_generation_prompt is False,
        "continue_final_message": wanted.continue_final_message,
    }
    for param, is_asked in refused.items():
        if is_asked:
            raise InvalidRequest(
                f"{param} is not supported here: a chat is told as it would be answered.",
                param=param,
                code="unsupported_parameter",
            )
    return TokenizeRequest(chat, chat.request.model, bool(wanted.return_token_strs), add_special_tokens=False)


def parse_detokenize(body: bytes) -> DetokenizeRequest:
    """Read a request; raises InvalidRequest with `param` the path of the fault."""
    return _converted(_object(body), DetokenizeRequest)


def _object(body: bytes) -> dict[str, Any]:
    plain = strict_json.parse(body)
    if not isinstance(plain, dict):
        raise InvalidRequest("The body must be a JSON object.", param="$")
    return plain


def _converted(plain: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise fault_of(error) from error
