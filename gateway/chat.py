"""From a request to an answer: candidates are asked in order, and whoever speaks is named.

A failure before the first content moves on to the next candidate, and when all have failed `gateway.retries` says
whether one is asked again; after it the stream itself says what happened and never ends with `[DONE]`. A client that
goes away stops whoever answers, at once. `tests/gateway/test_chat.py`, `tests/gateway/test_upstream.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from litestar.types import ASGIApp, Receive, Scope, Send

from catalog.errors import EngineFailed, Overloaded, RagweldError, Unavailable, UpstreamFailed, UpstreamTimedOut
from catalog.ids import BARE_BASE, RAGWELD, AdapterId, BaseId
from gateway import balance, completing, cost, embedding, errors, recording, retries, routing, speaking
from gateway.context import Context
from gateway.errors import ShuttingDown, UpstreamRefused
from gateway.guard import Visit
from gateway.lifecycle import Connection, connection_of
from gateway.measure import CHAT, EMBEDDINGS
from gateway.ports import AnswerEngine
from gateway.probation import BAD_ERRORS
from gateway.recording import KeptAnswer
from gateway.routing import Choice, EngineRoute, FallbackReason, Route
from gateway.speaker import Answer, Whole
from gateway.upstream import UpstreamAnswer
from gateway.wire.completion import CompletionRequest
from gateway.wire.embedding import EmbeddingRequest
from gateway.wire.request import ParsedChat

Question = ParsedChat | CompletionRequest | EmbeddingRequest
"""What can be asked; a completion is asked of the engine only, embeddings of upstreams only."""

log = logging.getLogger(__name__)

NOBODY = "none"
CLIENT_GONE = "client_gone"


def answer(context: Context, question: Question, choice: Choice) -> ASGIApp:
    """An ASGI application that gives the answer to `question` by the first candidate that can."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked, to, kind = question, send, UpstreamAnswer
        if isinstance(question, ParsedChat) and recording.wants(question.request, context.settings.chat_log):
            asked, to, kind = recording.kept_here(question), context.recorder.tap(question, send).send, KeptAnswer
        await converse(context, asked, choice, scope["auth"], connection_of(scope), to, kind)

    return app


async def converse(
    context: Context,
    question: Question,
    choice: Choice,
    visit: Visit,
    connection: Connection,
    send: Send,
    kind: type[UpstreamAnswer] = UpstreamAnswer,
) -> None:
    """Send the answer to `question` by the first candidate that can; raises RagweldError before it has begun."""
    conversation = _Conversation(context, question, send, visit, kind)
    try:
        if not await context.lifecycle.while_client_listens(connection, conversation.run(choice)):
            conversation.ended(CLIENT_GONE)
    except RagweldError as error:
        conversation.ended(error.code)
        raise


def moves_on(error: RagweldError, route: Route) -> bool:
    """Whether another candidate may answer after this failure; what the request itself got wrong stays wrong."""
    match error:
        case Unavailable() | EngineFailed() | UpstreamFailed() | UpstreamTimedOut():
            return True
        case Overloaded():
            return not isinstance(route, EngineRoute)
        case UpstreamRefused():
            return error.http_status == 404
    return False


@dataclass(frozen=True, slots=True)
class _Failed:
    """What every candidate said in turn, and why one after them would be a substitute."""

    failures: tuple[tuple[Route, RagweldError], ...]
    reason: FallbackReason | None

    @property
    def error(self) -> RagweldError:
        """The last one that really was asked, else the last."""
        asked = [error for _, error in self.failures if error.code != routing.UPSTREAM_RESTING]
        return asked[-1] if asked else self.failures[-1][1]

    def soonest(self, attempt: int, draw: Callable[[], float]) -> tuple[Route, float] | None:
        """Who may be asked again first, and after how many seconds; None when that would not help."""
        pauses = [(route, retries.pause_s(error, attempt, draw())) for route, error in self.failures]
        able = [(route, pause_s) for route, pause_s in pauses if pause_s is not None]
        return min(able, key=lambda one: one[1]) if able else None


class _Conversation:
    """One request on its way to its answer."""

    def __init__(
        self, context: Context, question: Question, send: Send, visit: Visit, kind: type[UpstreamAnswer]
    ) -> None:
        self._context = context
        self._visit = visit
        self._question = question
        self._operation = EMBEDDINGS if isinstance(question, EmbeddingRequest) else CHAT
        self._streams = bool(question.request.stream if isinstance(question, ParsedChat) else question.stream)
        self._send = send
        self._kind = kind
        self._began = context.clock()
        self._answer: Answer | None = None
        self._route: Route | None = None
        self._has_ended = False

    async def run(self, choice: Choice) -> None:
        """Ask the candidates in order, all of them again where that may help; raises an error when none can."""
        context = self._context
        with context.retries.request():
            routes = balance.in_order(choice.routes, context.providers.loads(), context.draw)
            failed = await self._round(routes, choice.fallback)
            for attempt in range(context.settings.routing.retries):
                if failed is not None and (soonest := failed.soonest(attempt, context.draw)) is not None:
                    failed = await self._once_more(failed, *soonest)
        if failed is not None:
            raise failed.error

    async def _round(self, routes: Sequence[Route], reason: FallbackReason | None) -> _Failed | None:
        """Ask each candidate until one answers; says what went wrong when none did."""
        failures: list[tuple[Route, RagweldError]] = []
        for route in routes:
            try:
                answered = await self._ask(route)
                whole = None if self._streams else await answered.whole()
            except RagweldError as error:
                if error.code in BAD_ERRORS:
                    self._on_probation(is_bad=True)
                await self._close()
                if not moves_on(error, route):
                    raise
                log.warning("chat: a candidate failed: %s", error)
                failures.append((route, error))
                reason = routing.reason_for(error, route)
                continue
            await self._give(answered, whole, reason)
            return None
        return _Failed(tuple(failures), reason)

    async def _once_more(self, failed: _Failed, route: Route, pause_s: float) -> _Failed | None:
        """Ask `route` again after a pause, if the budget has room."""
        with self._context.retries.once_more() as granted:
            self._context.measures.retry("asked" if granted else "no_budget")
            if not granted:
                return failed
            await asyncio.sleep(pause_s)
            again = await self._round([route], failed.reason)
        return None if again is None else _Failed((*failed.failures, *again.failures), again.reason)

    async def _give(self, answered: Answer, whole: Whole | None, reason: FallbackReason | None) -> None:
        if reason is not None:
            answered.speaker = answered.speaker.instead_of(reason)
            self._context.measures.fallback(answered.speaker.provider, reason)
        await (self._stream(answered) if whole is None else self._show(answered, whole))

    def ended(self, error: str) -> None:
        """Count the request, whoever answered it and however it ended first."""
        if self._has_ended:
            return
        self._has_ended = True
        measures, now = self._context.measures, self._context.clock()
        if self._answer is None:
            measures.duration(NOBODY, NOBODY, error, now - self._began, self._operation)
            return
        speaker, count = self._answer.speaker, self._answer.count
        if error != CLIENT_GONE:
            self._on_probation(is_bad=count.is_bad or error in BAD_ERRORS)
        measures.duration(speaker.provider, speaker.label, error, now - self._began, self._operation)
        if count.first_piece_at is not None and count.last_piece_at is not None:
            measures.first_token(speaker.provider, speaker.label, count.first_piece_at - self._began)
            if count.answer_tokens and count.answer_tokens > 1 and not error:
                spent_s = count.last_piece_at - count.first_piece_at
                measures.per_token(speaker.provider, speaker.label, spent_s / (count.answer_tokens - 1))
        self._visit.spend_tokens((count.prompt_tokens or 0) + (count.answer_tokens or 0))
        measures.used(speaker.provider, speaker.label, count.prompt_tokens, count.answer_tokens, self._operation)
        if self._route is not None and not error:
            usd = cost.usd(self._route, count, cost.shipped_prices())
            measures.cost(speaker.provider, speaker.label, usd)
        if count.unreadable_calls:
            measures.unreadable_calls(count.unreadable_calls)

    def _on_probation(self, *, is_bad: bool) -> None:
        """Tell how the active adapter did, if it was asked; one that failed at once had no time to say who it is."""
        engine = self._context.engine
        if engine is None or not isinstance(self._route, EngineRoute) or self._route.ref.adapter is not None:
            return
        if self._answer is not None:
            speaker = self._answer.speaker
            base, adapter = BaseId(speaker.label.removeprefix(f"{RAGWELD}:")), speaker.adapter
        elif self._route.ref.base is None and (state := engine.state()).base is not None:
            base, adapter = state.base, state.active_adapter
        else:
            return
        if adapter is not None and adapter != BARE_BASE:
            self._context.probation.heard(base, AdapterId(adapter), is_bad=is_bad)

    async def _ask(self, route: Route) -> Answer:
        context, self._route = self._context, route
        if isinstance(self._question, EmbeddingRequest):
            self._answer = await embedding.begin(context.upstreams, route, self._question)
        elif isinstance(route, EngineRoute):
            if context.engine is None:
                raise Unavailable("The engine is switched off.")
            self._answer = await self._ask_engine(context.engine, self._question, route)
        elif isinstance(self._question, ParsedChat):
            self._answer = await context.upstreams.ask(route, self._question, self._kind)
        else:
            raise Unavailable("An upstream is asked by chat only.")
        return self._answer

    async def _ask_engine(
        self, engine: AnswerEngine, question: ParsedChat | CompletionRequest, route: EngineRoute
    ) -> Answer:
        settings, clock = self._context.settings.engine, self._context.clock
        if isinstance(question, ParsedChat):
            recording.check(question.request, self._context.settings.chat_log)
            return await speaking.begin(engine, settings, route.ref, question, clock)
        return await completing.begin(engine, settings, route.ref, question, clock)

    async def _close(self) -> None:
        if self._answer is not None:
            await self._answer.aclose()
            self._answer = None

    async def _show(self, answered: Answer, whole: Whole) -> None:
        length = str(len(whole.body)).encode()
        await self._start(answered, [(b"content-type", whole.content_type), (b"content-length", length)])
        self.ended("")  # counted before anybody can have read it
        await self._send({"type": "http.response.body", "body": whole.body, "more_body": False})

    async def _stream(self, answered: Answer) -> None:
        """Send the events as they come; whatever ends them early is the last event."""
        last, error_code = b"", ""
        try:
            async with aclosing(answered), aclosing(answered.events()) as events:
                await self._start(answered, [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")])
                async for block in events:
                    await self._send({"type": "http.response.body", "body": block, "more_body": True})
        except RagweldError as error:
            last, error_code = _error_event(error), error.code
        except asyncio.CancelledError:
            if not self._context.lifecycle.is_over:
                raise
            cut = ShuttingDown("This gateway is ending; the answer was cut.")
            last, error_code = _error_event(cut), cut.code
        self.ended(error_code)
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _start(self, answered: Answer, headers: list[tuple[bytes, bytes]]) -> None:
        headers = [*headers, *answered.speaker.headers()]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})


def _error_event(error: RagweldError) -> bytes:
    return b"data: " + errors.body(error) + b"\n\n"
