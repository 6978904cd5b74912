"""Datasets of conversations: read whole, every defect with file, line and field, split so that rows keep their side.

JSONL of `{"messages": [...], "tools": [...]}` (OpenAI chat) or of eval items `{"question", "expected_answer"}`, which
are turned into chats. A row is held out by the hash of its own content and the seed, so adding rows never moves
others. Source of the message shape: OpenAI fine-tuning data format.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.errors import InvalidDataset

HELD_OUT_SHARE = 0.1
MAX_DEFECTS_SHOWN = 50
_ASSISTANT_TURN = re.compile(rb'"role"\s*:\s*"assistant"')
SAMPLE_FILE = "harbour.jsonl"
ROLES = ("system", "user", "assistant", "tool")

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row: messages for the chat template, the tools it may call, and where it stands."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    line: int

    def canonical(self) -> bytes:
        """The same bytes for the same content, whatever the file's spacing and key order."""
        content = {"messages": self.messages, "tools": self.tools}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Dataset:
    """All rows of a file, with the digest of its bytes and of its canonical rows."""

    path: Path
    rows: tuple[Conversation, ...]
    bytes_sha256: str
    rows_sha256: str


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from and rows only to be measured on."""

    train: tuple[Conversation, ...]
    held_out: tuple[Conversation, ...]


def read(path: Path) -> Dataset:
    """Read a dataset; raises InvalidDataset with every defect when there is any, or when it is missing or empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidDataset(
            f"The dataset {path} cannot be read: {error.strerror}.", hint="Give dataset_path of a JSONL file."
        ) from error
    rows: list[Conversation] = []
    defects: list[str] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        found: list[str] = []
        row = _parse_line(line, number, found)
        defects += [f"{path.name}:{number}: {defect}" for defect in found]
        if row is not None and not found:
            rows.append(row)
    if not rows and not defects:
        defects.append(f"{path.name}: has no rows")
    if defects:
        raise InvalidDataset(_summary(path, defects), defects=tuple(defects))
    digest = hashlib.sha256(b"\n".join(row.canonical() for row in rows)).hexdigest()
    return Dataset(path, tuple(rows), hashlib.sha256(content).hexdigest(), digest)


def sample_path() -> Path:
    """The dataset that ships with ragweld, in the trainer's folder beside this package."""
    return Path(__file__).parents[1] / "trainer" / "samples" / SAMPLE_FILE


def count_rows(path: Path) -> int:
    """Rows that training makes of a dataset that was not checked: one for each assistant turn. For recommendations.

    Where the template renders a later turn as a continuation of earlier ones, they share a row, and this is too many.
    """
    with path.open("rb") as file:
        return sum(max(1, len(_ASSISTANT_TURN.findall(line))) for line in file if line.strip())


def split(dataset: Dataset, seed: int) -> Split:
    """Hold out about a tenth by content hash, at least one row when there are two or more. Equal rows stay together."""
    ranked = sorted(dataset.rows, key=lambda row: (_rank(row, seed), row.line))
    cut = sum(_rank(row, seed) < HELD_OUT_SHARE for row in ranked)
    if len(ranked) >= 2:
        cut = min(max(cut, 1), len(ranked) - 1)
    held_out = {row.line for row in ranked[:cut]}
    return Split(
        tuple(row for row in dataset.rows if row.line not in held_out),
        tuple(row for row in dataset.rows if row.line in held_out),
    )


def _rank(row: Conversation, seed: int) -> float:
    """Uniform in [0, 1), a function of content and seed."""
    digest = hashlib.sha256(seed.to_bytes(8, "big") + row.canonical()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def _summary(path: Path, defects: list[str]) -> str:
    shown = "\n".join(defects[:MAX_DEFECTS_SHOWN])
    more = f"\n... and {len(defects) - MAX_DEFECTS_SHOWN} more" if len(defects) > MAX_DEFECTS_SHOWN else ""
    return f"{path.name} has {len(defects)} defect(s), nothing was started:\n{shown}{more}"


def _parse_line(line: bytes, number: int, defects: list[str]) -> Conversation | None:
    try:
        row = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        defects.append(f"not valid JSON: {error}")
        return None
    if not isinstance(row, dict):
        defects.append("must be a JSON object")
        return None
    if "messages" not in row and "question" in row:
        return _eval_item(row, number, defects)
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        defects.append("messages: must be a non-empty list")
        return None
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]", defects)
    if not defects and not any(message["role"] == "assistant" for message in messages):
        defects.append("messages: has no assistant turn, so nothing could be learned")
    tools = row.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        defects.append("tools: must be a list of objects")
        return None
    return Conversation(tuple(messages), tuple(tools), number)


def _eval_item(row: dict[str, Any], number: int, defects: list[str]) -> Conversation | None:
    for name in ("question", "expected_answer"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            defects.append(f"{name}: must be a non-empty string")
    if defects:
        return None
    turns = ({"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["expected_answer"]})
    return Conversation(turns, (), number)


def _check_message(message: object, where: str, defects: list[str]) -> None:
    if not isinstance(message, dict):
        defects.append(f"{where}: must be an object")
        return
    role = message.get("role")
    if role not in ROLES:
        defects.append(f"{where}.role: {role!r} is not one of {', '.join(ROLES)}")
        return
    content = message.get("content")
    has_calls = role == "assistant" and bool(message.get("tool_calls"))
    if not isinstance(content, str) and not (content is None and has_calls):
        defects.append(f"{where}.content: must be a string")
    elif role in ("user", "assistant") and not has_calls and not content:
        defects.append(f"{where}.content: is empty")
    elif isinstance(content, str) and any(0xD800 <= ord(char) <= 0xDFFF for char in content):
        defects.append(f"{where}.content: has a lone surrogate")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
