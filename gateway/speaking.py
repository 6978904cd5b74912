"""An answer by this process's engine: pieces of its rows become OpenAI's chunks, or one completion.

n rows run side by side; each has its own splitter of thoughts, words and calls. Knows the engine only as
`ports.AnswerEngine` and nothing of HTTP. `tests/gateway/test_chat.py`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType

import catalog
from catalog.adapters import short
from catalog.ids import RAGWELD, BaseId, ModelRef, model_id
from catalog.settings import EngineSettings
from gateway.engine.requests import Finish, Generation, Piece, Sampling, TokenLogprob
from gateway.ports import AnswerEngine
from gateway.speaker import Count, Speaker, Whole
from gateway.speech import Call, Part, Splitter, Thought, Words
from gateway.wire import answer as wire
from gateway.wire.fields import check_supported
from gateway.wire.request import ChatRequest, ParsedChat

BARE = "base"

Item = tuple[int, Piece | Finish]


def sampling(request: ChatRequest, choice: int) -> Sampling:
    """How a choice is drawn; with a seed each choice has its own."""
    plain = Sampling()
    return Sampling(
        temperature=_or(request.temperature, plain.temperature),
        top_p=_or(request.top_p, plain.top_p),
        top_k=request.top_k or 0,
        min_p=request.min_p or 0.0,
        seed=None if request.seed is None else (request.seed + choice) % (1 << 63),
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        repetition_penalty=_or(request.repetition_penalty, plain.repetition_penalty),
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
    )


def answer_tokens(request: ChatRequest, settings: EngineSettings, context: int, prompt: int) -> int:
    """How long an answer may be: as asked, else the default as far as the context allows."""
    if request.answer_tokens is not None:
        return request.answer_tokens
    return max(1, min(settings.default_max_tokens, context - prompt))


async def begin(
    engine: AnswerEngine, settings: EngineSettings, ref: ModelRef, chat: ParsedChat, clock: Callable[[], float]
) -> EngineAnswer:
    """An answer whose first piece is here; raises what the engine refuses or cannot do."""
    request = chat.request
    check_supported(request)
    adapter_id = await engine.resolve(ref)
    prompt = await engine.prompt_tokens(chat.messages, chat.tools, thinking=request.thinking)
    state = engine.state()
    most = answer_tokens(request, settings, state.context, len(prompt))
    top_logprobs = (request.top_logprobs or 0) if request.logprobs else None
    generations = [
        Generation(
            prompt=prompt,
            adapter_id=adapter_id,
            max_tokens=most,
            stop=request.stops,
            sampling=sampling(request, choice),
            top_logprobs=top_logprobs,
        )
        for choice in range(request.n or 1)
    ]
    answer = EngineAnswer(engine, chat, generations, state.base or BaseId(""), clock)
    try:
        await answer.await_first()
    except BaseException:
        await answer.aclose()
        raise
    return answer


@dataclass(slots=True)
class _Choice:
    """One of the n answers while it comes."""

    splitter: Splitter
    calls: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of words that were not shown yet."""
    tokens: int = 0
    thought_tokens: int = 0
    finish: wire.FinishReason | None = None

    def take(self, item: Piece | Finish, *, one_call: bool) -> list[Part]:
        """What an item shows; sets `finish` at the end."""
        if isinstance(item, Finish):
            parts = self.splitter.finish()
            self.tokens = item.completion_tokens
        else:
            was_thinking = self.splitter.is_thinking
            parts = self.splitter.feed(item.text)
            self.tokens += item.tokens
            if was_thinking or self.splitter.is_thinking:
                self.thought_tokens += item.tokens
            elif not self.splitter.is_calling:
                self.logprobs += item.logprobs
        parts = self._number_calls(parts, one_call)
        if isinstance(item, Finish):
            self.finish = "tool_calls" if self.calls and item.reason == "stop" else item.reason
        elif one_call and self.calls:
            self.finish = "tool_calls"
        return parts

    def _number_calls(self, parts: list[Part], one_call: bool) -> list[Part]:
        kept: list[Part] = []
        for part in parts:
            if isinstance(part, Call):
                if one_call and self.calls:
                    break
                self.calls += 1
            kept.append(part)
        return kept

    def take_logprobs(self) -> list[TokenLogprob]:
        taken, self.logprobs = self.logprobs, []
        return taken


class EngineAnswer:
    """An answer that the engine gives, by one adapter from beginning to end."""

    def __init__(
        self,
        engine: AnswerEngine,
        chat: ParsedChat,
        generations: Sequence[Generation],
        base: BaseId,
        clock: Callable[[], float],
    ) -> None:
        adapter_id = generations[0].adapter_id
        self.speaker = Speaker(RAGWELD, f"{RAGWELD}:{base}", adapter_id or BARE)
        self.count = Count(prompt_tokens=len(generations[0].prompt))
        self._engine = engine
        self._request = chat.request
        self._clock = clock
        self._model = model_id(base, short(adapter_id) if adapter_id else None)
        self._fingerprint = f"ragweld-{catalog.__version__}-{short(adapter_id)}"
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._cached_tokens = 0
        parse = (lambda text: engine.parse_tool_call(text, chat.tools)) if chat.tools else None
        self._choices = [_Choice(Splitter(engine.markers, parse)) for _ in generations]
        self._enough: set[int] = set()
        self._items = side_by_side([engine.generate(generation) for generation in generations], self._enough)
        self._first: Item | None = None

    async def await_first(self) -> None:
        self._first = await anext(self._items)
        self.count.first_piece_at = self.count.last_piece_at = self._clock()

    async def aclose(self) -> None:
        await self._items.aclose()

    async def whole(self) -> Whole:
        parts: list[list[Part]] = [[] for _ in self._choices]
        logprobs: list[list[TokenLogprob]] = [[] for _ in self._choices]
        async for index, found in self._parts():
            parts[index] += found
            logprobs[index] += self._choices[index].take_logprobs()
        choices = [
            wire.Choice(index, _message(parts[index]), self._logprobs(logprobs[index]), choice.finish or "stop")
            for index, choice in enumerate(self._choices)
        ]
        completion = wire.Completion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=self._usage(),
            system_fingerprint=self._fingerprint,
        )
        return Whole(wire.encode(completion))

    async def events(self) -> AsyncGenerator[bytes, None]:
        usage: UnsetType | None = None if self._request.wants_usage_chunk else UNSET

        def chunk(index: int, delta: wire.Delta, **more: Any) -> bytes:
            return wire.event(
                wire.Chunk(
                    id=self._id,
                    created=self._created,
                    model=self._model,
                    system_fingerprint=self._fingerprint,
                    choices=[wire.ChunkChoice(index, delta, **more)],
                    usage=usage,
                )
            )

        for index in range(len(self._choices)):
            yield chunk(index, wire.Delta(role="assistant", content=""))
        async for index, parts in self._parts():
            choice = self._choices[index]
            call = choice.calls - sum(isinstance(part, Call) for part in parts)
            for part in parts:
                match part:
                    case Words(text):
                        logprobs = self._logprobs(choice.take_logprobs())
                        yield chunk(index, wire.Delta(content=text), logprobs=logprobs)
                    case Thought(text):
                        yield chunk(index, wire.Delta(reasoning_content=text))
                    case Call(name, arguments):
                        yield chunk(index, _call_begins(call, name))
                        yield chunk(index, _call_goes_on(call, arguments))
                        call += 1
            if choice.finish is not None:
                rest = self._logprobs(choice.take_logprobs())
                yield chunk(
                    index, wire.Delta(), logprobs=rest if rest and rest.content else None, finish_reason=choice.finish
                )
        if self._request.wants_usage_chunk:
            yield wire.event(
                wire.Chunk(
                    id=self._id,
                    created=self._created,
                    model=self._model,
                    system_fingerprint=self._fingerprint,
                    choices=[],
                    usage=self._usage(),
                )
            )
        yield wire.DONE_EVENT

    async def _parts(self) -> AsyncGenerator[tuple[int, list[Part]], None]:
        """What each item shows, as it comes; counts on the way."""
        one_call = self._request.parallel_tool_calls is False
        async for index, item in self._all_items():
            self.count.last_piece_at = self._clock()
            choice = self._choices[index]
            if choice.finish is not None:
                continue
            parts = choice.take(item, one_call=one_call)
            if isinstance(item, Finish):
                self._cached_tokens = max(self._cached_tokens, item.cached_tokens)
            elif choice.finish is not None:
                self._enough.add(index)
            self.count.answer_tokens = sum(choice.tokens for choice in self._choices)
            self.count.unreadable_calls = sum(choice.splitter.unreadable_calls for choice in self._choices)
            if parts or choice.finish is not None:
                yield index, parts

    async def _all_items(self) -> AsyncGenerator[Item, None]:
        if self._first is not None:
            yield self._first
        async for item in self._items:
            yield item

    def _usage(self) -> wire.Usage:
        prompt, answered = self.count.prompt_tokens or 0, self.count.answer_tokens or 0
        thought = sum(choice.thought_tokens for choice in self._choices)
        return wire.Usage(
            prompt,
            answered,
            prompt + answered,
            wire.PromptDetails(self._cached_tokens),
            wire.CompletionDetails(thought),
        )

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> wire.ChoiceLogprobs | None:
        if not self._request.logprobs:
            return None
        return wire.ChoiceLogprobs([self._content_logprob(token) for token in tokens])

    def _content_logprob(self, token: TokenLogprob) -> wire.ContentLogprob:
        text = self._engine.token_text(token.token_id)
        top = [
            wire.TopLogprob(other := self._engine.token_text(token_id), logprob, list(other.encode()))
            for token_id, logprob in token.top
        ]
        return wire.ContentLogprob(text, token.logprob, list(text.encode()), top)


async def side_by_side(
    generators: Sequence[AsyncGenerator[Piece | Finish, None]], enough: set[int]
) -> AsyncGenerator[Item, None]:
    """Items of all generators as they come; one whose index is in `enough` is stopped. Closing closes them all."""
    if len(generators) == 1:
        async with aclosing(generators[0]) as items:
            async for item in items:
                yield 0, item
                if enough:
                    return
        return
    arrived: asyncio.Queue[Item | int] = asyncio.Queue()
    tasks = [asyncio.ensure_future(_pump(i, g, enough, arrived)) for i, g in enumerate(generators)]
    for index, task in enumerate(tasks):
        task.add_done_callback(partial(_tell_end, arrived, index))
    running = len(tasks)
    try:
        while running:
            news = await arrived.get()
            if isinstance(news, int):
                tasks[news].result()
                running -= 1
            else:
                yield news
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell_end(arrived: asyncio.Queue[Item | int], index: int, task: asyncio.Task[None]) -> None:
    arrived.put_nowait(index)


async def _pump(
    index: int, generator: AsyncGenerator[Piece | Finish, None], enough: set[int], arrived: asyncio.Queue[Item | int]
) -> None:
    async with aclosing(generator) as items:
        async for item in items:
            arrived.put_nowait((index, item))
            if index in enough:
                return


def _message(parts: Sequence[Part]) -> wire.AnswerMessage:
    words = "".join(part.text for part in parts if isinstance(part, Words))
    thoughts = "".join(part.text for part in parts if isinstance(part, Thought))
    calls = [
        wire.ToolCall(_call_id(), wire.Function(part.name, part.arguments)) for part in parts if isinstance(part, Call)
    ]
    return wire.AnswerMessage(
        content=words if words or not calls else None,
        reasoning_content=thoughts or UNSET,
        tool_calls=calls or UNSET,
    )


def _call_begins(index: int, name: str) -> wire.Delta:
    function = wire.FunctionDelta(name=name, arguments="")
    return wire.Delta(tool_calls=[wire.ToolCallDelta(index=index, id=_call_id(), type="function", function=function)])


def _call_goes_on(index: int, arguments: str) -> wire.Delta:
    return wire.Delta(tool_calls=[wire.ToolCallDelta(index=index, function=wire.FunctionDelta(arguments=arguments))])


def _call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
