"""Constrained decoding: only tokens that keep the answer inside a grammar can be drawn.

Grammars are compiled by llguidance (measured at a vocabulary of 151,643: 1.2 ms to compile a schema, 0.1 ms a mask;
xgrammar took 766 ms and brings torch, outlines-core 3.6 s), off the engine's thread and within limits, so that a
hostile schema costs its sender an error and nobody else anything. When the grammar is fulfilled the row can only end.
`tests/gateway/engine/test_grammar.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from mlx_lm.tokenizer_utils import TokenizerWrapper

from catalog.base import blas
from catalog.errors import InvalidRequest

blas.preload()

import mlx.core as mx  # noqa: E402

MAX_SCHEMA_BYTES = 64 * 1024
JSON_OPTIONS = {"whitespace_flexible": True, "whitespace_pattern": r"[ \n]{0,16}"}
"""Between JSON's tokens as a model likes it, but bounded: a model must not fill its answer with blanks."""
MAX_SCHEMA_DEPTH = 32
CACHED_GRAMMARS = 128
LIMITS = LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    max_lexer_states=50_000,
    max_grammar_size=500_000,
)

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_PENALTY_OF_BYTE = np.where(_BITS == 1, 0.0, -np.inf).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Grammar:
    """A checked grammar in llguidance's form. With `after_thinking` it begins where the thought ends."""

    source: str
    after_thinking: bool = False


def json_object(*, after_thinking: bool = False) -> Grammar:
    """Any JSON object."""
    return json_schema({"type": "object"}, param="response_format", after_thinking=after_thinking)


def json_schema(schema: Mapping[str, Any], *, param: str, after_thinking: bool = False) -> Grammar:
    """JSON that the schema accepts; raises InvalidRequest when the schema is too large, too deep or not understood."""
    return Grammar(_compiled(_bounded(schema, param), param), after_thinking)


def tool_calls(
    tools: Sequence[Mapping[str, Any]], markers: tuple[str, str], *, many: bool, after_thinking: bool = False
) -> Grammar:
    """One call of one of these tools (or several with `many`), each between the base's markers.

    A call is `{"name": ..., "arguments": ...}` with arguments that the tool's parameters accept.
    """
    calls = [_call_schema(tool["function"]) for tool in tools]
    body = _bounded({"anyOf": calls} if len(calls) > 1 else calls[0], "tools")
    start, end = markers
    first, again = ("call+", " /\\n?/") if many else ("call", "")
    lark = f'start: {first}\ncall: {start} "\\n" body "\\n" {end}{again}\nbody: %json {body}\n'
    source = LLMatcher.grammar_from_lark(lark)
    _check(source, "tools")
    return Grammar(source, after_thinking)


class Compiler:
    """Makes matchers for one tokenizer, which llguidance indexes once (about a second at 150,000 tokens)."""

    def __init__(self, tokenizer: TokenizerWrapper, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._ends = sorted(tokenizer.eos_token_ids)
        self._think_end = tokenizer.think_end_id if tokenizer.has_thinking else None
        self._index: LLTokenizer = from_tokenizer(tokenizer._tokenizer, n_vocab=vocabulary, eos_token=self._ends)

    def processor(self, grammar: Grammar, prompt_tokens: int) -> GrammarProcessor:
        """What holds one row inside the grammar; raises InvalidRequest when it does not fit this tokenizer."""
        matcher = LLMatcher(self._index, grammar.source, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise InvalidRequest(f"The grammar cannot be used: {matcher.get_error()}", param="response_format")
        opens_with = self._think_end if grammar.after_thinking else None
        return GrammarProcessor(matcher, self._vocabulary, self._ends, opens_with, prompt_tokens)


class GrammarProcessor:
    """A logits processor: consumes what was drawn, then masks what must not come next."""

    def __init__(
        self, matcher: LLMatcher, vocabulary: int, ends: Collection[int], opens_with: int | None, prompt_tokens: int
    ) -> None:
        self._matcher = matcher
        self._mask = np.zeros((vocabulary + 31) // 32, dtype=np.int32)
        self._only_end = np.full(vocabulary, -np.inf, dtype=np.float32)
        self._only_end[list(ends)] = 0.0
        self._opens_with = opens_with
        self._is_open = opens_with is None
        self._seen = prompt_tokens
        self.error = ""
        """Why the grammar was given up, when it hit its limits; the row must then end with an error."""

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        """Logits [1, V] with everything outside the grammar at minus infinity."""
        for token in np.array(tokens[self._seen :]):
            self._consume(int(token))
        self._seen = tokens.size
        if not self._is_open:
            return logits
        if self._matcher.is_stopped():
            self.error = self._matcher.get_error()
            return logits + mx.array(self._only_end)
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        penalty = mx.array(_PENALTY_OF_BYTE)[mx.array(self._mask.view(np.uint8))].reshape(-1)
        return logits + penalty[: logits.shape[-1]]

    def _consume(self, token: int) -> None:
        if not self._is_open:
            self._is_open = token == self._opens_with
        elif not self._matcher.is_stopped():
            self._matcher.consume_token(token)


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            "arguments": function.get("parameters") or {"type": "object"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _bounded(schema: Mapping[str, Any], param: str) -> str:
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise InvalidRequest(f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels.", param=param)
    text = json.dumps({**schema, "x-guidance": JSON_OPTIONS}, sort_keys=True)
    if len(text) > MAX_SCHEMA_BYTES:
        raise InvalidRequest(f"The schema is larger than {MAX_SCHEMA_BYTES // 1024} KiB.", param=param)
    return text


def _depth(node: object) -> int:
    deepest, level = 0, [node]
    while level:
        deepest += 1
        children = [
            list(item.values()) if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)
        ]
        level = [child for group in children for child in group]
    return deepest


@lru_cache(CACHED_GRAMMARS)
def _compiled(schema: str, param: str) -> str:
    try:
        source: str = LLMatcher.grammar_from_json_schema(schema)
    except ValueError as error:
        raise InvalidRequest(f"The schema cannot be used: {error}", param=param) from error
    _check(source, param)
    return source


def _check(source: str, param: str) -> None:
    problem: str = LLMatcher.validate_grammar(source, limits=LIMITS)
    if problem and not problem.startswith("WARNING"):
        raise InvalidRequest(f"The schema cannot be used: {problem.splitlines()[0]}", param=param)
