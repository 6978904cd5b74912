"""Everything the house can refuse, as one tree; each error says what happened and what to change.

RagweldError
├── InvalidRequest        400  what the caller sent cannot be done
│   ├── ContextLengthExceeded
│   └── InvalidAdapter         an adapter file that does not fit its base; names the tensor
├── NotFound              404
├── Conflict              409  it cannot be done *now*, in this state
├── InvalidDataset        422  every defect with file:line and field
├── Overloaded            429  carries retry_after_s
│   └── MemoryInUse            other bases answer and need the memory
├── EngineFailed          500
│   └── NotFinite              what the model computed is no number: its weights or its adapter's are at fault
├── OutOfMemory           507  it needs more memory than there is; says what to change
├── UpstreamFailed        502
├── Unavailable           503  nobody can answer; says what would make it possible
└── UpstreamTimedOut      504

Knows nothing of HTTP frameworks: `gateway.errors` renders these in OpenAI's error shape.
"""

from __future__ import annotations


class RagweldError(Exception):
    """Base of the tree. `hint` tells a person what to change; `param` names the field at fault."""

    code = "internal_error"
    http_status = 500

    def __init__(self, message: str, *, hint: str = "", param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidRequest(RagweldError):
    code = "invalid_request"
    http_status = 400


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class InvalidAdapter(InvalidRequest):
    """An adapter that must not be loaded. `tensor` is the name of the first one at fault, if one is."""

    code = "invalid_adapter"

    def __init__(self, message: str, *, tensor: str | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint, param=tensor)
        self.tensor = tensor


class NotFound(RagweldError):
    code = "not_found"
    http_status = 404


class Conflict(RagweldError):
    code = "conflict"
    http_status = 409


class InvalidDataset(RagweldError):
    """A dataset with defects; `defects` holds lines like `train.jsonl:17: messages[2].role: ...`."""

    code = "invalid_dataset"
    http_status = 422

    def __init__(self, message: str, *, defects: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint, param="dataset_path")
        self.defects = defects


class Overloaded(RagweldError):
    code = "overloaded"
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class MemoryInUse(Overloaded):
    """There will be memory when what is answered now has ended."""


class EngineFailed(RagweldError):
    code = "engine_failed"
    http_status = 500


class NotFinite(EngineFailed):
    """What was computed for a row is no number; whose rows were beside it does not matter."""


class OutOfMemory(RagweldError):
    code = "oom"
    http_status = 507


class UpstreamFailed(RagweldError):
    code = "upstream_unreachable"
    http_status = 502


class Unavailable(RagweldError):
    code = "unavailable"
    http_status = 503


class UpstreamTimedOut(RagweldError):
    code = "upstream_timeout"
    http_status = 504
