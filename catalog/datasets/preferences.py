"""Pairs of answers of which one is preferred, as TRL and as OpenAI's preference fine-tuning keep them.

The prompt is a text or messages; each answer is a text, or what the assistant and its tools say up to the assistant's
last word. Without a prompt, what both lists of messages begin with is the prompt. Sources: TRL's dataset formats,
OpenAI's guide to direct preference optimization. `tests/catalog/test_datasets_preferences.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catalog.datasets import turns
from catalog.datasets.conversation import Conversation, Message, Preference, Tool
from catalog.datasets.defects import Report
from catalog.datasets.turns import Turn

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the row and its path."""

    path: str
    value: object


def read_pair(row: Row, line: int, report: Report) -> Preference:
    """A row of `prompt` or `messages`, `chosen` and `rejected`; worth nothing when anything was reported."""
    tools = turns.read_tools(row.get("tools"), report)
    if row.get("prompt") is not None and row.get("messages") is not None:
        report("messages", "is given beside prompt; one of them says what is answered")
    name = "prompt" if row.get("prompt") is not None else "messages"
    prompt = Field(name, row[name]) if row.get(name) is not None else None
    chosen, rejected = Field("chosen", row.get("chosen")), Field("rejected", row.get("rejected"))
    return _preference(prompt, chosen, rejected, tools, line, report)


def read_openai_pair(row: Row, line: int, report: Report) -> Preference:
    """A row of `input`, `preferred_output` and `non_preferred_output`; worth nothing when anything was reported."""
    given = row.get("input")
    if not isinstance(given, dict):
        report("input", "must be an object" if given is not None else "is missing")
        return Preference(Conversation((), (), line), Conversation((), (), line))
    turns.refuse_strangers(given, ("messages", "tools", "parallel_tool_calls"), "input.", "an input", report)
    tools = turns.read_tools(given.get("tools"), lambda path, what: report(f"input.{path}", what))
    if not isinstance(given.get("parallel_tool_calls", True), bool):
        report("input.parallel_tool_calls", "must be true or false")
    asked = Field("input.messages", given.get("messages"))
    preferred = Field("preferred_output", row.get("preferred_output"))
    other = Field("non_preferred_output", row.get("non_preferred_output"))
    return _preference(asked, preferred, other, tools, line, report)


def _preference(
    prompt: Field | None, chosen: Field, rejected: Field, tools: tuple[Tool, ...], line: int, report: Report
) -> Preference:
    asked = _turns(prompt, "user", tools, report) if prompt is not None else []
    read = [_turns(field, "assistant", tools, report) for field in (chosen, rejected)]
    answers = [answer for answer in read if answer is not None]
    if asked is None or len(answers) < len(read):
        return Preference(Conversation((), tools, line), Conversation((), tools, line))
    if prompt is None:
        asked, answers = _parted(*answers)
    asked = [Turn(_read_only(turn.message), turn.place, turn.role_field) for turn in asked]
    sides = [Conversation(tuple(turn.message for turn in (*asked, *answer)), tools, line) for answer in answers]
    fault = _fault(asked, answers, (chosen.path, rejected.path))
    if fault is not None:
        report(*fault)
        return Preference(*sides)
    once = _told_once(report)
    for field, answer in zip((chosen, rejected), answers, strict=True):
        _check(asked, answer, field.path, once)
    return Preference(*sides)


def _turns(field: Field, speaker: str, tools: Sequence[Tool], report: Report) -> list[Turn] | None:
    """The turns of a list of messages, or the one that a text is; None when anything was reported."""
    if isinstance(field.value, str):
        if not field.value.strip():
            report(field.path, "is empty")
            return None
        return [Turn({"role": speaker, "content": field.value}, field.path, field.path)]
    if field.value is None:
        report(field.path, "is missing")
        return None
    if not isinstance(field.value, list) or not field.value:
        report(field.path, "must be a string or a non-empty list of messages")
        return None
    return turns.read_turns(field.value, field.path, tools, report)


def _parted(chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Turn], list[list[Turn]]]:
    """What two whole conversations begin with alike, and the rest of each."""
    pairs = zip(chosen, rejected, strict=False)
    shared = next(
        (index for index, (one, other) in enumerate(pairs) if one.message != other.message),
        min(len(chosen), len(rejected)),
    )
    return chosen[:shared], [chosen[shared:], rejected[shared:]]


def _fault(asked: list[Turn], answers: list[list[Turn]], paths: tuple[str, str]) -> tuple[str, str] | None:
    """Path and text of what makes the row no pair of answers."""
    if [turn.message for turn in answers[0]] == [turn.message for turn in answers[1]]:
        return paths[1], f"equals {paths[0]}, so that neither is preferred"
    if not asked:
        return paths[0], "has nothing before it that it answers; give prompt or messages"
    empty = next((path for path, answer in zip(paths, answers, strict=True) if not answer), None)
    if empty is not None:
        return empty, "has no turn of its own"
    if asked[-1].message["role"] == "assistant":
        return asked[-1].place, "the assistant has spoken already, so that there is nothing to answer"
    return None


def _check(asked: list[Turn], answer: list[Turn], path: str, report: Report) -> None:
    stranger = next((turn for turn in answer if turn.message["role"] not in ("assistant", "tool")), None)
    if stranger is not None:
        report(stranger.role_field, "only the assistant and its tools speak in an answer")
    else:
        turns.check_order([*asked, *answer], path, report)


def _told_once(report: Report) -> Report:
    """Both answers follow one prompt, whose defects are told once."""
    told: set[tuple[str, str]] = set()

    def once(path: str, what: str) -> None:
        if (path, what) not in told:
            told.add((path, what))
            report(path, what)

    return once


def _read_only(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message
