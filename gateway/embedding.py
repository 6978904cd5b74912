"""Embeddings, by upstreams alone: no model of ragweld makes any.

Candidates all have the very model that was asked for, since vectors of two models cannot be compared; what chat has of
deadlines, breaker, retries, counts and headers holds here too. `tests/gateway/test_embedding.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
from msgspec import Struct

from catalog import models
from catalog.errors import NotFound
from catalog.ids import parse_model
from catalog.settings import Upstream
from gateway import sse
from gateway.context import Context
from gateway.providers import Turn
from gateway.routing import Choice, EngineRoute, Route
from gateway.speaker import Speaker
from gateway.upstream import UpstreamAnswer, Upstreams
from gateway.wire.embedding import EmbeddingRequest
from gateway.wire.foreign import UNREADABLE


class _Embedding(Struct, frozen=True):
    index: int
    embedding: list[float] | str


class _Embeddings(Struct, frozen=True):
    data: list[_Embedding] = []
    usage: sse.Tokens | None = None


class EmbeddingAnswer(UpstreamAnswer):
    """An answer of `POST /embeddings`."""

    path = "/embeddings"

    def __init__(
        self,
        wanted: int,
        upstream: Upstream,
        speaker: Speaker,
        streams: bool,
        clock: Callable[[], float],
        turn: Turn,
    ) -> None:
        super().__init__(upstream, speaker, streams, clock, turn)
        self._wanted = wanted

    def _judge(self, body: bytes) -> None:
        try:
            answer = msgspec.json.decode(body, type=_Embeddings)
        except UNREADABLE as error:
            raise self._failure("garbage", "sends something that is no list of embeddings") from error
        given = [one.index for one in answer.data if one.embedding]
        if sorted(given) != list(range(self._wanted)):
            raise self._failure("error_body", f"answers 200 with {len(given)} of {self._wanted} embeddings")
        if answer.usage is not None:
            self.count.prompt_tokens = answer.usage.prompt_tokens


async def choose(context: Context, model: str, *, strict: bool) -> Choice:
    """The upstreams that may answer, in order; raises NotFound, also for every model of ragweld, or Unavailable."""
    names = context.engine.adapter_names() if context.engine is not None else ()
    if parse_model(model, models.known_bases(context.settings.training), names) is not None:
        raise _not_made_here(model)
    return await context.choose(model, strict=strict)


async def begin(upstreams: Upstreams, route: Route, request: EmbeddingRequest) -> EmbeddingAnswer:
    """A whole answer; raises what the tree of errors has for upstreams."""
    if isinstance(route, EngineRoute):
        raise _not_made_here(request.model)
    body = msgspec.json.encode({**msgspec.to_builtins(request), "model": route.model})
    return await upstreams.open(partial(EmbeddingAnswer, len(request.inputs)), route, body, streams=False)


def _not_made_here(model: str) -> NotFound:
    return NotFound(
        f"{model!r} makes no embeddings.",
        hint="Ask for the embedding model of an upstream, as GET /api/models/by-type/EMB lists them.",
        param="model",
        code="unsupported_endpoint",
    )
