"""Stored chats as OpenAI's stored completions, and as rows to learn from. Blocking.

A dataset made of them is a file like an uploaded one: it does not change when chats come and go, so that a run on it
can be resumed and repeated. Of a conversation that came back turn by turn each answer is learned once, in its own row,
where what was said before is only read. `tests/gateway/test_stored_chats.py`. Source: OpenAI API reference, "Chat
Completions".
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from catalog import datasets
from catalog.chats import Chat, ChatStore, Rating
from catalog.errors import InvalidRequest
from catalog.uploads import FileStore, StoredFile
from gateway.metadata import Metadata, bears

ECHOED = (
    "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "tools", "tool_choice", "response_format",
)  # fmt: skip
"""Fields of a request that OpenAI shows in a stored completion."""
_MESSAGE_FIELDS = ("role", "content", "name", "reasoning_content", "tool_calls", "tool_call_id")


class FeedbackRequest(BaseModel):
    """Body of `POST /api/feedback`: what somebody thinks of an answer that was kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    id: str
    """Of the completion."""
    rating: Rating | None
    """null takes a rating back."""
    comment: str = Field("", max_length=2000)


class MetadataRequest(BaseModel):
    """Body of `POST /v1/chat/completions/{id}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metadata: Metadata | None


class ChatsRequest(BaseModel):
    """Body of `POST /api/datasets/chats`: which kept chats become rows."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rating: Literal["good", "not_bad", "any"] = "good"
    """Only what was rated good; or all but what was rated bad; or all."""
    metadata: Metadata = {}
    """Only chats that bear all of these."""
    model: str | None = None
    """Only answers by this one."""


def stored(store: ChatStore, metadata: Mapping[str, str] | None, model: str | None) -> Iterator[Chat]:
    """Oldest first; `metadata` None asks for those that bear none."""
    for chat in store.chats():
        if bears(chat.metadata, metadata) and model in (None, chat.model):
            yield chat


def view(chat: Chat) -> dict[str, Any]:
    """OpenAI's stored completion, with our rating."""
    asked = {name: chat.request.get(name) for name in ECHOED}
    return {
        **chat.completion,
        "object": "chat.completion",
        **asked,
        "input_user": chat.request.get("user"),
        "metadata": chat.metadata,
        "rating": chat.rating,
    }


def messages(chat: Chat) -> list[dict[str, Any]]:
    """What was asked, as OpenAI lists it."""
    return [_message(f"{chat.id}-{place}", said) for place, said in enumerate(chat.request["messages"])]


def _message(message_id: str, said: Mapping[str, Any]) -> dict[str, Any]:
    parts = said.get("content") if isinstance(said.get("content"), list) else None
    text = "".join(part.get("text", "") for part in parts) if parts is not None else said.get("content")
    return {"id": message_id, "name": None, **said, "content": text, "content_parts": parts}


def dataset(wanted: ChatsRequest, store: ChatStore, uploads: FileStore) -> tuple[StoredFile, Mapping[str, int]]:
    """Make a file of kept chats; says how many were left out and why. Raises InvalidRequest when none is left."""
    left_out: Counter[str] = Counter()
    rows = [row for chat in stored(store, wanted.metadata, wanted.model) if (row := _chosen(chat, wanted, left_out))]
    if not rows:
        raise InvalidRequest(
            f"No kept chat fits; {left_out.total()} were left out.",
            hint="POST /api/feedback rates an answer; rating any takes all.",
            param="rating",
            code="no_chats",
        )
    made_at = datetime.now(UTC)
    folder = uploads.incoming_folder()
    try:
        (folder / "chats").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        kept = uploads.keep(folder / "chats", f"chats-{made_at:%Y%m%d-%H%M%S}.jsonl", "fine-tune")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return kept, {"rows": len(rows), **left_out}


def _chosen(chat: Chat, wanted: ChatsRequest, left_out: Counter[str]) -> dict[str, Any] | None:
    fits = {"good": chat.rating == "good", "not_bad": chat.rating != "bad", "any": True}[wanted.rating]
    row = row_of(chat) if fits else None
    if row is None or not _is_sound(row):
        left_out["not_rated_so" if not fits else "unfinished" if row is None else "unreadable"] += 1
        return None
    return row


def row_of(chat: Chat) -> dict[str, Any] | None:
    """The conversation up to its answer, which alone is learned; None when it is cut short or there are several."""
    choices = chat.completion["choices"]
    if len(choices) != 1 or choices[0]["finish_reason"] not in ("stop", "tool_calls"):
        return None
    before = [_plain(said) for said in chat.request["messages"]]
    context = [said | {"weight": 0} if said["role"] == "assistant" else said for said in before]
    tools = chat.request.get("tools")
    row: dict[str, Any] = {"messages": [*context, _plain(choices[0]["message"])], "id": chat.id}
    return row | ({"tools": tools} if tools else {})


def _plain(said: Mapping[str, Any]) -> dict[str, Any]:
    message = {name: said[name] for name in _MESSAGE_FIELDS if said.get(name) is not None}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [{name: call[name] for name in ("id", "type", "function")} for call in calls]
    return message


def _is_sound(row: dict[str, Any]) -> bool:
    return bool(list(datasets.Reader().values([row])))
