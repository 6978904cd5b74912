"""An answer by this process's engine: pieces of its rows become OpenAI's chunks, or one completion.

Knows the engine only as `ports.AnswerEngine` and nothing of HTTP. `tests/gateway/test_chat.py`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

from msgspec import UNSET

import catalog
from catalog.adapters import short
from catalog.ids import BARE_BASE, RAGWELD, ModelRef, model_id
from catalog.settings import EngineSettings
from gateway import generation
from gateway.choices import Choice, Item, side_by_side
from gateway.engine.requests import Finish, Generation, TokenLogprob
from gateway.ports import AnswerEngine, Voice
from gateway.speaker import Count, Speaker, Whole
from gateway.speech import Call, Part, Splitter, Thought, Words
from gateway.wire import answer as wire
from gateway.wire.fields import check_supported
from gateway.wire.request import ParsedChat


async def begin(
    engine: AnswerEngine, settings: EngineSettings, ref: ModelRef, chat: ParsedChat, clock: Callable[[], float]
) -> EngineAnswer:
    """An answer whose first piece is here; raises what the engine refuses or cannot do."""
    request = chat.request
    check_supported(request)
    voice = await engine.resolve(ref)
    held = generation.constraint(chat)
    thinking = generation.thinks(request, held)
    grammar = await voice.grammar(held, may_think=thinking) if held is not None else None
    prompt = await voice.prompt_tokens(chat.messages, chat.tools, thinking=thinking)
    most = generation.answer_tokens(request, settings, voice.context, len(prompt))
    top_logprobs = (request.top_logprobs or 0) if request.logprobs else None
    generations = [
        Generation(
            prompt=prompt,
            adapter_id=voice.adapter_id,
            max_tokens=most,
            stop=request.stops,
            sampling=generation.sampling(request, voice.sampling, choice),
            grammar=grammar,
            base=voice.base,
            top_logprobs=top_logprobs,
        )
        for choice in range(request.n or 1)
    ]
    generation.check_together(generations, settings, "n")
    answer = EngineAnswer(engine, voice, chat, generations, clock)
    try:
        await answer.await_first()
    except BaseException:
        await answer.aclose()
        raise
    return answer


class EngineAnswer:
    """An answer that the engine gives, by one adapter from beginning to end."""

    def __init__(
        self,
        engine: AnswerEngine,
        voice: Voice,
        chat: ParsedChat,
        generations: Sequence[Generation],
        clock: Callable[[], float],
    ) -> None:
        base, adapter_id = voice.base, voice.adapter_id
        self.speaker = Speaker(RAGWELD, f"{RAGWELD}:{base}", adapter_id or BARE_BASE)
        self.count = Count(prompt_tokens=len(generations[0].prompt))
        self._voice = voice
        self._request = chat.request
        self._clock = clock
        self._model = model_id(base, short(adapter_id) if adapter_id else None)
        self._fingerprint = f"ragweld-{catalog.__version__}-{short(adapter_id)}"
        self._id = wire.new_completion_id()
        self._created = int(time.time())
        self._cached_tokens = 0
        parse = (lambda text: voice.parse_tool_call(text, chat.tools)) if chat.tools else None
        self._choices = [Choice(Splitter(voice.markers, parse)) for _ in generations]
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
        for index in range(len(self._choices)):
            yield self._chunk([wire.ChunkChoice(index, wire.Delta(role="assistant", content=""))])
        async for index, parts in self._parts():
            for chunk_choice in self._chunk_choices(index, parts):
                yield self._chunk([chunk_choice])
        if self._request.wants_usage_chunk:
            yield self._chunk([], self._usage())
        yield wire.DONE_EVENT

    def _chunk(self, choices: list[wire.ChunkChoice], usage: wire.Usage | None = None) -> bytes:
        return wire.event(
            wire.Chunk(
                id=self._id,
                created=self._created,
                model=self._model,
                system_fingerprint=self._fingerprint,
                choices=choices,
                usage=usage if self._request.wants_usage_chunk else UNSET,
            )
        )

    def _chunk_choices(self, index: int, parts: Sequence[Part]) -> Iterator[wire.ChunkChoice]:
        """What a choice's new parts are as chunks, with the last one when it is finished."""
        choice = self._choices[index]
        call = choice.calls - sum(isinstance(part, Call) for part in parts)
        for part in parts:
            match part:
                case Words(text):
                    logprobs = self._logprobs(choice.take_logprobs())
                    yield wire.ChunkChoice(index, wire.Delta(content=text), logprobs)
                case Thought(text):
                    yield wire.ChunkChoice(index, wire.Delta(reasoning_content=text))
                case Call(name, arguments):
                    yield wire.ChunkChoice(index, _call_begins(call, name))
                    yield wire.ChunkChoice(index, _call_goes_on(call, arguments))
                    call += 1
        if choice.finish is not None:
            unsaid = choice.take_logprobs()
            yield wire.ChunkChoice(index, wire.Delta(), self._logprobs(unsaid) if unsaid else None, choice.finish)

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
            if choice.finish is not None:
                self.count.is_bad |= choice.is_bad
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
        text = self._voice.token_text(token.token_id)
        top = [
            wire.TopLogprob(other := self._voice.token_text(token_id), logprob, list(other.encode()))
            for token_id, logprob in token.top
        ]
        return wire.ContentLogprob(text, token.logprob, list(text.encode()), top)


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
