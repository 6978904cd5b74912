"""Settings by curl: what the gateway goes by and why, what a change would be, and when it counts. Blocking.

A change is checked whole and stored whole, or not at all. Secrets are never values: only whether the variable that
holds one is set is told. `tests/gateway/test_config_api.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from catalog import settings as law
from catalog.settings import ENV_VARS, PINNED, Settings
from gateway.errors import InvalidBody
from gateway.live import AT_ONCE, PER_SCOPE, LiveSettings


def shown(live: LiveSettings, environ: Mapping[str, str], scope: str | None) -> dict[str, Any]:
    """What the gateway goes by in a scope, where each value comes from, and what waits for a restart."""
    stored = law.reload(live.home, live.stored, scope=scope)
    effective = effective_in(live, scope)
    waiting = live.awaiting_restart()
    return {
        "scope": scope,
        "settings": effective.model_dump(mode="json"),
        "sources": {key: live.source_at_start(key) if key in waiting else stored.sources[key] for key in ENV_VARS},
        "awaiting_restart": waiting,
        "secrets": {name: "set" if environ.get(name) else "not set" for name in _secrets(effective)},
    }


def effective_in(live: LiveSettings, scope: str | None) -> Settings:
    """What the gateway goes by in a scope; raises InvalidRequest."""
    return law.overlay(live.settings, live.home, scope) if scope else live.settings


def change(live: LiveSettings, wanted: Mapping[str, object], scope: str | None) -> dict[str, Any]:
    """Store `wanted` (nested or dotted; null goes back to the default), and say when each part counts.

    Raises InvalidBody or InvalidRequest naming the key; then nothing has changed.
    """
    changes = dict(_dotted(wanted))
    check_scoped(changes, scope)
    before = law.reload(live.home, live.stored, scope=scope).flat()
    law.store(live.home, changes, scope=scope)
    live.refresh()
    now = law.reload(live.home, live.stored, scope=scope)
    overruled = {key: now.sources[key] for key in changes if now.sources[key] in PINNED}
    after = now.flat()
    changed = {key: {"from": before[key], "to": after[key]} for key in changes if before[key] != after[key]}
    return {
        "ok": True,
        "scope": scope,
        "changed": changed,
        "effective_now": sorted(key for key in changed if counts_at_once(key, scope)),
        "after_restart": sorted(key for key in changed if not counts_at_once(key, scope)),
        "overruled": overruled,
    }


def check_scoped(keys: Iterable[str], scope: str | None) -> None:
    """Raises InvalidBody when a key cannot have a value of the scope's own."""
    for key in keys:
        if scope is not None and key not in PER_SCOPE:
            raise InvalidBody(f"{key} is one for all scopes.", hint="Change it without a scope.", param=key)


def counts_at_once(key: str, scope: str | None) -> bool:
    """Whether a change of `key` needs no restart."""
    return key in (PER_SCOPE if scope is not None else AT_ONCE)


def schema() -> dict[str, Any]:
    """JSON schema of the tree; `x-env` names each setting's variable, `x-effective` says `now` or `restart`."""
    tree = law.schema()
    for key in ENV_VARS:
        section, dot, name = key.partition(".")
        found = tree["properties"][section]
        if dot:
            found = tree["$defs"][found["$ref"].rpartition("/")[2]]["properties"][name]
        found |= {"x-env": ENV_VARS[key], "x-effective": "now" if key in AT_ONCE else "restart"}
    return tree


def _dotted(wanted: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Every setting named, checked to exist."""
    for name, value in wanted.items():
        inner = value.items() if isinstance(value, dict) and name not in ENV_VARS else [("", value)]
        for field, leaf in inner:
            key = f"{name}.{field}" if field else name
            if key not in ENV_VARS:
                raise InvalidBody(f"There is no setting {key!r}.", hint="GET /api/config/schema lists them.", param=key)
            yield key, leaf


def _secrets(settings: Settings) -> set[str]:
    return {upstream.api_key_env for upstream in settings.upstreams if upstream.api_key_env}
