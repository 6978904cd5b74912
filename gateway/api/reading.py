"""Reading administration requests: strict JSON into a pydantic model, faults in the one error shape."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from litestar import Request
from litestar.types import Receive, Scope
from pydantic import BaseModel, ValidationError

from catalog.errors import InvalidRequest
from catalog.ids import checked_name
from gateway import context, errors, strict_json
from gateway.errors import BodyCut, ShuttingDown
from gateway.lifecycle import connection_of

_METADATA = re.compile(r"metadata\[[^\]]{1,64}\]")

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")

SCOPE_NAMES = ("scope", "corpus_id", "repo_id")
"""The others are what callers of the first version say."""


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
    named = {name: plain[name] for name in SCOPE_NAMES if name in plain}
    rest = {name: value for name, value in plain.items() if name not in named}
    if len(set(map(str, named.values()))) > 1:
        raise errors.InvalidBody(f"{' and '.join(named)} disagree.", param="scope")
    return rest | ({"scope": next(iter(named.values()))} if named else {})


def scope_of(request: Request[Any, Any, Any]) -> str | None:
    """The scope that a query names, under any of its names; raises InvalidRequest when two disagree."""
    return one_scope([request.query_params.get(name) for name in SCOPE_NAMES])


def one_scope(named: Sequence[str | None]) -> str | None:
    """The scope that was named, however often; raises InvalidRequest for a faulty one, and where two disagree."""
    scopes = {checked_name(scope, "scope") for scope in named if scope is not None}
    if len(scopes) > 1:
        raise InvalidRequest(f"The scopes {' and '.join(sorted(scopes))} disagree.", param="scope")
    return next(iter(scopes), None)


async def while_client_listens(request: Request[Any, Any, Any], work: Coroutine[Any, Any, R]) -> R:
    """What `work` gives; it is stopped at once when the client goes away. Raises BodyCut, or ShuttingDown."""
    done: list[R] = []

    async def do() -> None:
        done.append(await work)

    lifecycle = context.of(request).lifecycle
    if not await lifecycle.while_client_listens(connection_of(request.scope), do()):
        raise BodyCut("The client left before its answer.")
    if not done:
        raise ShuttingDown("This gateway is ending; the answer was cut.")
    return done[0]


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
