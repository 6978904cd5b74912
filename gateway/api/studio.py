"""`/studio`: the page and its files, out of the package. Open to everybody: the page itself asks for the key.

Every file carries the digest of its bytes as ETag and is asked for again each time, so that a page is never newer than
its script. The policy lets nothing in but these files. `tests/gateway/test_studio_api.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from catalog.errors import NotFound

STATIC = Path(__file__).parents[1] / "studio" / "static"
PAGE = "index.html"
MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str


def page_file_of(name: str) -> PageFile:
    """The file of that name; raises NotFound. Blocking."""
    path = STATIC / name
    if path.suffix not in MEDIA_TYPES or path.name not in {known.name for known in STATIC.iterdir()}:
        raise NotFound(f"The Studio has no file {name!r}.", hint="The page is at /studio.")
    content = path.read_bytes()
    return PageFile(content, MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@get("/studio", sync_to_thread=True)
def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page."""
    return _answer(request, PAGE)


@get("/studio/{name:str}", sync_to_thread=True)
def page_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file that the page loads."""
    return _answer(request, name)


def _answer(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    found = page_file_of(name)
    headers = {**HEADERS, "etag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(b"", status_code=304, media_type=found.media_type, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


handlers = [page, page_file]
