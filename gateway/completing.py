"""OpenAI's older completion by this process's engine: each prompt n times, side by side, as text and nothing else.

No chat template, no thoughts, no tools: what the model says is what is shown. `tests/gateway/test_completions.py`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

import catalog
from catalog.adapters import short
from catalog.ids import BARE_BASE, RAGWELD, ModelRef, model_id
from catalog.settings import EngineSettings
from gateway import generation
from gateway.choices import Item, side_by_side
from gateway.engine.requests import Finish, FinishReason, Generation, Piece, TokenLogprob
from gateway.ports import AnswerEngine, Voice
from gateway.speaker import Count, Speaker, Whole
from gateway.token_scores import TokenScores, joined
from gateway.wire import answer, completion
from gateway.wire.completion import CompletionRequest, TextChoice, TextCompletion, TokenLogprobs

DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""
WRITE_INLINE_TOKENS = 32
"""More logprobs than these are written off the event loop."""


async def begin(
    engine: AnswerEngine,
    settings: EngineSettings,
    ref: ModelRef,
    request: CompletionRequest,
    clock: Callable[[], float],
) -> CompletionAnswer:
    """An answer whose first piece is here; raises what the engine refuses or cannot do."""
    voice = await engine.resolve(ref)
    prompts = [await _prompt(voice, given) for given in request.prompts]
    generations = [
        Generation(
            prompt=tokens,
            adapter_id=voice.adapter_id,
            max_tokens=DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
            stop=request.stops,
            sampling=generation.sampling(request, voice.sampling, choice),
            base=voice.base,
            top_logprobs=request.logprobs,
            prompt_logprobs=request.logprobs if request.echo else None,
            continues=True,
        )
        for tokens, _ in prompts
        for choice in range(request.n or 1)
    ]
    generation.check_together(generations, settings, "prompt" if len(prompts) > 1 else "n")
    echoed = [text if request.echo else None for _, text in prompts for _ in range(request.n or 1)]
    answering = CompletionAnswer(engine, voice, request, generations, echoed, clock)
    try:
        await answering.await_first()
    except BaseException:
        await answering.aclose()
        raise
    return answering


async def _prompt(voice: Voice, given: str | list[int]) -> tuple[tuple[int, ...], str]:
    """A prompt as tokens and as text."""
    if isinstance(given, str):
        return await voice.text_tokens(given), given
    return tuple(given), await voice.text_of(given, "prompt")


@dataclass(slots=True)
class _Choice:
    """One answer while it comes. Its prompt, as tokens and as text, is shown before it where it is echoed."""

    scores: TokenScores
    prompt: Sequence[int]
    echo: str
    text: str = ""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of tokens that were not shown yet."""
    finish: FinishReason | None = None
    tokens: int = 0
    cached_tokens: int = 0

    def take_echo(self) -> str:
        echo, self.echo = self.echo, ""
        return echo

    def take_logprobs(self) -> TokenLogprobs:
        """Those that were not shown yet, the echoed prompt's first."""
        prompt, read, said = self.prompt, self.prompt_logprobs, self.logprobs
        self.prompt, self.prompt_logprobs, self.logprobs = (), [], []
        if not prompt:
            return self.scores.of_answer(said)
        echoed = self.scores.of_prompt(prompt, self.echo, read)
        return joined(echoed, self.scores.of_answer(said))


class CompletionAnswer:
    """An answer that the engine gives, by one adapter from beginning to end."""

    def __init__(
        self,
        engine: AnswerEngine,
        voice: Voice,
        request: CompletionRequest,
        generations: Sequence[Generation],
        echoed: Sequence[str | None],
        clock: Callable[[], float],
    ) -> None:
        base, adapter_id = voice.base, voice.adapter_id
        self.speaker = Speaker(RAGWELD, f"{RAGWELD}:{base}", adapter_id or BARE_BASE)
        self.count = Count(prompt_tokens=sum(len(one.prompt) for one in generations[:: request.n or 1]))
        self._voice = voice
        self._request = request
        self._clock = clock
        self._model = model_id(base, short(adapter_id) if adapter_id else None)
        self._fingerprint = f"ragweld-{catalog.__version__}-{short(adapter_id)}"
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._choices = [
            _Choice(TokenScores(voice, request.logprobs or 0), () if echo is None else one.prompt, echo or "")
            for one, echo in zip(generations, echoed, strict=True)
        ]
        self._items = side_by_side([engine.generate(one) for one in generations], set())
        self._first: Item | None = None

    async def await_first(self) -> None:
        self._first = await anext(self._items)
        self.count.first_piece_at = self.count.last_piece_at = self._clock()

    async def aclose(self) -> None:
        await self._items.aclose()

    async def whole(self) -> Whole:
        async for index, text in self._texts():
            self._choices[index].text += text
        choices = [await self._shown(index, choice.text) for index, choice in enumerate(self._choices)]
        return Whole(answer.encode(self._completion(choices, self._usage())))

    async def events(self) -> AsyncGenerator[bytes, None]:
        pending = None if self._request.wants_usage_chunk else UNSET
        async for index, text in self._texts():
            yield answer.event(self._completion([await self._shown(index, text)], pending))
        if self._request.wants_usage_chunk:
            yield answer.event(self._completion([], self._usage()))
        yield answer.DONE_EVENT

    async def _texts(self) -> AsyncGenerator[tuple[int, str], None]:
        """New text of each choice as it comes, with an empty one at its end; counts on the way."""
        async for index, item in self._all_items():
            self.count.last_piece_at = self._clock()
            choice = self._choices[index]
            if isinstance(item, Finish):
                choice.finish, choice.cached_tokens = item.reason, item.cached_tokens
                choice.tokens, text = item.completion_tokens, ""
                choice.logprobs += item.logprobs
            elif item.prompt_logprobs:
                choice.prompt_logprobs += item.prompt_logprobs
                continue
            else:
                choice.tokens += item.tokens
                choice.logprobs += item.logprobs
                text = item.text
            self.count.answer_tokens = sum(one.tokens for one in self._choices)
            yield index, text

    async def _all_items(self) -> AsyncGenerator[tuple[int, Piece | Finish], None]:
        if self._first is not None:
            yield self._first
        async for item in self._items:
            yield item

    async def _shown(self, index: int, text: str) -> TextChoice:
        choice = self._choices[index]
        logprobs = await self._logprobs(choice)
        return TextChoice(choice.take_echo() + text, index, logprobs, choice.finish)

    async def _logprobs(self, choice: _Choice) -> TokenLogprobs | None:
        if self._request.logprobs is None:
            return None
        if len(choice.prompt_logprobs) + len(choice.logprobs) <= WRITE_INLINE_TOKENS:
            return choice.take_logprobs()
        return await asyncio.to_thread(choice.take_logprobs)

    def _completion(self, choices: list[TextChoice], usage: answer.Usage | object | None) -> TextCompletion:
        return completion.TextCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage,  # type: ignore[arg-type]
            system_fingerprint=self._fingerprint,
        )

    def _usage(self) -> answer.Usage:
        prompt, answered = self.count.prompt_tokens or 0, self.count.answer_tokens or 0
        cached = max(choice.cached_tokens for choice in self._choices)
        return answer.Usage(
            prompt, answered, prompt + answered, answer.PromptDetails(cached), answer.CompletionDetails(0)
        )
