"""JSON as RFC 8259 means it, where Python's parser is lenient: each fault is a 400 with the path of its place.

Refused: NaN and Infinity, a key twice in one object, half a surrogate pair, nesting beyond MAX_DEPTH, a number of
thousands of digits, bytes that are not UTF-8. The good case is the C parser with one hook; only a bad body is walked
again, slowly and at most MAX_WALK_CHARS far, to find the path. `tests/gateway/test_strict_json.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from gateway.errors import MalformedJson

MAX_DEPTH = 64
MAX_WALK_CHARS = 1 << 18
MAX_DIGITS = 1000

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class _FaultError(ValueError):
    """What a hook of the parser found; the path is looked for afterwards."""


def parse(body: bytes) -> Any:
    """The value in `body`; raises MalformedJson whose `param` is a path like `$.messages[0].content`."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The body is not UTF-8 at byte {error.start}.", param="$") from error
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise MalformedJson(f"The body is not JSON: {error}.", param=_path_at(text, error.pos)) from error
    except _FaultError as error:
        raise MalformedJson(f"The body is not JSON: {error}.", param=_fault_path(text)) from error
    except RecursionError as error:
        raise _too_deep(text) from error
    except ValueError as error:  # Python refuses to read an integer of thousands of digits
        raise MalformedJson("The body holds a number of too many digits.", param=_number_path(text)) from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper_than(value, MAX_DEPTH):
        raise _too_deep(text)
    if "\\u" in text:
        _refuse_surrogates(value, "$")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _FaultError("an object names a key twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _FaultError(f"{name} is not a JSON number")


def _is_deeper_than(value: Any, limit: int) -> bool:
    """Whether containers nest deeper than `limit`; level by level, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, dict | list)]


def _too_deep(text: str) -> MalformedJson:
    path = next((_path(place.frames[:4]) for place in _places(text) if len(place.frames) > MAX_DEPTH), "$")
    return MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.", param=path)


def _number_path(text: str) -> str:
    return next(
        (_path(place.frames) for place in _places(text) if len(place.token) > MAX_DIGITS and place.token[0] != '"'), "$"
    )


def _refuse_surrogates(value: Any, path: str) -> None:
    match value:
        case str() if _SURROGATE.search(value):
            raise MalformedJson("A string holds half a surrogate pair.", param=path)
        case list():
            for index, inner in enumerate(value):
                _refuse_surrogates(inner, f"{path}[{index}]")
        case dict():
            for key, inner in value.items():
                _refuse_surrogates(key, path)
                _refuse_surrogates(inner, f"{path}.{key}")


@dataclass(slots=True)
class _Frame:
    """An open object or array, and where inside it the walk is."""

    is_object: bool
    index: int = 0
    key: str | None = None
    keys: set[str] = field(default_factory=set)
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    position: int
    token: str
    frames: list[_Frame]


def _places(text: str) -> Iterator[_Place]:
    """Every token with the frames around it, as far as the text makes sense."""
    frames: list[_Frame] = []
    expects_key = False
    for match in _TOKEN.finditer(text, 0, MAX_WALK_CHARS):
        token = match.group()
        if token in "]}" and frames:
            frames.pop()
            expects_key = False
        elif token == "," and frames:
            frames[-1].index += 1
            expects_key = frames[-1].is_object
        elif token == ":":
            expects_key = False
        elif expects_key and token[0] == '"':
            frame = frames[-1]
            frame.key = _plain(token)
            frame.repeated = frame.key in frame.keys
            frame.keys.add(frame.key)
        elif token in "[{":
            frames.append(_Frame(is_object=token == "{"))
            expects_key = token == "{"
        yield _Place(match.start(), token, frames)


def _plain(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return token.strip('"')


def _path_at(text: str, position: int) -> str:
    path = "$"
    for place in _places(text):
        if place.position > position:
            break
        path = _path(place.frames)
    return path


def _fault_path(text: str) -> str:
    """Where the first repeated key or constant is."""
    for place in _places(text):
        if place.token in ("NaN", "Infinity", "-Infinity") or any(frame.repeated for frame in place.frames):
            return _path(place.frames)
    return "$"


def _path(frames: list[_Frame]) -> str:
    parts = (
        f".{frame.key}" if frame.key is not None else "" if frame.is_object else f"[{frame.index}]" for frame in frames
    )
    return "$" + "".join(parts)
