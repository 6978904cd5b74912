"""The forms in which people keep conversations, and how each becomes OpenAI's messages.

A form is told by its keys. `id`, `source` and `metadata` may label any row and are not learned from; eval items may
carry more. Sources: OpenAI's fine-tuning guide, ShareGPT as LLaMA-Factory and axolotl read it, TRL's preference pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from catalog import strict_json
from catalog.datasets import preferences, turns
from catalog.datasets.conversation import Conversation, Example, Message, Tool
from catalog.datasets.defects import Report, quoted
from catalog.datasets.turns import Turn

Row = dict[str, Any]

LABELS = ("id", "source", "metadata")
PREFERENCE_LABELS = ("prompt_id", "score_chosen", "score_rejected", "margin")
"""What collections of pairs say besides, and what is not learned from."""
SPEAKERS = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
"""ShareGPT's `from` as OpenAI's `role`."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of row. Any of `marks` tells it; `keys` are all it may hold, None if anything."""

    name: str
    marks: tuple[str, ...]
    keys: tuple[str, ...] | None
    read: Callable[[Row, int, Report], Example]
    """A row and its line."""
    is_preference: bool = False
    """Whether its rows are pairs, of which one answer is preferred."""


def form_of(row: Row) -> Form | None:
    """The form whose keys the row has."""
    return next((form for form in FORMS if any(mark in row for mark in form.marks)), None)


def example_of(form: Form, row: Row, line: int, report: Report) -> Example:
    """What the row at `line` holds; worth nothing when anything was reported."""
    if form.keys is not None:
        turns.refuse_strangers(row, (*form.keys, *LABELS), "", form.name, report)
    return form.read(row, line, report)


def _chat(row: Row, line: int, report: Report) -> Conversation:
    tools = turns.read_tools(row.get("tools"), report)
    if not isinstance(row.get("parallel_tool_calls", True), bool):
        report("parallel_tool_calls", "must be true or false")
    return Conversation(turns.read_messages(row.get("messages"), tools, report), tools, line)


def _asked(question: str, answer: str) -> Callable[[Row, int, Report], Conversation]:
    def read(row: Row, line: int, report: Report) -> Conversation:
        for name in (question, answer):
            if row.get(name) is None:
                report(name, "is missing")
            elif not isinstance(row[name], str):
                report(name, "must be a string")
            else:
                turns.check_not_empty(row[name], name, report)
        asked, answered = row.get(question), row.get(answer)
        return Conversation(({"role": "user", "content": asked}, {"role": "assistant", "content": answered}), (), line)

    return read


def _share_gpt(row: Row, line: int, report: Report) -> Conversation:
    tools = turns.read_tools(_tools_of(row, report), report)
    spoken = row.get("conversations")
    if not isinstance(spoken, list) or not spoken:
        report("conversations", "must be a non-empty list")
        return Conversation((), tools, line)
    if not isinstance(row.get("system") or "", str):
        report("system", "must be a string")
    opening = [Turn({"role": "system", "content": row["system"]}, "system", "system")] if row.get("system") else []
    read = [_spoken(turn, f"conversations[{index}]", tools, report) for index, turn in enumerate(spoken)]
    known = opening + [turn for turn in read if turn is not None]
    if all(turn is not None for turn in read):
        turns.check_order(known, "conversations", report)
    return Conversation(tuple(turn.message for turn in known), tools, line)


def _tools_of(row: Row, report: Report) -> object:
    """ShareGPT keeps tools as the text of a JSON list; a list of bare functions is taken as well."""
    tools = row.get("tools") or None
    if isinstance(tools, str):
        try:
            tools = strict_json.parse(tools.encode("utf-8", "surrogatepass"))
        except strict_json.JsonFault as fault:
            report("tools", fault.what)
            return None
    if isinstance(tools, list):
        return [
            {"type": "function", "function": tool} if isinstance(tool, dict) and "function" not in tool else tool
            for tool in tools
        ]
    return tools


def _spoken(turn: object, where: str, tools: tuple[Tool, ...], report: Report) -> Turn | None:
    """One turn of ShareGPT, or None when it was reported."""
    if not isinstance(turn, dict):
        report(where, "must be an object")
        return None
    faults: list[tuple[str, str]] = []
    message = _spoken_message(turn, tools, lambda field, what: faults.append((field, what)))
    for field, what in faults:
        report(f"{where}.{field}", what)
    return None if faults else Turn(message, where, f"{where}.from")


def _spoken_message(turn: Row, tools: tuple[Tool, ...], report: Report) -> Message:
    speaker, value, weight = turn.get("from"), turn.get("value"), turn.get("weight", 1)
    role = SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        one_of = f"{quoted(speaker)} is not one of {', '.join(SPEAKERS)}"
        report("from", one_of if speaker is not None else "is missing")
    turns.refuse_strangers(turn, ("from", "value", "weight"), "", "a turn", report)
    if not isinstance(value, str):
        report("value", "must be a string" if value is not None else "is missing")
        return {}
    if role in ("user", "assistant"):
        turns.check_not_empty(value, "value", report)
    if isinstance(weight, bool) or weight not in (0, 1):
        report("weight", f"{quoted(weight)} is neither 0 nor 1")
    elif "weight" in turn and role != "assistant":
        report("weight", "only an assistant's turn has a weight")
    unlearned = {"weight": 0} if weight == 0 else {}
    if speaker == "function_call":
        return {"role": role, "tool_calls": _called(value, tools, report), **unlearned}
    return {"role": role, "content": value, **unlearned}


def _called(value: str, tools: tuple[Tool, ...], report: Report) -> list[Message]:
    """The calls that a turn from `function_call` holds as text: `{"name", "arguments"}`, or a list of them."""
    try:
        calls = strict_json.parse(value.encode("utf-8", "surrogatepass"))
    except strict_json.JsonFault as fault:
        report("value", fault.what)
        return []
    listed = calls if isinstance(calls, list) and calls else [calls]
    for call in listed:
        turns.check_function(call, "value", tools, report)
    return [{"type": "function", "function": call} for call in listed]


PREFERENCES = Form(
    "preference pairs",
    ("chosen", "rejected"),
    ("prompt", "messages", "chosen", "rejected", "tools", *PREFERENCE_LABELS),
    preferences.read_pair,
    is_preference=True,
)
OPENAI_PREFERENCES = Form(
    "OpenAI preference pairs",
    ("preferred_output", "non_preferred_output"),
    ("input", "preferred_output", "non_preferred_output"),
    preferences.read_openai_pair,
    is_preference=True,
)
CHAT = Form("OpenAI chat", ("messages",), ("messages", "tools", "parallel_tool_calls"), _chat)
SHARE_GPT = Form("ShareGPT", ("conversations",), ("conversations", "system", "tools"), _share_gpt)
EVAL_ITEMS = Form("eval items", ("question", "expected_answer"), None, _asked("question", "expected_answer"))
COMPLETIONS = Form(
    "prompt/completion", ("prompt", "completion"), ("prompt", "completion"), _asked("prompt", "completion")
)
FORMS = (PREFERENCES, OPENAI_PREFERENCES, CHAT, SHARE_GPT, EVAL_ITEMS, COMPLETIONS)
