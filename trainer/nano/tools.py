"""Tool calls: a small set of tools under many names, the call, and the sentence after the tool's response.

Promises calls in the Qwen3 form (`messages` of OpenAI, `tools` as JSON schema) whose function and parameter names are
read from the schema given, and arguments from closed sets: known cities, minutes, one-digit numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from trainer.nano import tables
from trainer.nano.phrasing import spell, split_key

CITIES: Final[tuple[str, ...]] = tuple(row[0] for row in tables.COUNTRIES.values())
SKIES: Final[tuple[str, ...]] = ("sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear", "stormy")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: the names it goes by, its parameter's names and type, and the questions that call for it."""

    names: tuple[str, ...]
    parameters: tuple[str, ...]
    type: str
    descriptions: tuple[str, ...]
    hints: tuple[str, ...]
    asks: tuple[str, ...]


WEATHER: Final = Tool(
    ("get_weather", "weather", "current_weather", "lookup_weather", "get_current_weather"),
    ("city", "location", "place", "town"),
    "string",
    ("Get the weather of a city.", "Get the current weather", "Weather for a city",
    "Returns the weather in a given location.", "Current weather in a place."),
    ("The city", "City name", "The name of the city", "The place to look up", "City, e.g. Paris"),
    (
        "[What is|What's|How is|How's] the weather [in|like in] {x}[ today| now| right now||]?",
        "[Is it|Will it be] [raining|sunny|cold|hot|warm|windy] in {x}[ today| now||]?",
        "[Do I need|Should I take] [an umbrella|a coat] in {x}?",
        "[Tell me|Check|Look up|Get] the weather [in|for] {x}.",
        "[What is|What's] the temperature in {x}[ now|]?",
    ),
)  # fmt: skip
CLOCK: Final = Tool(
    ("get_time", "current_time", "get_local_time", "clock", "time_in"),
    ("city", "place", "timezone", "location"),
    "string",
    ("Get the local time in a city.", "Current time in a place", "Returns the time", "The local time of a city."),
    ("The city", "City name", "The place", "Where"),
    (
        "[What|Which] time is it in {x}[ now|]?",
        "[What is|What's] the [local |]time in {x}?",
        "[Tell me|Check|Get] the time in {x}.",
        "[How late|What hour] is it in {x}?",
    ),
)
TIMER: Final = Tool(
    ("set_timer", "start_timer", "timer", "add_timer"),
    ("minutes", "duration", "minutes_from_now"),
    "integer",
    ("Set a timer.", "Start a timer", "Starts a timer of some minutes.", "Set a kitchen timer."),
    ("Minutes", "How many minutes", "Duration in minutes"),
    (
        "[Set|Start] a timer [for|of] {x} minutes[, please|].",
        "[Wake|Call|Remind] me in {x} minutes.",
        "[Please|Can you] [set|start] a {x} minute timer[.|?]",
        "Timer, {x} minutes.",
    ),
)
TOOLS: Final[tuple[Tool, ...]] = (WEATHER, CLOCK, TIMER)
_DISTRACTIONS: Final[tuple[tuple[str, str, str], ...]] = (
    ("send_mail", "Send an e-mail.", "address"), ("search", "Search the web.", "query"), ("play_music", "Play a song.",
    "song"),
    ("read_file", "Read a file.", "path"), ("open_door", "Open a door.", "door"), ("calculator", "Do arithmetic.",
    "expression"),
)  # fmt: skip


def _schema(name: str, description: str, parameter: str, kind: str, hint: str | None) -> Json:
    field: Json = {"type": kind} | ({"description": hint} if hint else {})
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": {parameter: field}, "required": [parameter]},
        },
    }


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool as one conversation offers it: under one name, with one parameter name."""

    tool: Tool
    name: str
    parameter: str


def offer(rng: Random) -> tuple[list[Offered], list[Json]]:
    """Some tools (mostly one or two) and their schemas; sometimes another that is of no use here."""
    chosen = rng.sample(TOOLS, rng.choice((1, 1, 1, 2, 2, 3)))
    offered = [Offered(tool, rng.choice(tool.names), rng.choice(tool.parameters)) for tool in chosen]
    schemas = [
        _schema(
            one.name, rng.choice(one.tool.descriptions), one.parameter, one.tool.type,
            rng.choice(one.tool.hints) if rng.random() < 0.5 else None,
        )
        for one in offered
    ]  # fmt: skip
    if rng.random() < 0.2:
        name, description, parameter = rng.choice(_DISTRACTIONS)
        schemas.insert(rng.randrange(len(schemas) + 1), _schema(name, description, parameter, "string", None))
    return offered, schemas


@dataclass(frozen=True, slots=True)
class Call:
    """One request that needs a tool, the right arguments, a response and the sentence about it."""

    text: str
    arguments: Json
    response: str
    sentence: str
    key: str


def call(rng: Random, offered: Offered) -> Call:
    """A request for `offered` with everything that follows from it."""
    tool = offered.tool
    value: str | int = rng.choice(CITIES) if tool.type == "string" else rng.randint(1, 60)
    text = spell(rng, rng.choice(tool.asks), {"x": str(value)})
    arguments: Json = {offered.parameter: value}
    key = split_key("tool", text)
    if tool is WEATHER:
        sky, degrees = rng.choice(SKIES), rng.randint(0, 39)
        shape: Json = {
            rng.choice(("temperature", "degrees", "temp", "temperature_c")): degrees,
            rng.choice(("sky", "condition", "weather")): sky,
        }
        if rng.random() < 0.3:
            shape = dict(reversed(shape.items()))
        return Call(text, arguments, json.dumps(shape), f"It is {sky} in {value}, {degrees} degrees.", key)
    if tool is CLOCK:
        clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
        response = rng.choice((json.dumps({rng.choice(("time", "local_time", "now")): clock}), clock))
        return Call(text, arguments, response, f"It is {clock} in {value}.", key)
    response = rng.choice(('{"ok": true}', "ok", '{"status": "started"}', "done"))
    return Call(text, arguments, response, f"The timer runs for {value} minutes.", key)


def call_message(offered: Offered, arguments: Json, content: str = "") -> Json:
    """The assistant message that makes the call, as OpenAI writes it."""
    function = {"name": offered.name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
    }


def call_without_tool(rng: Random) -> str:
    """A request that would need a tool, for conversations that offer none."""
    tool = rng.choice(TOOLS)
    value = rng.choice(CITIES) if tool.type == "string" else str(rng.randint(1, 60))
    return spell(rng, rng.choice(tool.asks), {"x": value})
