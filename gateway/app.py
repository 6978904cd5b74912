"""The application: every route, and one shape for every error. `create_asgi` is what a server is given.

Knows nothing of sockets and signals. `tests/gateway/test_error_shape.py` walks all routes.
"""

from __future__ import annotations

import logging
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.types import ASGIApp

from gateway import errors
from gateway.api import (
    adapters,
    admin,
    benchmark,
    chat,
    chats,
    completions,
    config,
    datasets,
    embeddings,
    engine,
    files,
    fine_tuning,
    health,
    keys,
    knowledge,
    models,
    pictures,
    runs,
    studio,
    tokens,
)
from gateway.border import Border
from gateway.context import Context

log = logging.getLogger(__name__)

ROOMS = (
    chat,
    chats,
    completions,
    embeddings,
    tokens,
    models,
    files,
    fine_tuning,
    runs,
    pictures,
    datasets,
    adapters,
    engine,
    config,
    benchmark,
    knowledge,
    keys,
    admin,
    health,
    studio,
)


def create_app(context: Context) -> Litestar:
    """Routes and error handlers; upstreams are opened and the engine started with the server's lifespan."""
    lasting = (
        context.upstreams,
        context.prober,
        context.recorder,
        context.engine,
        context.watch,
        *context.file_watches,
    )
    parts = [part for part in lasting if part]
    return Litestar(
        route_handlers=[handler for room in ROOMS for handler in room.handlers],
        state=State({"context": context}, deep_copy=False),
        exception_handlers={Exception: render_error},
        on_startup=[part.start for part in parts],
        on_shutdown=[*(part.stop for part in reversed(parts)), context.probation.stop],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # the border bounds it, in bytes and time
    )


def create_asgi(context: Context) -> ASGIApp:
    """The application behind its border."""
    return Border(create_app(context), context)


def render_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Any exception as OpenAI's error object."""
    known = errors.from_exception(error, request.method, request.url.path)
    if known.http_status == 500:
        log.error("unexpected", exc_info=error)
    headers = errors.headers(known)
    return Response(errors.body(known), status_code=known.http_status, media_type="application/json", headers=headers)
