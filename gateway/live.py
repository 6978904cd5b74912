"""Settings and keys as they are now: files that may change while the gateway runs, looked at every second.

`LiveSettings.settings` is what the gateway really goes by: keys of `AT_ONCE` follow the file, every other keeps the
value it had at the start until a restart. A file that cannot be used leaves the last good values.
`tests/gateway/test_config_api.py` changes each kind and looks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from catalog import settings as law
from catalog.errors import RagweldError
from catalog.settings import ENV_VARS, SETTINGS_FILE, Loaded, Settings

log = logging.getLogger(__name__)

PERIOD_S = 1.0

_HELD = frozenset(
    f"training.ragweld_agent_{name}"
    for name in ("backend", "base_model", "model_path", "unload_after_sec", "reload_period_sec")
)
"""Training settings that the engine and the folder's watch took at their start."""
AT_ONCE = frozenset(
    {key for key in ENV_VARS if key.partition(".")[0] in ("training", "evaluation", "routing", "chat_log", "upstreams")}
    - _HELD
    | {"gateway.allowed_hosts", "gateway.max_body_bytes", "gateway.max_upload_bytes", "gateway.body_deadline_s"}
    | {"engine.default_max_tokens", "engine.adapter_roots"}
)
"""Keys that are read anew for every request."""
PER_SCOPE = frozenset(
    {key for key in ENV_VARS if key.startswith(("training.", "evaluation."))}
    - {f"training.ragweld_agent_{name}" for name in ("backend", "unload_after_sec", "reload_period_sec")}
)
"""Keys that a scope may have its own value of; it counts at once, since runs ask for their scope's settings."""


class LiveSettings:
    """The settings of one gateway. `refresh` is called by one thread at a time; reading is free."""

    def __init__(self, loaded: Loaded, home: Path) -> None:
        self.home = home
        self.stored = loaded
        """As the file has them now, with environment and command line on top."""
        self.settings: Settings = loaded.settings
        """As the gateway goes by them."""
        self._started = loaded.flat()
        self._sources_at_start = loaded.sources

    def refresh(self) -> None:
        """Read the file again; raises InvalidRequest and keeps what was. Blocking."""
        self.stored = law.reload(self.home, self.stored)
        now = self.stored.flat()
        effective = {key: now[key] if key in AT_ONCE else self._started[key] for key in ENV_VARS}
        self.settings = law.from_flat(effective)

    def awaiting_restart(self) -> dict[str, object]:
        """What is stored and not yet gone by, by key."""
        now = self.stored.flat()
        return {key: now[key] for key in sorted(ENV_VARS) if key not in AT_ONCE and now[key] != self._started[key]}

    def source_at_start(self, key: str) -> str:
        return self._sources_at_start[key]


class FileWatch:
    """Calls `changed`, off the loop, when a file is not what it was. Belongs to its event loop."""

    def __init__(self, path: Path, changed: Callable[[], None], period_s: float = PERIOD_S) -> None:
        self._path = path
        self._changed = changed
        self._period_s = period_s
        self._seen = _signature(path)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take a change in now. Blocking."""
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._changed()
            log.info("%s was read again", self._path.name)
        except RagweldError as error:
            log.error("%s changed and is not used: %s", self._path.name, error)


def settings_watch(live: LiveSettings) -> FileWatch:
    return FileWatch(live.home / SETTINGS_FILE, live.refresh)


def _signature(path: Path) -> Sequence[int]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
