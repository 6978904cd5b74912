"""An engine that says what a test tells it to, behind the same port as the real one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catalog.adapters import content_id
from catalog.errors import InvalidAdapter, NotFound, RagweldError, Unavailable
from catalog.ids import BARE_BASE, AdapterId, BaseId, ModelRef
from gateway.engine.places import Places
from gateway.engine.requests import (
    Constraint,
    EngineState,
    Finish,
    Generation,
    Grammar,
    Piece,
    Sampling,
    TokenizerInfo,
    TokenLogprob,
)

BASE = BaseId("ragweld-nano")
NAMED = AdapterId(hashlib.sha256(b"named").hexdigest())
"""What `ragweld@named` resolves to."""
CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Markers:
    think_start: str | None = "<think>"
    think_end: str | None = "</think>"
    tool_start: str | None = "<tool_call>"
    tool_end: str | None = "</tool_call>"


@dataclass(slots=True)
class Counters:
    steps: int = 0
    prompt_tokens: int = 0
    produced_tokens: int = 0
    cached_tokens: int = 0
    cancelled: int = 0
    rows: int = 0
    waiting: int = 0
    swaps: int = 0
    swap_s: float = 0.0
    slots: frozenset[tuple[BaseId, AdapterId]] = frozenset()
    waiting_slots: frozenset[tuple[BaseId, AdapterId]] = frozenset()
    resident: tuple[AdapterId, ...] = ()


Say = str | RagweldError | Finish
Script = Callable[[Generation], Sequence[Say]]


def words(*said: Say) -> Script:
    """The same for every request."""
    return lambda generation: said


class ScriptedEngine:
    """Says `script`; `pause_s` between pieces; `endless` repeats the last one until it is closed."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.refused_swaps = 0
        self.admitted_tokens = 0
        self.waiting_for_memory = 0
        self.reset()

    def reset(self) -> None:
        self.script: Script = words("Hello", " world", ".")
        self.pause_s = 0.0
        self.endless = False
        self.reason_not_ready: str | None = None
        self.resolve_error: RagweldError | None = None
        self.asked: list[Generation] = []
        self.messages: list[Mapping[str, Any]] = []
        self.tools: list[Mapping[str, Any]] = []
        self.thinking: bool | None = None
        self.closed = 0
        self.active: AdapterId | None = None
        self.loaded = {BASE}
        self.busy = False
        self.forgotten = 0

    def on_failed_trial(self, tell: object) -> None:
        return

    async def look(self) -> None:
        return

    async def look_for_bases(self) -> None:
        return

    def adapter_names(self) -> tuple[str, ...]:
        return ("named",)

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    def state(self) -> EngineState:
        ready = self.reason_not_ready is None
        return EngineState(
            ready=ready,
            base=BASE if ready else None,
            reason=self.reason_not_ready or "its weights are on this machine",
            device="CPU",
            precision="float32",
            context=CONTEXT,
            active_adapter=self.active,
            resident_adapters=(),
            bases=(BASE,) if ready else (),
            loaded_bases=tuple(self.loaded) if ready else (),
        )

    async def load(self, base: BaseId) -> None:
        self.loaded.add(base)

    async def unload(self, base: BaseId) -> bool:
        if not self.busy:
            self.loaded.discard(base)
        return not self.busy

    def forget_prefixes(self) -> None:
        self.forgotten += 1

    async def resolve(self, ref: ModelRef) -> ScriptedVoice:
        if self.resolve_error is not None:
            raise self.resolve_error
        if ref.adapter not in (None, BARE_BASE, "named"):
            raise NotFound(f"There is no adapter {ref.adapter!r}.", param="model")
        return ScriptedVoice(self, {"named": NAMED, None: self.active}.get(ref.adapter))

    async def check_adapter(self, folder: Path, base: BaseId) -> AdapterId:
        if base != BASE:
            raise Unavailable(f"The base {base} is not on this machine.")
        if (folder / "spoiled").exists():
            raise InvalidAdapter("layers.0.q_proj.lora_a is not finite.", tensor="layers.0.q_proj.lora_a")
        return content_id(folder)

    async def generate(self, generation: Generation) -> AsyncGenerator[Piece | Finish, None]:
        self.asked.append(generation)
        said = list(self.script(generation))
        tokens = 0
        try:
            if (top := generation.prompt_logprobs) is not None:
                scores = tuple(logprob(token, top) for token in generation.prompt[1:])
                yield Piece("", 0, prompt_logprobs=scores)
            while generation.max_tokens:
                for say in said:
                    if isinstance(say, RagweldError):
                        raise say
                    if isinstance(say, Finish):
                        yield replace(say, completion_tokens=tokens)
                        return
                    tokens += 1
                    logprobs = () if generation.top_logprobs is None else (logprob(tokens, generation.top_logprobs),)
                    yield Piece(say, 1, logprobs)
                    await asyncio.sleep(self.pause_s)
                if not self.endless:
                    break
            yield Finish("stop" if tokens else "length", len(generation.prompt), tokens, 0)
        finally:
            self.closed += 1


@dataclass(frozen=True, slots=True)
class ScriptedVoice:
    """Who answers: the one base, bare or with the one adapter. Tells its engine what it was given."""

    engine: ScriptedEngine
    adapter_id: AdapterId | None
    base: BaseId = BASE
    context: int = CONTEXT
    sampling: Sampling = field(default_factory=Sampling)
    markers: Markers = field(default_factory=Markers)

    async def prompt_tokens(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> tuple[int, ...]:
        engine = self.engine
        engine.messages, engine.tools, engine.thinking = list(messages), list(tools), thinking
        return tuple(range(7))

    async def text_tokens(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        return tuple(text.encode())

    async def text_of(self, tokens: Sequence[int], param: str) -> str:
        return bytes(tokens).decode()

    async def grammar(self, wanted: Constraint, *, may_think: bool) -> Grammar:
        return Grammar(repr(wanted), may_think)

    def parse_tool_call(self, text: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        call = json.loads(text)
        if not isinstance(call, dict) or "name" not in call:
            raise ValueError("not a call")
        return [call]

    @property
    def tokenizer_info(self) -> TokenizerInfo:
        return TokenizerInfo("Bytes", None, "<end>", None, None, None)

    def places(self) -> Places:
        return Places(lambda tokens: bytes(tokens).decode(errors="replace"), ())

    def token_text(self, token_id: int) -> str:
        return f"<{token_id}>"


def logprob(token: int, top: int) -> TokenLogprob:
    return TokenLogprob(token, -0.5, tuple((100 + place, -1.0 - place) for place in range(top)))
