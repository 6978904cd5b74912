"""The law of OpenAI's messages and tools: their shape one by one, and their order in a conversation.

Source: OpenAI's fine-tuning format (`weight` 0 or 1 on assistant messages, text parts, tool calls and their answers).
Ids of calls may be left out, as many datasets do: answers then come in the order of the calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog import strict_json
from catalog.datasets.conversation import Message, Tool
from catalog.datasets.defects import Report, quoted

KEYS = {
    "system": ("role", "content", "name"),
    "developer": ("role", "content", "name"),
    "user": ("role", "content", "name"),
    "assistant": ("role", "content", "name", "reasoning_content", "tool_calls", "weight"),
    "tool": ("role", "content", "name", "tool_call_id"),
}
"""What a message of each role may hold; `null` is as good as absent."""
ROLES = tuple(KEYS)
OPENING_ROLES = ("system", "developer")
NOTHING_LEARNED = "so nothing could be learned"


@dataclass(frozen=True, slots=True)
class Turn:
    """A message and where it stands in the row; `role_field` is the path of what says who speaks."""

    message: Message
    place: str
    role_field: str


def read_messages(value: object, tools: Sequence[Tool], report: Report) -> tuple[Message, ...]:
    """Messages in their plainest form: no nulls, text parts joined, no weight of 1."""
    if not isinstance(value, list) or not value:
        report("messages", "must be a non-empty list")
        return ()
    turns = read_turns(value, "messages", tools, report)
    if turns is None:
        return ()
    check_order(turns, "messages", report)
    return tuple(turn.message for turn in turns)


def read_turns(value: Sequence[object], where: str, tools: Sequence[Tool], report: Report) -> list[Turn] | None:
    """The messages of the list at `where`, their order not looked at; None when anything was reported."""
    read = [_message(message, f"{where}[{index}]", tools, report) for index, message in enumerate(value)]
    turns = [
        Turn(message, f"{where}[{index}]", f"{where}[{index}].role")
        for index, message in enumerate(read)
        if message is not None
    ]
    return turns if len(turns) == len(read) else None


def _message(value: object, where: str, tools: Sequence[Tool], report: Report) -> Message | None:
    """The message, or None when anything about it was reported."""
    if not isinstance(value, dict):
        report(where, "must be an object")
        return None
    faults: list[tuple[str, str]] = []
    message = _plain_message(value, tools, lambda field, what: faults.append((field, what)))
    for field, what in faults:
        report(f"{where}.{field}", what)
    return None if faults else message


def _plain_message(value: Message, tools: Sequence[Tool], report: Report) -> Message:
    message = {key: inner for key, inner in value.items() if inner is not None}
    role = message.get("role")
    if role not in ROLES:
        report("role", f"{quoted(role)} is not one of {', '.join(ROLES)}" if "role" in message else "is missing")
        return message
    for key in message:
        if key not in KEYS[role]:
            report(key, _stranger(key, role))
    _check_content(message, report)
    for key in ("name", "tool_call_id", "reasoning_content"):
        if key in KEYS[role] and not isinstance(message.get(key, "-") or None, str):
            report(key, "must be a non-empty string")
    if role == "assistant":
        _check_weight(message, report)
        if "tool_calls" in message:
            message["tool_calls"] = _calls(message["tool_calls"], tools, report)
    return message


def _stranger(key: str, role: str) -> str:
    if key == "weight":
        return "only an assistant message has a weight"
    return f"is not a key of a message of role {role}: {', '.join(KEYS[role])}"


def _check_content(message: Message, report: Report) -> None:
    """Joins text parts. Empty is what a tool may return and a system prompt may be, and what goes with a call."""
    role, has_calls = message["role"], "tool_calls" in message
    if "content" not in message:
        if not has_calls:
            report("content", "is missing")
        return
    content = message["content"]
    if isinstance(content, list):
        content = message["content"] = _joined(content, report)
    if not isinstance(content, str):
        report("content", "must be a string or a list of text parts")
    elif role in ("user", "assistant") and not has_calls:
        check_not_empty(content, "content", report)


def refuse_strangers(value: Mapping[str, Any], keys: Sequence[str], prefix: str, of: str, report: Report) -> None:
    """Reports every key of `value` that is none of `keys`."""
    for key in value:
        if key not in keys:
            report(f"{prefix}{key}", f"is not a key of {of}: {', '.join(keys)}")


def check_not_empty(content: str, field: str, report: Report) -> None:
    """Reports what has no visible character."""
    if not content.strip():
        report(field, "is empty")


def _joined(parts: list[Any], report: Report) -> str:
    texts = []
    for index, part in enumerate(parts):
        where = f"content[{index}]"
        if not isinstance(part, dict):
            report(where, "must be an object")
        elif part.get("type") != "text":
            report(f"{where}.type", f"{quoted(part.get('type'))} is not text, all that can be learned")
        elif not isinstance(part.get("text"), str):
            report(f"{where}.text", "must be a string")
        else:
            texts.append(part["text"])
    return "".join(texts) if len(texts) == len(parts) else "(reported)"


def _check_weight(message: Message, report: Report) -> None:
    """Takes a weight of 1 out, as it is what no weight means."""
    weight = message.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1):
        report("weight", f"{quoted(weight)} is neither 0 nor 1")
    elif weight == 1:
        message.pop("weight", None)


def _calls(value: object, tools: Sequence[Tool], report: Report) -> list[Message]:
    if not isinstance(value, list) or not value:
        report("tool_calls", "must be a non-empty list")
        return []
    ids: set[str] = set()
    for index, call in enumerate(value):
        where = f"tool_calls[{index}]"
        if not isinstance(call, dict):
            report(where, "must be an object")
            continue
        call_id = call.get("id")
        if call_id is not None and not isinstance(call_id, str):
            report(f"{where}.id", "must be a string")
        elif call_id is not None and call_id in ids:
            report(f"{where}.id", f"{quoted(call_id)} is the id of an earlier call too")
        elif call_id is not None:
            ids.add(call_id)
        if call.get("type", "function") != "function":
            report(f"{where}.type", f"{quoted(call['type'])} is not 'function'")
        refuse_strangers(call, ("id", "type", "function"), f"{where}.", "a call", report)
        check_function(call.get("function"), f"{where}.function", tools, report)
    return [call for call in value if isinstance(call, dict)]


def check_function(function: object, where: str, tools: Sequence[Tool], report: Report) -> None:
    """A call's name, which is one of the tools where tools are given, and its arguments: a JSON object, or its text."""
    if not isinstance(function, dict):
        report(where, "must be an object" if function is not None else "is missing")
        return
    refuse_strangers(function, ("name", "arguments"), f"{where}.", "a called function", report)
    name, known = function.get("name"), [tool["function"]["name"] for tool in tools]
    if not isinstance(name, str) or not name:
        report(f"{where}.name", "must be a non-empty string")
    elif known and name not in known:
        report(f"{where}.name", f"{quoted(name)} is none of the row's tools: {', '.join(known)[:200]}")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = strict_json.parse(arguments.encode("utf-8", "surrogatepass") or b"{}")
        except strict_json.JsonFault as fault:
            report(f"{where}.arguments", fault.what)
            return
    if not isinstance(arguments, dict):
        report(f"{where}.arguments", "must be a JSON object" if arguments is not None else "is missing")


def read_tools(value: object, report: Report) -> tuple[Tool, ...]:
    """Tools as OpenAI defines them; none when any is reported, so that no call is blamed for it."""
    if value is None:
        return ()
    if not isinstance(value, list):
        report("tools", "must be a list")
        return ()
    tools: dict[str, Tool] = {}
    for index, tool in enumerate(value):
        fault = _tool_fault(tool)
        if fault is not None:
            report(f"tools[{index}]{fault[0]}", fault[1])
        elif tool["function"]["name"] in tools:
            report(f"tools[{index}].function.name", f"{quoted(tool['function']['name'])} names an earlier tool too")
        else:
            tools[tool["function"]["name"]] = tool
    return tuple(tools.values()) if len(tools) == len(value) else ()


def _tool_fault(tool: object) -> tuple[str, str] | None:
    """Path and text of the first fault."""
    if not isinstance(tool, dict):
        return "", "must be an object"
    if tool.get("type") != "function":
        return ".type", f"{quoted(tool.get('type'))} is not 'function'"
    function = tool.get("function")
    if not isinstance(function, dict):
        return ".function", "must be an object"
    if not isinstance(function.get("name"), str) or not function["name"]:
        return ".function.name", "must be a non-empty string"
    if not isinstance(function.get("parameters", {}), dict):
        return ".function.parameters", "must be an object"
    return None


def check_order(turns: Sequence[Turn], whole: str, report: Report) -> None:
    """Who may speak when, and that something is learned. `whole` is the path of the list of turns."""
    assistants = [turn for turn in turns if turn.message["role"] == "assistant"]
    for turn in turns[1:]:
        if turn.message["role"] in OPENING_ROLES:
            report(turn.role_field, f"a {turn.message['role']} message may only be the first")
    first = next((turn for turn in turns if turn.message["role"] not in OPENING_ROLES), None)
    if first is not None and first.message["role"] == "assistant":
        report(first.role_field, "the assistant speaks first, with nothing to answer")
    _check_answers(turns, report)
    if not assistants:
        report(whole, f"has no assistant turn, {NOTHING_LEARNED}")
    elif all(turn.message.get("weight") == 0 for turn in assistants):
        report(whole, f"every assistant turn has weight 0, {NOTHING_LEARNED}")
    elif turns[-1] is not assistants[-1]:
        report(turns[-1].place, f"comes after the last assistant turn, {NOTHING_LEARNED} from it")


@dataclass(frozen=True, slots=True)
class _Call:
    call_id: str | None
    place: str


def _check_answers(turns: Sequence[Turn], report: Report) -> None:
    """Every tool message answers a call just made, and every call is answered before anybody else speaks."""
    waiting: list[_Call] = []
    for turn in turns:
        if turn.message["role"] == "tool":
            named = turn.message.get("tool_call_id")
            call = next((call for call in waiting if named is None or call.call_id in (None, named)), None)
            if call is not None:
                waiting.remove(call)
            elif named is not None:
                report(f"{turn.place}.tool_call_id", f"{quoted(named)} answers no call just made")
            else:
                report(turn.role_field, "a tool message that answers no call")
            continue
        for call in waiting:
            report(call.place, f"is not answered before {turn.place}")
        waiting = list(_calls_made(turn))


def _calls_made(turn: Turn) -> Iterator[_Call]:
    for index, call in enumerate(turn.message.get("tool_calls", ())):
        yield _Call(call.get("id"), f"{turn.place}.tool_calls[{index}]")
