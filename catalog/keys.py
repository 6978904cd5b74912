"""Keys that callers show, kept hashed: who may chat, who may administrate, and how much.

A key is 256 random bits, so its plain sha256 can be neither guessed nor reversed; the key itself is shown once and kept
nowhere. Looking one up compares it with every stored hash in constant time, whether or not one fits.
`tests/catalog/test_keys.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog import files
from catalog.errors import Conflict, InvalidRequest, NotFound
from catalog.ids import checked_name
from catalog.run_life import stamp
from catalog.settings import GatewaySettings

KEYS_FILE = Path("data/keys.json")
KEY_BEGINS = "rw-"
KEY_BYTES = 32

KeyScope = Literal["chat", "admin"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address that is listened on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def are_asked_for(settings: GatewaySettings) -> bool:
    """Whether a request must show a key: always where other machines can reach the gateway."""
    return settings.require_keys or not is_loopback(settings.host)


def obstacle(settings: GatewaySettings, home: Path) -> str | None:
    """Why nobody could pass, in one line with what to type; None when somebody can."""
    if not are_asked_for(settings) or KeyStore(home).known():
        return None
    make = f"ragweld keys add NAME --scope chat,admin --home {home}"
    where = "gateway.require_keys is on" if is_loopback(settings.host) else f"other machines can reach {settings.host}"
    return f"{where}, so a key is required and there is none. Type: {make}"


class Key(BaseModel):
    """One key, without the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: list[KeyScope] = Field(min_length=1)
    requests_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    tokens_per_minute: int | None = Field(None, ge=1, le=1_000_000_000)
    created: str


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[Key] = []


class KeyStore:
    """`<home>/data/keys.json`, readable by its owner alone. Blocking."""

    def __init__(self, home: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = home / KEYS_FILE
        self._now = now

    def known(self) -> list[Key]:
        """Every key; raises InvalidRequest when the file cannot be used."""
        try:
            return _KeyFile.model_validate_json(self.path.read_bytes()).keys
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            fault = error.strerror if isinstance(error, OSError) else "it is not a list of keys"
            raise InvalidRequest(f"{self.path} cannot be used: {fault}.", code="invalid_keys") from error

    def add(
        self,
        name: str,
        scopes: Sequence[KeyScope],
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> str:
        """Make a key and return it, for the only time; raises Conflict when the name is taken."""
        key = KEY_BEGINS + secrets.token_urlsafe(KEY_BYTES)
        with files.exclusive_lock(self.path.with_suffix(".lock")):
            known = self.known()
            if any(one.name == name for one in known):
                raise Conflict(f"There is a key named {name!r} already.", hint="Remove it first.", code="name_taken")
            made = Key(
                name=checked_name(name, "name"),
                sha256=digest(key).hex(),
                scopes=list(scopes),
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                created=stamp(self._now()),
            )
            self._write([*known, made])
        return key

    def remove(self, name: str) -> None:
        """Forget a key; raises NotFound."""
        with files.exclusive_lock(self.path.with_suffix(".lock")):
            known = self.known()
            if not any(one.name == name for one in known):
                raise NotFound(f"There is no key named {name!r}.", param="name")
            self._write([one for one in known if one.name != name])

    def _write(self, keys: list[Key]) -> None:
        content = json.dumps(_KeyFile(keys=keys).model_dump(mode="json"), indent=2).encode() + b"\n"
        files.write_bytes(self.path, content, mode=0o600)


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class KeyRing:
    """Stored keys, ready to be compared."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._digests = [(bytes.fromhex(key.sha256), key) for key in keys]

    def find(self, shown: str) -> Key | None:
        """The key that `shown` is; every stored one is compared, whichever fits."""
        wanted = digest(shown)
        found: Key | None = None
        for stored, key in self._digests:
            if hmac.compare_digest(stored, wanted):
                found = key
        return found
