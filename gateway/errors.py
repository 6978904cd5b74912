"""What HTTP adds to the tree of `catalog.errors`, and the one shape in which every error leaves.

RagweldError (catalog.errors)
├── InvalidRequest
│   ├── MalformedJson          400  with the path of the fault
│   └── MalformedForm          400
├── InvalidDataset
│   └── InvalidFile            400  an uploaded dataset with every defect
├── UnknownKey                 401
├── Forbidden                  403  foreign Host or Origin
│   └── MissingScope                the key may not do this
├── NoSuchMethod               405
├── BodyCut                400  the client left before its end
├── BodyTimedOut               408
├── BodyTooLarge               413
├── UnsupportedMediaType       415
├── InvalidBody                422  an administration body with a bad field
├── Overloaded
│   └── RateLimited            429  a key's own limit
├── UpstreamRefused            4xx  the upstream found the request itself at fault
└── Unavailable
    └── ShuttingDown           503

The shape is OpenAI's: `{"error": {"message", "type", "param", "code"}}`. `tests/gateway/test_error_shape.py` walks it
over all routes.
"""

from __future__ import annotations

import errno
import math
from typing import Any

import msgspec
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException
from pydantic import ValidationError

from catalog.errors import Conflict, InvalidDataset, InvalidRequest, NotFound, Overloaded, RagweldError, Unavailable

LOADING_RETRY_AFTER_S = 2.0


class MalformedJson(InvalidRequest):
    code = "malformed_json"


class MalformedForm(InvalidRequest):
    code = "malformed_form"


class InvalidFile(InvalidDataset):
    """An uploaded dataset with defects. OpenAI says 400 where `/api` says 422."""

    code = "invalid_file_format"
    http_status = 400

    def __init__(self, message: str, *, defects: tuple[str, ...] = ()) -> None:
        super().__init__(message, defects=defects)
        self.param = "file"


class UnknownKey(RagweldError):
    code = "invalid_api_key"
    http_status = 401


class Forbidden(RagweldError):
    code = "forbidden"
    http_status = 403


class MissingScope(Forbidden):
    code = "missing_scope"


class NoSuchMethod(RagweldError):
    code = "method_not_allowed"
    http_status = 405


class BodyCut(RagweldError):
    code = "client_gone"
    http_status = 400


class BodyTimedOut(RagweldError):
    code = "request_timeout"
    http_status = 408


class BodyTooLarge(RagweldError):
    code = "request_too_large"
    http_status = 413


class UnsupportedMediaType(RagweldError):
    code = "unsupported_media_type"
    http_status = 415


class InvalidBody(RagweldError):
    code = "invalid_body"
    http_status = 422


class RateLimited(Overloaded):
    """A key has used up its `kind` (requests or tokens) of this minute; `limits` are its `x-ratelimit-*` headers."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, kind: str, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, retry_after_s=retry_after_s, hint=hint)
        self.kind = kind
        self.limits: dict[str, str] = {}


class UpstreamRefused(RagweldError):
    """The upstream's own 4xx about the request, handed on with its status."""

    code = "upstream_refused"

    def __init__(self, message: str, *, http_status: int, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param=param, code=code)
        self.http_status = http_status


class ShuttingDown(Unavailable):
    code = "shutting_down"


_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_TYPES = {403: "permission_error", 429: "rate_limit_error"}
"""Where it is not `invalid_request_error` or `server_error`; for a wrong key OpenAI says the former."""


def content(error: RagweldError) -> dict[str, Any]:
    """The error as OpenAI's object; a dataset's defects are listed beside the message."""
    kind = _TYPES.get(error.http_status, "server_error" if error.http_status >= 500 else "invalid_request_error")
    if isinstance(error, RateLimited):
        kind = error.kind
    inner: dict[str, Any] = {"message": str(error), "type": kind, "param": error.param, "code": error.code}
    if isinstance(error, InvalidDataset) and error.defects:
        inner["defects"] = list(error.defects)
    return {"error": inner}


def body(error: RagweldError) -> bytes:
    return msgspec.json.encode(content(error))


def headers(error: RagweldError) -> dict[str, str]:
    """What a client should know before it tries again."""
    match error:
        case RateLimited():
            return {"retry-after": str(math.ceil(error.retry_after_s)), **error.limits}
        case UnknownKey():
            return {"www-authenticate": "Bearer"}
        case Overloaded():
            return {"retry-after": str(math.ceil(error.retry_after_s))}
        case Unavailable():
            return {"retry-after": str(math.ceil(LOADING_RETRY_AFTER_S))}
        case Conflict():
            return {"x-should-retry": "false"}  # OpenAI's SDKs retry a 409 twice unless told
        case BodyTooLarge() | BodyTimedOut():
            return {"connection": "close"}
    return {}


def from_exception(error: Exception, method: str, path: str) -> RagweldError:
    """Any exception that reached the edge as one of the tree; what is unknown says nothing of itself."""
    match error:
        case RagweldError():
            return error
        case NotFoundException():
            return NotFound(f"There is no route {method} {path}.", code="unknown_route")
        case MethodNotAllowedException():
            return NoSuchMethod(f"{path} does not answer {method}.")
        case ValidationException():
            return InvalidRequest(_query_faults(error))
        case OSError() if error.errno in _DISK_FAULTS:
            return Unavailable(f"The disk takes no more: {error.strerror}.", hint="Free some space.", code="disk_full")
        case HTTPException() if error.status_code < 500:
            refused = InvalidRequest(error.detail)
            refused.http_status = error.status_code
            return refused
    return RagweldError("Something failed inside ragweld.", hint="The log has the cause under this x-request-id.")


def from_validation(error: ValidationError) -> InvalidBody:
    """Pydantic's faults as one error: the first field is `param`, all are in the message."""
    faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
    return InvalidBody("; ".join(f"{where or 'body'}: {what}" for where, what in faults), param=faults[0][0] or None)


def _query_faults(error: ValidationException) -> str:
    faults = error.extra if isinstance(error.extra, list) else []
    shown = "; ".join(f"{fault.get('key')}: {fault.get('message')}" for fault in faults if isinstance(fault, dict))
    return shown or error.detail
