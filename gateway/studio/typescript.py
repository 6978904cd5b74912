"""JSON schema to TypeScript: as much of it as pydantic writes for the gateway's shapes, and an error for the rest.

Pure. `tests/gateway/studio/test_types.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def module(definitions: Mapping[str, Schema], head: str) -> str:
    """A module that exports one type for each definition, in alphabetical order."""
    parts = [f"// {head}", *(_exported(name, definitions[name]) for name in sorted(definitions))]
    return "\n\n".join(parts) + "\n"


def _exported(name: str, schema: Schema) -> str:
    about = _comment(schema, "")
    if "properties" in schema:
        return f"{about}export interface {name} {_members(schema, '')}"
    return f"{about}export type {name} = {written(schema)};"


def written(schema: Schema, indent: str = "") -> str:
    """The type of one schema; raises ValueError for what it cannot say."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(written(one, indent) for one in schema["anyOf"]))
    match schema.get("type"):
        case "array":
            return _array(schema, indent)
        case "object":
            return _object(schema, indent)
        case str(plain) if plain in PLAIN:
            return PLAIN[plain]
        case None:
            return "unknown"
    raise ValueError(f"no TypeScript for {schema}")


def _array(schema: Schema, indent: str) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(written(one, indent) for one in schema['prefixItems'])}]"
    inner = written(schema.get("items", {}), indent)
    return f"({inner})[]" if " " in inner else f"{inner}[]"


def _object(schema: Schema, indent: str) -> str:
    if "properties" in schema:
        return _members(schema, indent)
    values = schema.get("additionalProperties", True)
    return f"Record<string, {written(values, indent) if isinstance(values, Mapping) else 'unknown'}>"


def _members(schema: Schema, indent: str) -> str:
    required = schema.get("required", [])
    return "{\n" + "".join(_lines(schema["properties"], required, indent + "  ")) + indent + "}"


def _lines(properties: Mapping[str, Schema], required: list[str], indent: str) -> Iterator[str]:
    for name, schema in properties.items():
        mark = "" if name in required else "?"
        yield f"{_comment(schema, indent)}{indent}{name}{mark}: {written(schema, indent)};\n"


def _comment(schema: Schema, indent: str) -> str:
    text = " ".join(str(schema.get("description", "")).split())
    return f"{indent}/** {text} */\n" if text else ""
