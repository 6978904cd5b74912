"""Behaviour checks: a file of prompts with what a good answer to each must be.

JSONL; each line has `prompt` or `messages`, one rule (`exact`, `contains`, `regex`, `json_valid`, `json_schema`) and
perhaps `max_tokens`. Patterns are JSON Schema's (ECMAScript's), searched for by a linear-time engine, also those inside
a schema, and a schema cannot fetch anything, so that no file can make a run hang. `tests/catalog/test_checks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog import strict_json
from catalog.datasets import lines
from catalog.datasets.defects import Defects
from catalog.errors import InvalidDataset

RULES = ("exact", "contains", "regex", "json_valid", "json_schema")
_LINEAR = jsonschema_rs.RegexOptions()
_DOT_ALL = re.compile(r"\(\?[a-z]*s[a-z]*(-[a-z]+)?[:)]")
"""A flag of other dialects, which JSON Schema's takes and does not heed."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str | None = Field(None, min_length=1)
    messages: list[dict[str, Any]] | None = Field(None, min_length=1)
    max_tokens: int = Field(256, ge=1, le=4096)
    exact: str | None = None
    contains: str | None = Field(None, min_length=1)
    regex: str | None = Field(None, min_length=1)
    json_valid: bool | None = None
    json_schema: dict[str, Any] | bool | None = None

    @model_validator(mode="after")
    def _one_question_and_one_rule(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of prompt and messages")
        given = [rule for rule in RULES if getattr(self, rule) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(RULES)}")
        if self.json_valid is False:
            raise ValueError("json_valid can only be true")
        return self

    @property
    def rule(self) -> str:
        return next(rule for rule in RULES if getattr(self, rule) is not None)


@dataclass(frozen=True, slots=True)
class Check:
    """A question and its judge, which gives None for a good answer or what is wrong with it."""

    line: int
    rule: str
    messages: tuple[dict[str, Any], ...]
    max_tokens: int
    judge: Callable[[str], str | None]


def read(path: Path) -> list[Check]:
    """Every check of a file; raises InvalidDataset with every defect, also for an empty file."""
    checks: list[Check] = []
    defects = Defects()
    with lines.open_file(path) as file:
        for number, content in lines.numbered(file, len):
            try:
                checks.append(_check(number, content))
            except ValidationError as error:
                for fault in error.errors():
                    defects.add(number, ".".join(map(str, fault["loc"])), fault["msg"])
            except ValueError as error:
                defects.add(number, "", str(error).splitlines()[0])
    if not checks and not defects.total:
        defects.add(1, "", "the file holds no check")
    if defects.total:
        raise InvalidDataset(defects.summary(path.name), defects=defects.lines(path.name), hint="Mend the checks.")
    return checks


def _check(number: int, content: bytes | None) -> Check:
    if content is None:
        raise ValueError("the line is too long")
    line = _Line.model_validate(strict_json.parse(content))
    messages = line.messages or [{"role": "user", "content": line.prompt}]
    return Check(number, line.rule, tuple(messages), line.max_tokens, _judge(line))


def _judge(line: _Line) -> Callable[[str], str | None]:
    match line.rule:
        case "exact":
            return lambda answer: None if answer.strip() == str(line.exact).strip() else f"it is not {line.exact!r}"
        case "contains":
            return lambda answer: None if str(line.contains) in answer else f"it does not contain {line.contains!r}"
        case "regex":
            if _DOT_ALL.search(str(line.regex)):
                raise ValueError(
                    "the flag s has no effect, '.' is never a line break; write [\\s\\S] for any character"
                )
            pattern = _validator({"type": "string", "pattern": line.regex})
            return lambda answer: None if pattern.is_valid(answer) else f"nothing in it matches {line.regex!r}"
        case "json_valid":
            return lambda answer: _fault_of_json(answer, None)
    schema = _validator(line.json_schema)
    return lambda answer: _fault_of_json(answer, schema)


def _validator(schema: object) -> jsonschema_rs.Validator:
    """Raises ValueError for a schema, or a pattern in one, that cannot be used."""
    return jsonschema_rs.validator_for(schema, pattern_options=_LINEAR, retriever=_fetch_nothing)  # type: ignore[arg-type]


def _fetch_nothing(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not fetched; write the schema out")


def _fault_of_json(answer: str, schema: jsonschema_rs.Validator | None) -> str | None:
    try:
        value = strict_json.parse(answer.encode())
    except ValueError as error:
        return f"it {error}"
    if schema is None:
        return None
    fault = next(iter(schema.iter_errors(value)), None)
    return None if fault is None else f"it does not fit the schema: {fault.message}"
