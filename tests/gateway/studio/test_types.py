"""The page's types are those of the gateway's shapes: the committed file equals what they make."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.studio import types, typescript

STUDIO = Path(types.__file__).parent


def test_the_committed_types_are_those_of_the_shapes() -> None:
    assert (STUDIO / types.FILE).read_text() == types.text(), "run `python -m gateway.studio`"


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "integer"}, "number"),
        ({"anyOf": [{"type": "number"}, {"type": "integer"}, {"type": "null"}]}, "number | null"),
        ({"enum": ["a", "b"]}, '"a" | "b"'),
        ({"const": "a"}, '"a"'),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"type": "array", "items": {"$ref": "#/$defs/Row"}}, "Row[]"),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}]}, "[string, null]"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "Record<string, boolean>"),
        ({"type": "object"}, "Record<string, unknown>"),
        ({}, "unknown"),
    ],
)
def test_what_pydantic_writes_has_a_type(schema: dict[str, object], written: str) -> None:
    assert typescript.written(schema) == written


def test_a_field_that_may_be_absent_is_marked_and_a_sentence_kept() -> None:
    fields = {"a": {"type": "string", "description": "Its\n name."}, "b": {"type": "null"}}
    text = typescript.module({"Row": {"properties": fields, "required": ["a"]}}, "made")
    assert text == "// made\n\nexport interface Row {\n  /** Its name. */\n  a: string;\n  b?: null;\n}\n"


def test_what_it_cannot_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="no TypeScript"):
        typescript.written({"type": "date"})
