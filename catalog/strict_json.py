"""JSON as RFC 8259 means it, where Python's parser is lenient: each fault has the path of its place.

Refused: NaN and Infinity, a key twice in one object, half a surrogate pair, nesting beyond MAX_DEPTH, a number that
a double cannot hold or of thousands of digits, bytes that are not UTF-8. The good case is the C parser with hooks;
only a bad text is walked again, slowly and at most MAX_WALK_CHARS far, when its path is asked for.
`tests/gateway/test_strict_json.py`, `tests/catalog/test_datasets.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

MAX_DEPTH = 64
MAX_WALK_CHARS = 1 << 18
MAX_DIGITS = 1000

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class JsonFault(ValueError):
    """What is wrong with a text, as the rest of a sentence about it; `path` is like `$.messages[0].content`."""

    def __init__(self, what: str, find_path: Callable[[], str] = lambda: "$") -> None:
        super().__init__(what)
        self.what = what
        self._find_path = find_path

    @property
    def path(self) -> str:
        """Where it is. Costs a slow walk."""
        return self._find_path()


class _HookFault(ValueError):
    """What a hook of the parser found; the path is looked for afterwards."""


def parse(content: bytes) -> Any:
    """The value in `content`; raises JsonFault."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonFault(f"is not UTF-8 at byte {error.start}") from error
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        position = error.pos
        raise JsonFault(f"is not JSON: {_syntax(text, error)}", lambda: _path_at(text, position)) from error
    except _HookFault as error:
        raise JsonFault(f"is not JSON: {error}", lambda: _fault_path(text)) from error
    except RecursionError as error:
        raise _too_deep(text) from error
    except ValueError as error:  # Python refuses to read an integer of thousands of digits
        raise JsonFault("holds a number of too many digits", lambda: _number_path(text)) from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper_than(value, MAX_DEPTH):
        raise _too_deep(text)
    if "\\u" in text:
        _refuse_surrogates(value, "$")
    return value


def _syntax(text: str, error: json.JSONDecodeError) -> str:
    """What the parser expected and where; a comma too many is called so."""
    is_comma = text[error.pos : error.pos + 1] == "," or text[: error.pos].rstrip().endswith(",")
    what = "a comma with nothing after it" if is_comma and _ends_there(text, error.pos) else error.msg
    line = f"line {error.lineno}, " if "\n" in text.rstrip("\r\n") else ""
    return f"{what} at {line}column {error.colno}"


def _ends_there(text: str, position: int) -> bool:
    return text[position:].lstrip(" \t\r\n,")[:1] in ("", "}", "]")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _HookFault("an object names a key twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _HookFault(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _HookFault(f"{digits[:20]} is too large a number")
    return number


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


def _too_deep(text: str) -> JsonFault:
    return JsonFault(
        f"is nested deeper than {MAX_DEPTH} levels",
        lambda: next((_path(place.frames[:4]) for place in _places(text) if len(place.frames) > MAX_DEPTH), "$"),
    )


def _number_path(text: str) -> str:
    return next(
        (_path(place.frames) for place in _places(text) if len(place.token) > MAX_DIGITS and place.token[0] != '"'), "$"
    )


def _refuse_surrogates(value: Any, path: str) -> None:
    match value:
        case str() if _SURROGATE.search(value):
            raise JsonFault("holds half a surrogate pair", lambda: path)
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
    """Where the first repeated key, constant or endless number is."""
    for place in _places(text):
        if _is_endless(place.token) or any(frame.repeated for frame in place.frames):
            return _path(place.frames)
    return "$"


def _is_endless(token: str) -> bool:
    try:
        return token[0] in "-0123456789NI" and not math.isfinite(float(token))
    except ValueError:
        return False


def _path(frames: list[_Frame]) -> str:
    parts = (
        f".{frame.key}" if frame.key is not None else "" if frame.is_object else f"[{frame.index}]" for frame in frames
    )
    return "$" + "".join(parts)
