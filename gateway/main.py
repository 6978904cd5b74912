"""`serve`: the gateway as a process. Puts everything together, listens, and ends with an exit code of sysexits.

The engine is imported only where it is enabled, so that a gateway before upstreams alone never loads MLX.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop

from catalog import keys
from catalog.adapters import AdapterStore
from catalog.audit import AdminLog
from catalog.chats import ChatStore
from catalog.ids import AdapterId, BaseId
from catalog.keys import KeyStore
from catalog.runs import RunStore
from catalog.settings import Loaded, Settings
from catalog.uploads import FileStore
from gateway import logs, routing, training
from gateway.app import create_asgi
from gateway.chooser import Chooser
from gateway.context import Context
from gateway.folder_watch import FolderWatch
from gateway.guard import Guard
from gateway.home_state import HomeState
from gateway.lifecycle import Lifecycle
from gateway.live import FileWatch, LiveSettings, settings_watch
from gateway.measure import Measures
from gateway.ports import AnswerEngine
from gateway.probation import Probation
from gateway.probe import Prober
from gateway.providers import Providers
from gateway.recording import Recorder
from gateway.retries import RetryBudget
from gateway.server import GatewayServer, bind
from gateway.upstream import Upstreams

log = logging.getLogger(__name__)

COLLECT_AFTER = 20_000
"""New objects that can hold others, beyond those freed, before the youngest are looked through for cycles."""


def serve(loaded: Loaded, home: Path, environ: Mapping[str, str]) -> int:
    """Answer until a signal; `environ` holds the upstreams' keys. Returns the exit code."""
    settings = loaded.settings
    if obstacle := keys.obstacle(settings.gateway, home):
        print(f"ragweld: {obstacle}", file=sys.stderr)
        return os.EX_CONFIG
    try:
        listener = bind(settings.gateway)
    except OSError as error:
        where = f"{settings.gateway.host}:{settings.gateway.port}"
        print(f"ragweld: cannot listen on {where}: {error.strerror}. Choose another with --port.", file=sys.stderr)
        return os.EX_CONFIG
    context = build(loaded, home, environ, engine(settings, home))
    logs.configure(context.measures.log_line_lost)
    server = GatewayServer(create_asgi(context), settings.gateway, context.lifecycle)
    host, port = listener.getsockname()[:2]
    spare_the_collector()
    print(f"gateway listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listener]))
    return os.EX_OK


def spare_the_collector() -> None:
    """Leave what was loaded so far out of every collection, and collect less often.

    A request leaves next to no cycles, yet at Python's defaults looking for them took a fifth of its CPU
    (`tests/bench/proxy.py`); what does leave some is found at the next of these.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def engine(settings: Settings, home: Path) -> AnswerEngine | None:
    """The in-process engine, not yet started; None where it is switched off."""
    if not settings.engine.enabled:
        return None
    from gateway.engine.engine import Engine

    return Engine(settings, home)


def folder_watch(settings: Settings, home: Path, answering: AnswerEngine, adapters: AdapterStore) -> FolderWatch:
    """What looks after the adapter folder that users know."""
    return FolderWatch(
        home, known_folder(settings, home), settings.training.ragweld_agent_reload_period_sec, answering, adapters
    )


def copier(
    settings: Settings, home: Path, answering: AnswerEngine | None, adapters: AdapterStore
) -> Callable[[BaseId, AdapterId], None]:
    """What copies a base's active adapter to the folder that users know, if it is of the default base: what lies there
    becomes that one's."""

    def copied(base: BaseId, adapter_id: AdapterId) -> None:
        if answering is not None and answering.state().base == base:
            training.copy(adapters, adapter_id, known_folder(settings, home))

    return copied


def known_folder(settings: Settings, home: Path) -> Path:
    """Where users find the default base's active adapter."""
    return home / Path(settings.training.ragweld_agent_model_path).expanduser()


def build(loaded: Loaded, home: Path, environ: Mapping[str, str], answering: AnswerEngine | None) -> Context:
    """Everything that lives as long as the gateway; raises InvalidRequest when its keys cannot be read."""
    settings, live = loaded.settings, LiveSettings(loaded, home)
    adapters = AdapterStore(home)
    measures = Measures(answering, settings.engine, HomeState(home, adapters))
    store = KeyStore(home)
    probation = Probation(adapters, copier(settings, home, answering, adapters), measures.automatic_rollback)
    if answering is not None:
        answering.on_failed_trial(probation.failed_trial)
    guard = Guard(store.known(), time.monotonic) if keys.are_asked_for(settings.gateway) else None
    providers = Providers(
        lambda: live.settings.routing.breaker_failures, time.monotonic, random.random, measures.upstream_error
    )
    measures.show(providers)
    upstreams = Upstreams(environ, time.monotonic, providers)
    prober = Prober(
        lambda: routing.usable(live.settings.upstreams, environ),
        upstreams.look_at,
        providers,
        lambda: live.settings.routing.probe_interval_s,
        random.random,
    )
    return Context(
        live=live,
        home=home,
        environ=environ,
        engine=answering,
        watch=folder_watch(settings, home, answering, adapters) if answering is not None else None,
        providers=providers,
        upstreams=upstreams,
        prober=prober,
        chooser=Chooser(environ),
        retries=RetryBudget(),
        runs=RunStore(home),
        adapters=adapters,
        probation=probation,
        files=FileStore(home),
        recorder=Recorder(ChatStore(home), lambda: live.settings.chat_log, measures.chat),
        measures=measures,
        lifecycle=Lifecycle(),
        keys=store,
        guard=guard,
        admin_log=AdminLog(home),
        file_watches=(settings_watch(live), *([keys_watch(store, guard)] if guard is not None else [])),
        started_at=time.time(),
    )


def keys_watch(store: KeyStore, guard: Guard) -> FileWatch:
    """What lets the guard know of keys that were added or removed."""
    return FileWatch(store.path, lambda: guard.take(store.known()))
