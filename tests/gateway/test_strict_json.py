"""Lenient JSON is refused with the path of its fault, and quickly."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.strict_json import MAX_DEPTH
from gateway.errors import MalformedJson
from gateway.strict_json import parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

FAULTS = {
    "NaN": (b'{"a": {"temperature": NaN}}', "$.a.temperature"),
    "Infinity": (b'{"a": [1, -Infinity]}', "$.a[1]"),
    "repeated key": (b'{"a": 1, "b": {"c": 1, "d": [], "c": 2}}', "$.b.c"),
    "repeated key, escaped": (b'{"ab": 1, "a\\u0062": 2}', "$.ab"),
    "lone surrogate": (b'{"messages": [{"content": "\\ud800"}]}', "$.messages[0].content"),
    "lone surrogate in a key": (b'{"a": {"\\udfff": 1}}', "$.a"),
    "cut": (b'{"a": [1, 2', "$.a[1]"),
    "trailing comma": (b'{"a": 1,}', "$"),
    "not UTF-8": (b'{"a": "\xff"}', "$"),
    "raw surrogate": (b'{"a": "\xed\xa0\x80"}', "$"),
    "empty": (b"", "$"),
    "two values": (b"{} {}", "$"),
    "huge integer": (b'{"n": ' + b"9" * 5000 + b"}", "$.n"),
    "endless number": (b'{"n": [0, 1e999]}', "$.n[1]"),
    "control character": (b'{"a": "\x01"}', "$.a"),
}

BOMBS = {
    "depth": b"[" * 100_000,
    "depth of objects": b'{"a":' * 100_000,
    "a little too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "hidden depth": b'{"messages": [' + b"[" * 900 + b"]" * 900 + b"]}",
    "digits": b"[" + b"1" * 200_000 + b"]",
}


@given(VALUES)
def test_good_json_is_read_as_python_reads_it(value: object) -> None:
    text = json.dumps(value)
    assert parse(text.encode()) == json.loads(text)


@given(VALUES)
def test_unescaped_text_is_read_as_well(value: object) -> None:
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_path(name: str) -> None:
    body, path = FAULTS[name]
    with pytest.raises(MalformedJson) as caught:
        parse(body)
    assert caught.value.http_status == 400
    assert caught.value.param is not None and caught.value.param.startswith("$")
    if name not in ("cut", "control character"):
        assert caught.value.param == path


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_milliseconds(name: str) -> None:
    began = time.thread_time()
    with pytest.raises(MalformedJson):
        parse(BOMBS[name])
    assert time.thread_time() - began < 0.1


def test_the_deepest_allowed_is_read() -> None:
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        parse(body)
    except MalformedJson as error:
        assert error.param is not None and error.param.startswith("$")
