"""Reading administration requests: strict JSON into a pydantic model, faults in the one error shape."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from litestar import Request
from litestar.params import QueryParameter
from litestar.types import Receive, Scope
from pydantic import BaseModel, ValidationError

from catalog.errors import InvalidRequest
from gateway import errors, strict_json
from gateway.errors import BodyCut

_METADATA = re.compile(r"metadata\[[^\]]{1,64}\]")

T = TypeVar("T", bound=BaseModel)

ScopeName = Annotated[str | None, QueryParameter(name="scope", max_length=128)]
"""`?scope=`; a parameter called `scope` would be ASGI's own."""

SCOPE_NAMES = ("corpus_id", "repo_id")
"""Other names of `scope`, as callers of the first version say it."""


async def object_of(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The body as an object with the scope under its own name; raises MalformedJson (400) or InvalidBody (422)."""
    plain = strict_json.parse(await request.body())
    if not isinstance(plain, dict):
        raise errors.InvalidBody("The body must be an object.")
    named = with_scope(plain)
    if not isinstance(named.get("scope"), str | None):
        raise errors.InvalidBody("The scope must be a name.", param="scope")
    return named


async def body_of(request: Request[Any, Any, Any], model: type[T]) -> T:
    """The body as `model`; an empty one is `{}`. Raises MalformedJson (400) or InvalidBody (422)."""
    raw = await request.body()
    plain = strict_json.parse(raw) if raw.strip() else {}
    if isinstance(plain, dict) and "scope" in model.model_fields:
        plain = with_scope(plain)
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        raise errors.from_validation(error) from error


async def openai_body_of(request: Request[Any, Any, Any], model: type[T]) -> T:
    """The same for a route of OpenAI's, whose clients expect 400 for every fault of a body."""
    try:
        return await body_of(request, model)
    except errors.InvalidBody as error:
        raise InvalidRequest(error.message, param=error.param, code="invalid_value") from error


def metadata_of(request: Request[Any, Any, Any]) -> dict[str, str] | None:
    """`?metadata[name]=value`, as often as wanted; None for `metadata=null`, which asks for what bears none."""
    query = request.query_params
    if query.get("metadata") == "null":
        return None
    return {name[len("metadata[") : -1]: value for name, value in query.items() if _METADATA.fullmatch(name)}


def with_scope(plain: dict[str, Any]) -> dict[str, Any]:
    """`plain` with the scope under its own name; raises InvalidBody when two names disagree."""
    named = {name: plain[name] for name in ("scope", *SCOPE_NAMES) if name in plain}
    if len(set(map(str, named.values()))) > 1:
        raise errors.InvalidBody(f"{' and '.join(named)} disagree.", param="scope")
    rest = {name: value for name, value in plain.items() if name not in SCOPE_NAMES}
    return rest | ({"scope": next(iter(named.values()))} if named else {})


def note(request: Request[Any, Any, Any], **facts: Any) -> None:
    """Have `facts` written beside this request in the administrators' log. Never a secret."""
    request.scope["auth"].noted.update(facts)


def is_strict(scope: Scope) -> bool:
    """`x-ragweld-strict`: whether nobody else may answer; raises InvalidRequest."""
    value = next((value for name, value in scope["headers"] if name == b"x-ragweld-strict"), b"false").lower()
    if value not in (b"true", b"false"):
        raise InvalidRequest("x-ragweld-strict must be true or false.", param="x-ragweld-strict")
    return value == b"true"


async def whole_body(receive: Receive) -> bytes:
    """The body as it came, bounded by the border; raises BodyCut when the client leaves before its end."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BodyCut("The client left before the end of its body.")
        pieces.append(message["body"])
        if not message["more_body"]:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
