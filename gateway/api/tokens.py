"""vLLM's `POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery

from catalog.errors import InvalidRequest, Unavailable
from catalog.ids import ModelRef
from gateway import context, tokens
from gateway.api import reading
from gateway.context import Context
from gateway.engine.requests import TokenizerInfo
from gateway.ports import AnswerEngine
from gateway.routing import EngineRoute
from gateway.wire import tokens as wire


@post("/tokenize", status_code=200)
async def tokenize(request: Request[Any, Any, Any]) -> Response[bytes]:
    """A text, or what a chat would have the model read, as tokens."""
    here, body = context.of(request), await reading.whole_body(request.receive)
    asked = await asyncio.to_thread(wire.parse_tokenize, body)
    engine, ref = await _who_reads(here, asked.model)
    return _json(await tokens.tokenize(engine, ref, asked))


@post("/detokenize", status_code=200)
async def detokenize(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Tokens as text."""
    here, body = context.of(request), await reading.whole_body(request.receive)
    asked = await asyncio.to_thread(wire.parse_detokenize, body)
    engine, ref = await _who_reads(here, asked.model)
    return _json(await tokens.detokenize(engine, ref, asked))


@get("/tokenizer_info")
async def tokenizer_info(request: Request[Any, Any, Any], model: FromQuery[str] = "") -> Response[bytes]:
    """The special tokens and the chat template of the base that `model` is answered by."""
    engine, ref = await _who_reads(context.of(request), model)
    return _json(await tokens.info(engine, ref))


async def _who_reads(here: Context, model: str) -> tuple[AnswerEngine, ModelRef]:
    route = (await here.choose(model, strict=True)).routes[0]
    if not isinstance(route, EngineRoute):
        raise InvalidRequest(f"The tokens of {model} are not known here.", param="model", code="unsupported_endpoint")
    if here.engine is None:
        raise Unavailable("The engine is switched off.")
    return here.engine, route.ref


def _json(answer: msgspec.Struct | TokenizerInfo) -> Response[bytes]:
    return Response(msgspec.json.encode(answer), media_type="application/json")


handlers = [tokenize, detokenize, tokenizer_info]
