"""A request for embeddings as OpenAI publishes it, bounded. Source: OpenAI API reference, "Create embeddings".

`tests/gateway/test_embedding.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from catalog.errors import InvalidRequest
from gateway import strict_json
from gateway.wire.completion import Text, Tokens, several
from gateway.wire.request import fault_of

MAX_INPUTS = 2048
"""OpenAI's."""
MAX_DIMENSIONS = 1 << 16

Inputs = Annotated[list[Text | Tokens], Meta(min_length=1, max_length=MAX_INPUTS)]


class EmbeddingRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """The body of `POST /v1/embeddings`; null is the same as absent."""

    stream: ClassVar[bool] = False
    """An answer is whole."""

    input: Any
    """A text, several, tokens, or several of tokens; read by `inputs`, and handed on as it is."""
    model: Annotated[str, Meta(min_length=1, max_length=512)]
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None

    @property
    def inputs(self) -> list[str | list[int]]:
        """What is to be embedded; raises InvalidRequest."""
        return several(self.input, Inputs, "input")


def parse(body: bytes) -> EmbeddingRequest:
    """Read a request; raises InvalidRequest with `param` the path of the fault."""
    plain = strict_json.parse(body)
    if not isinstance(plain, dict):
        raise InvalidRequest("The body must be a JSON object.", param="$")
    try:
        request = msgspec.convert(plain, EmbeddingRequest)
    except msgspec.ValidationError as error:
        raise fault_of(error) from error
    _ = request.inputs
    return request
