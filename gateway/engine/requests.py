"""What crosses the border of the engine: a generation goes in, pieces of text and one finish come out.

Values only, so that a gateway without an engine loads neither MLX nor llguidance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from catalog.ids import AdapterId, BaseId

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. `temperature` 0 is greedy; `seed` None draws a fresh one."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnyObject:
    """The answer is a JSON object."""


@dataclass(frozen=True, slots=True)
class FitsSchema:
    """The answer is JSON that a schema accepts."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallsTools:
    """The answer calls these tools with arguments that their parameters accept.

    One call, or several with `many`; with `or_words` it may also say something instead, or before.
    """

    tools: Sequence[Mapping[str, Any]]
    many: bool
    or_words: bool


Constraint = AnyObject | FitsSchema | CallsTools


@dataclass(frozen=True, slots=True)
class Grammar:
    """A checked constraint in llguidance's form. With `may_think` a thought may come first."""

    source: str
    may_think: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer to produce: `prompt` tokens, the adapter it is answered wholly by, and where to stop.

    `stop` strings are matched on the text, across tokens, and are not part of the answer. With `max_tokens` 0 the
    prompt is read and nothing is said.
    """

    prompt: tuple[int, ...]
    adapter_id: AdapterId | None
    max_tokens: int
    stop: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    grammar: Grammar | None = None
    """What the answer must be; None is free text."""
    base: BaseId | None = None
    """None is the default base."""
    top_logprobs: int | None = None
    """None wants no logprobs; 0 wants the chosen token's only."""
    prompt_logprobs: int | None = None
    """The same for the prompt's tokens, as the model itself reads them."""
    continues: bool = False
    """Whether the text goes on in the line of its prompt, so that a space before its first word belongs to it."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its natural-log probability, and the best alternatives (token, logprob) at its place."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is safe to show: no half character, no beginning of a stop string. `tokens` were produced for it."""

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    """Of the prompt's next tokens, which come before any text. Its first token has none."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an answer. `cached_tokens` of the prompt were found in the prefix cache.

    `logprobs` are those of last tokens that had no text, as the one that ended it.
    """

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenizerInfo:
    """What of a base's tokenizer a client needs to have a text cut as the base reads it."""

    tokenizer_class: str
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    chat_template: str | None


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the engine is serving with, in words and numbers, for the banner, health and metrics."""

    ready: bool
    base: BaseId | None
    reason: str
    """Why this base answers, or why none can."""
    device: str
    precision: str
    context: int
    active_adapter: AdapterId | None
    resident_adapters: tuple[AdapterId, ...]
    bases: tuple[BaseId, ...] = ()
    """Bases whose weights are on this machine: each can be asked for."""
    loaded_bases: tuple[BaseId, ...] = ()
    """Those in memory now."""
