"""Constrained decoding: only tokens that keep the answer inside a grammar can be drawn.

Grammars are compiled by llguidance (measured at a vocabulary of 151,643: 1.2 ms to compile a schema, 0.1 ms a mask;
xgrammar took 766 ms and brings torch, outlines-core 3.6 s), off the engine's thread and within limits, so that a
hostile schema costs its sender an error and nobody else anything. When the grammar is fulfilled the row can only end.
`tests/gateway/engine/test_grammar.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer

from catalog.base import blas
from catalog.errors import InvalidRequest
from gateway.engine.requests import AnyObject, CallsTools, Constraint, FitsSchema, Grammar

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

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


def compile_constraint(wanted: Constraint, markers: Markers, *, may_think: bool) -> Grammar:
    """The grammar of a constraint; raises InvalidRequest when it is too large, too deep or not understood."""
    match wanted:
        case AnyObject():
            source = _compiled(_bounded({"type": "object"}, "response_format"), "response_format")
        case FitsSchema(schema):
            source = _compiled(_bounded(schema, "response_format"), "response_format")
        case CallsTools():
            source = LLMatcher.grammar_from_lark(_calls(wanted, markers))
            _check(source, "tools")
    return Grammar(source, may_think)


@dataclass(frozen=True, slots=True)
class Markers:
    """How a base marks a call in its text, and whether its tokenizer keeps these marks apart from text."""

    start: str | None
    end: str | None
    are_special: bool


def _calls(wanted: CallsTools, markers: Markers) -> str:
    """Lark of one call after another: `{"name": ..., "arguments": ...}` between the base's markers."""
    if markers.start is None or markers.end is None:
        raise InvalidRequest("This model calls no tools.", param="tool_choice")
    if wanted.or_words and not markers.are_special:
        raise InvalidRequest("This model's tool calls cannot be told from its text; leave strict out.", param="tools")
    start, end = (m if markers.are_special else json.dumps(m) for m in (markers.start, markers.end))
    schemas = [_call_schema(tool["function"]) for tool in wanted.tools]
    body = _bounded({"anyOf": schemas} if len(schemas) > 1 else schemas[0], "tools")
    call = f'call: {start} "\\n" body "\\n" {end}\nbody: %json {body}\n'
    if wanted.or_words:
        return f"start: (WORDS call){'*' if wanted.many else '?'} WORDS\nWORDS: /(.|\\n)*/\n{call}"
    return f"start: call{' (BREAK? call)*' if wanted.many else ''}\nBREAK: /\\n/\n{call}"


class Compiler:
    """Makes matchers for one tokenizer, which llguidance indexes once (about a second at 150,000 tokens)."""

    def __init__(self, tokenizer: TokenizerWrapper, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._ends = sorted(tokenizer.eos_token_ids)
        self._thought = (tokenizer.think_start_id, tokenizer.think_end_id) if tokenizer.has_thinking else None
        self._index: LLTokenizer = from_tokenizer(tokenizer._tokenizer, n_vocab=vocabulary, eos_token=self._ends)
        start, end = tokenizer.tool_call_start, tokenizer.tool_call_end
        known = tokenizer.get_vocab()
        ids = [known.get(marker) for marker in (start, end)]
        special = all(token is not None and self._index.is_special_token(token) for token in ids)
        self.markers = Markers(start, end, special)

    def processor(self, grammar: Grammar) -> GrammarProcessor:
        """What holds one row inside the grammar; raises InvalidRequest when it does not fit this tokenizer."""
        matcher = LLMatcher(self._index, grammar.source, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise InvalidRequest(
                f"The grammar cannot be used: {_first_line(matcher.get_error())}", param="response_format"
            )
        thought = self._thought if grammar.may_think else None
        return GrammarProcessor(matcher, self._vocabulary, self._ends, thought)


class GrammarProcessor:
    """Follows one row: consumes what was drawn, then says what must not come next."""

    def __init__(
        self,
        matcher: LLMatcher,
        vocabulary: int,
        ends: Collection[int],
        thought: tuple[int, int] | None,
    ) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._mask = np.zeros((vocabulary + 31) // 32, dtype=np.int32)
        self._ends = list(ends)
        self._thought = thought
        self._state: Literal["may think", "thinks", "answers"] = "may think" if thought else "answers"
        self._begun = False
        self.error = ""
        """Why the grammar was given up, when it hit its limits; the row must then end with an error."""

    def penalty_after(self, token: int) -> mx.array:
        """What to add to the logits [V] after `token`, at the first call the prompt's last: 0, or minus infinity."""
        if self._begun:
            self._consume(token)
        self._begun = True
        if self._state == "thinks":
            return mx.zeros((self._vocabulary,))
        if self._matcher.is_stopped():
            self.error = _first_line(self._matcher.get_error())
            only_end = np.full(self._vocabulary, -np.inf, dtype=np.float32)
            only_end[self._ends] = 0.0
            return mx.array(only_end)
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if self._state == "may think" and self._thought is not None:
            self._mask.view(np.uint32)[self._thought[0] // 32] |= np.uint32(1 << (self._thought[0] % 32))
        penalty = mx.array(_PENALTY_OF_BYTE)[mx.array(self._mask.view(np.uint8))].reshape(-1)
        return penalty[: self._vocabulary]

    def _consume(self, token: int) -> None:
        if self._thought is not None and self._state == "may think" and token == self._thought[0]:
            self._state = "thinks"
        elif self._thought is not None and self._state == "thinks":
            self._state = "answers" if token == self._thought[1] else "thinks"
        else:
            self._state = "answers"
            if not self._matcher.is_stopped():
                self._matcher.consume_token(token)


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            "arguments": _parameters(function),
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters: Mapping[str, Any] = function.get("parameters") or {"type": "object", "additionalProperties": False}
    return parameters


def _bounded(schema: Mapping[str, Any], param: str) -> str:
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise InvalidRequest(f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels.", param=param)
    text = json.dumps({**schema, "x-guidance": JSON_OPTIONS})  # keys are said in the schema's own order
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
        raise InvalidRequest(f"The schema cannot be used: {_first_line(str(error))}", param=param) from error
    _check(source, param)
    return source


def _first_line(problem: str) -> str:
    """What is wrong, without the drawing below it; a pattern's own fault stands in its last line."""
    first, _, rest = problem.strip().partition("\n")
    last = rest.rpartition("\n")[2].strip()
    return f"{first} {last}" if first.endswith(":") and last.startswith("error:") else first


def _check(source: str, param: str) -> None:
    problem: str = LLMatcher.validate_grammar(source, limits=LIMITS)
    if problem and not problem.startswith("WARNING"):
        raise InvalidRequest(f"The schema cannot be used: {_first_line(problem)}", param=param)
