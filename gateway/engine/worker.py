"""The engine's thread: it alone touches MLX. It loads, swaps, prefills and decodes for every base.

Others post closures into its mailbox, which it empties between two steps. Which bases are in memory is
`residences.py`'s. All rows' news of one step reach their event loop by one wake-up. A step that fails ends the rows of
its base with EngineFailed; those of other bases and the thread live on. Knows nothing of HTTP, aliases or files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from catalog.base import blas
from catalog.base.lora import Adapter
from catalog.errors import EngineFailed, RagweldError, Unavailable
from catalog.ids import BaseId
from gateway.engine.residence import Limits, Residence, Served
from gateway.engine.residences import Loader, Memory, Residences
from gateway.engine.rows import Counters, Outbox, Row

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.utils import maybe_set_recommended_wired_limit  # noqa: E402

log = logging.getLogger(__name__)

T = TypeVar("T")

STOPPING = Unavailable("The gateway is stopping.", code="shutting_down")


class Worker:
    """Decodes for all bases on one thread of its own. Its public methods may be called from any."""

    def __init__(self, loader: Loader, limits: Limits, memory: Memory) -> None:
        self._mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ragweld-engine", daemon=True)
        self._stopping = False
        self._ending = threading.Lock()
        """Keeps a post from falling between the last look into the mailbox and the thread's end."""
        self._has_ended = False
        self._outbox: Outbox = []
        self._owed: Callable[[RagweldError], None] | None = None
        """Who waits for what is being done now."""
        self._at_stake: Sequence[Residence] | None = None
        """Whose rows end if what is being done now fails; None is everybody's."""
        self.counters = Counters()
        self._residences = Residences(loader, limits, memory, self.counters, self._outbox)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End every row and the thread; True when it ended in time."""
        self._post(self._stop)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def loaded(self) -> tuple[BaseId, ...]:
        """Bases in memory now."""
        return self._residences.bases

    def submit(self, row: Row, done: Callable[[RagweldError | None], None]) -> None:
        """Admit a row and tell that it is in; its news begin with the next step."""
        self._post(lambda: self._answer(done, lambda: self._loaded(row.base).admit(row)))

    def cancel(self, row: Row) -> None:
        """Stop a row before the next step; nothing when it has ended."""
        self._post(lambda: self._cancel(row))

    def load(self, base: BaseId, done: Callable[[Served | RagweldError], None]) -> None:
        """Bring a base into memory, unless it is there, and tell what it is."""
        self._post(lambda: self._answer(done, lambda: self._loaded(base).served))

    def unload(self, base: BaseId, done: Callable[[bool | RagweldError], None]) -> None:
        """Let a base leave memory, unless something is decoded in it; tell whether it is gone."""
        self._post(lambda: self._answer(done, lambda: self._residences.unload(base)))

    def make_resident(self, base: BaseId, adapter: Adapter, done: Callable[[bool | RagweldError], None]) -> None:
        """Put an adapter into a slot now, before its first request; tell False while none is free."""
        self._post(lambda: self._answer(done, lambda: self._swapped(base, adapter)))

    def forget_prefixes(self) -> None:
        """Drop every cached prefix."""
        self._post(self._residences.forget_prefixes)

    def _post(self, work: Callable[[], None]) -> None:
        """Let the thread do something between two steps; once it has ended all that is left is a refusal, told here."""
        with self._ending:
            if not self._has_ended:
                self._mailbox.put(work)
                return
            work()
            self._deliver()

    # What follows runs on the thread only, and `_post` where the thread has ended.

    def _run(self) -> None:
        wired_before = maybe_set_recommended_wired_limit()  # on Metal: weights stay in memory between two steps
        while not self._stopping:
            try:
                self._read_mailbox()
                self._step()
            except Exception as error:
                log.exception("engine: a step failed")
                failed = EngineFailed(f"The engine failed while it was answering: {error}", hint="Try again.")
                self._fail(failed)
                if self._owed is not None:
                    self._owed(failed)
                    self._owed = None
            self._tell()
        self._refuse_the_rest()
        if wired_before is not None:
            mx.set_wired_limit(wired_before)

    def _read_mailbox(self) -> None:
        """Do everything that was posted; with nothing to do, wait for the first post or the next base to leave."""
        if not any(residence.has_work for residence in self._residences.values()):
            try:
                self._mailbox.get(timeout=self._residences.until_next_leaves_s())()
            except queue.Empty:
                self._residences.unload_idle()
                return
        with contextlib.suppress(queue.Empty):
            while not self._stopping:
                self._mailbox.get_nowait()()

    def _step(self) -> None:
        """One token of every row; it is told before new prompts are read, which takes longer."""
        for residence in list(self._residences.values()):
            if residence.has_rows:
                self._at_stake = (residence,)
                residence.decode()
        self._at_stake = None
        self._tell()
        for residence in list(self._residences.values()):
            self._at_stake = (residence,)
            residence.read()
        self._at_stake = None
        self._residences.unload_idle()

    def _answer(self, done: Callable[[T | RagweldError], None], work: Callable[[], T]) -> None:
        """Do what was asked and tell; where it breaks in a way nobody foresaw, the loop above tells that."""
        self._owed = done
        result: T | RagweldError
        try:
            result = work()
        except RagweldError as error:
            result = error
        self._owed = self._at_stake = None
        done(result)

    def _swapped(self, base: BaseId, adapter: Adapter) -> bool:
        is_in = self._loaded(base).make_resident(adapter)
        self._publish()
        return is_in

    def _loaded(self, base: BaseId) -> Residence:
        if self._stopping:
            raise STOPPING
        self._at_stake = ()  # a base that is not in memory yet has no rows
        residence = self._residences.loaded(base)
        self._at_stake = (residence,)
        return residence

    def _cancel(self, row: Row) -> None:
        residence = self._residences.get(row.base)
        if residence is not None:
            self._at_stake = (residence,)
            residence.cancel(row)
            self._at_stake = None

    def _tell(self) -> None:
        self._publish()
        self._deliver()

    def _publish(self) -> None:
        """Let the counters say what is so now."""
        everyone = self._residences.values()
        self.counters.rows = sum(residence.rows for residence in everyone)
        self.counters.waiting = sum(residence.waiting for residence in everyone)
        self.counters.slots = frozenset(
            (one.served.base, adapter_id) for one in everyone for adapter_id in one.resident
        )
        self.counters.waiting_slots = frozenset(
            (one.served.base, adapter_id) for one in everyone for adapter_id in one.waiting_for
        )

    def _deliver(self) -> None:
        """Hand all news to their event loops, one wake-up for each loop."""
        by_loop: dict[asyncio.AbstractEventLoop, Outbox] = {}
        for item in self._outbox:
            by_loop.setdefault(item[0].loop, []).append(item)
        self._outbox.clear()
        for loop, batch in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is there to be told
                loop.call_soon_threadsafe(_put_all, batch)

    def _fail(self, error: RagweldError) -> None:
        for residence in self._residences.values() if self._at_stake is None else self._at_stake:
            residence.fail_all(error)
        self._at_stake = None

    def _stop(self) -> None:
        self._stopping = True
        self._fail(STOPPING)

    def _refuse_the_rest(self) -> None:
        """Tell those that were posted after the end was decided; who posts from now on is told at once."""
        with self._ending:
            self._has_ended = True
            with contextlib.suppress(queue.Empty):
                while True:
                    self._mailbox.get_nowait()()
            self._deliver()
            self._residences.close()


def _put_all(batch: Outbox) -> None:
    for row, news in batch:
        row.news.put_nowait(news)
