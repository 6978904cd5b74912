"""Who may pass: the key that a request shows, what it may do, and how much of it each minute. Decides, does no I/O.

Keys are asked for as soon as the gateway listens beyond loopback. What is open and what needs only `chat` is listed
here; every other route needs `admin`, so that a new route is closed until somebody opens it. A right key is never
refused because others guess. `tests/gateway/test_guard.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catalog.errors import RagweldError
from catalog.keys import Key, KeyRing, KeyScope
from gateway.errors import MissingScope, RateLimited, UnknownKey

OPEN = frozenset({"/livez", "/readyz", "/studio"})
_OPEN_PREFIXES = ("/studio/",)
"""The page's own files; what it shows it asks for with a key."""
_CHAT = frozenset(
    {
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
        ("GET", "/tokenizer_info"),
        ("POST", "/api/kg/extract"),
        ("POST", "/api/feedback"),
        ("GET", "/v1/models"),
        ("GET", "/api/models"),
        ("GET", "/api/chat/models"),
    }
)
_CHAT_PREFIXES = ("/v1/models/", "/api/models/")
"""Of what may be read."""
GUESSES_PER_MINUTE = 30
MOST_GUESSERS = 1024
_BEARER = b"bearer "


def scope_for(method: str, path: str) -> KeyScope | None:
    """What a key must be allowed to do; None for everybody."""
    if path in OPEN or path.startswith(_OPEN_PREFIXES):
        return None
    is_read = method == "GET" and path.startswith(_CHAT_PREFIXES)
    return "chat" if is_read or (method, path) in _CHAT else "admin"


@dataclass(slots=True)
class Bucket:
    """What is left of a limit per minute; it fills evenly. `level` may fall below zero by what was used unasked."""

    per_minute: int
    level: float
    at_s: float

    def fill(self, now_s: float) -> None:
        self.level = min(self.per_minute, self.level + (now_s - self.at_s) * self.per_minute / 60)
        self.at_s = now_s

    def wait_s(self, wanted: float) -> float:
        """Seconds until the level is `wanted`."""
        return max(0.0, wanted - self.level) * 60 / self.per_minute


@dataclass(slots=True)
class Allowance:
    """What one key may still use."""

    requests: Bucket | None
    tokens: Bucket | None

    @property
    def limits(self) -> list[int | None]:
        return [None if bucket is None else bucket.per_minute for bucket in (self.requests, self.tokens)]

    def take_request(self, now_s: float) -> RateLimited | None:
        """Count a request, or say why not."""
        for kind, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                bucket.fill(now_s)
                if bucket.level < 1:
                    return _limited(kind, bucket)
        if self.requests is not None:
            self.requests.level -= 1
        return None

    def headers(self) -> dict[str, str]:
        """OpenAI's `x-ratelimit-*`; tokens are those left before this answer."""
        shown: dict[str, str] = {}
        for kind, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                shown[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
                shown[f"x-ratelimit-remaining-{kind}"] = str(max(0, int(bucket.level)))
                shown[f"x-ratelimit-reset-{kind}"] = f"{bucket.wait_s(bucket.per_minute):.3f}s"
        return shown


@dataclass(slots=True)
class Visit:
    """A request that may pass: by which key, and what its handler wants to be remembered of it."""

    key: str | None = None
    """The key's name; None where no key is asked for."""
    allowance: Allowance | None = None
    noted: dict[str, Any] = field(default_factory=dict)

    def spend_tokens(self, tokens: int) -> None:
        """Count what an answer took, after it was given."""
        if self.allowance is not None and self.allowance.tokens is not None:
            self.allowance.tokens.level -= tokens

    def headers(self) -> dict[str, str]:
        return self.allowance.headers() if self.allowance is not None else {}


class Guard:
    """Lets requests pass or not. `clock` is monotonic. Belongs to the event loop."""

    def __init__(self, keys: Sequence[Key], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guessers: OrderedDict[str, Bucket] = OrderedDict()
        self._known: tuple[KeyRing, Mapping[str, Allowance]] = (KeyRing(()), {})
        self.take(keys)

    def take(self, keys: Sequence[Key]) -> None:
        """Know these keys from now on; a key whose limits stay keeps what it has used. From any thread."""
        now_s, (_, kept) = self._clock(), self._known
        full = {key.sha256: _full(key, now_s) for key in keys}
        allowances = {
            one: kept[one] if one in kept and kept[one].limits == new.limits else new for one, new in full.items()
        }
        self._known = (KeyRing(keys), allowances)

    def admit(self, method: str, path: str, headers: Mapping[bytes, bytes], address: str) -> Visit | RagweldError:
        """The visit of a request head, or why it may not pass."""
        needed = scope_for(method, path)
        if needed is None:
            return Visit()
        shown = _shown(headers.get(b"authorization", b""))
        if not shown:
            return UnknownKey(
                "You didn't provide an API key.", hint="Send it as 'Authorization: Bearer rw-...'.", code="no_api_key"
            )
        ring, allowances = self._known
        key = ring.find(shown)
        if key is None:
            return self._guessed(address)
        allowance = allowances[key.sha256]
        limited = allowance.take_request(self._clock())
        if limited is not None:
            limited.limits = allowance.headers()
            return limited
        if needed not in key.scopes:
            return MissingScope(f"The key {key.name!r} lacks the scope {needed!r}.", hint="Ask with another key.")
        return Visit(key.name, allowance)

    def _guessed(self, address: str) -> RagweldError:
        now_s = self._clock()
        bucket = self._guessers.setdefault(address, Bucket(GUESSES_PER_MINUTE, GUESSES_PER_MINUTE, now_s))
        self._guessers.move_to_end(address)
        while len(self._guessers) > MOST_GUESSERS:
            self._guessers.popitem(last=False)
        bucket.fill(now_s)
        if bucket.level < 1:
            return _limited("requests", bucket)
        bucket.level -= 1
        return UnknownKey("Incorrect API key provided.", hint="`ragweld keys list` shows the names of known keys.")


def _shown(header: bytes) -> str:
    return header[len(_BEARER) :].strip().decode("latin-1") if header[: len(_BEARER)].lower() == _BEARER else ""


def _full(key: Key, now_s: float) -> Allowance:
    def full(per_minute: int | None) -> Bucket | None:
        return Bucket(per_minute, per_minute, now_s) if per_minute is not None else None

    return Allowance(full(key.requests_per_minute), full(key.tokens_per_minute))


def _limited(kind: str, bucket: Bucket) -> RateLimited:
    return RateLimited(
        f"Rate limit reached: {bucket.per_minute} {kind} per minute.",
        kind=kind,
        retry_after_s=max(1.0, bucket.wait_s(1)),
        hint="Try again in a moment.",
    )
