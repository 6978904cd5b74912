"""A bad adapter is taken back within a few answers; a good one is left alone, and history stays linear."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.adapters import AdapterStore, AliasMove
from catalog.errors import EngineFailed
from catalog.ids import AdapterId, BaseId
from catalog.settings import Settings
from gateway.engine.requests import Finish
from gateway.probation import NEW_FOR_S, WATCHED_REQUESTS, Probation, Record, goes_in_circles
from tests.gateway.scripted import BASE, ScriptedEngine, words
from tests.gateway.serving import Served, served, wait_until
from tests.gateway.test_runs_api import write_adapter

CHAT = {"model": "ragweld", "messages": [{"role": "user", "content": "hello"}]}


class Desk:
    """A store whose alias has just moved from one adapter to another, and what became of it."""

    def __init__(self, folder: Path, age_s: float = 0.0) -> None:
        self.folder = folder
        self.now = datetime(2026, 1, 2, tzinfo=UTC)
        self.store = AdapterStore(folder, now=lambda: self.now)
        self.good, self.bad = (self.store.put(write_adapter(folder / str(value), value)) for value in (1.0, 2.0))
        self.base = BaseId(BASE)
        self.store.move(self.base, self.good, expected=None, reason="first")
        self.store.move(self.base, self.bad, expected=self.good, reason="second")
        self.copied: list[tuple[BaseId, AdapterId]] = []
        self.causes: list[str] = []
        later = self.now + timedelta(seconds=age_s)
        self.probation = Probation(self.store, self.copy, self.causes.append, lambda: later)

    def copy(self, base: BaseId, adapter_id: AdapterId) -> None:
        self.copied.append((base, adapter_id))

    def hear(self, *are_bad: bool, adapter: AdapterId | None = None) -> None:
        async def scene() -> None:
            for is_bad in are_bad:
                self.probation.heard(self.base, adapter or self.bad, is_bad=is_bad)
            await self.probation.stop()

        asyncio.run(scene())

    @property
    def active(self) -> AdapterId | None:
        return self.store.active(self.base)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_three_bad_answers_of_few_take_it_back_once(desk: Desk) -> None:
    desk.hear(False, True, True)
    assert desk.active == desk.bad
    desk.hear(True, True, True)
    assert desk.active == desk.good
    last = desk.store.aliases().bases[BASE][-1]
    assert last.reason == "automatic rollback of version 2: 3 of its first 4 answers failed or were bad"
    assert (last.version, last.previous) == (3, desk.bad)
    assert (desk.copied, desk.causes) == ([(desk.base, desk.good)], ["bad_answers"])


def test_half_bad_is_not_yet_bad_and_fifty_answers_end_the_watch(desk: Desk) -> None:
    desk.hear(*[False, True] * (WATCHED_REQUESTS // 2))
    desk.hear(*[True] * 200)
    assert desk.active == desk.bad
    assert desk.causes == []


def test_a_bad_adapter_is_taken_back_within_fifty_requests() -> None:
    for good_first in range(0, 20):
        record = Record(AdapterId("a"))
        for _ in range(good_first):
            record = record.after(False)
        while not record.has_failed:
            record = record.after(True)
        assert record.asked <= WATCHED_REQUESTS


def test_one_that_has_served_for_long_is_not_taken_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path, age_s=NEW_FOR_S + 1)
    desk.hear(True, True, True)
    assert desk.active == desk.bad


def test_answers_of_an_adapter_that_is_not_active_take_nothing_back(desk: Desk) -> None:
    desk.hear(True, True, True, True, adapter=desk.good)
    assert desk.active == desk.bad


def test_where_the_disk_refuses_it_is_tried_again(desk: Desk) -> None:
    class Refusing(AdapterStore):
        """The disk is full at the first move."""

        fault: OSError | None = OSError(28, "No space left on device")

        def retreat(self, base: BaseId, bad: AdapterId, why: str) -> AliasMove | None:
            if (fault := self.fault) is not None:
                self.fault = None
                raise fault
            return super().retreat(base, bad, why)

    desk.probation = Probation(Refusing(desk.folder), desk.copy, desk.causes.append, lambda: desk.now)
    desk.hear(True, True, True)
    assert (desk.active, desk.causes) == (desk.bad, [])
    desk.hear(True, True, True)
    assert (desk.active, desk.causes) == (desk.good, ["bad_answers"])


def test_somebody_who_was_faster_is_not_overrun(desk: Desk) -> None:
    desk.store.move(desk.base, None, expected=desk.bad, reason="a person")
    desk.hear(True, True, True)
    assert desk.active is None
    assert [move.version for move in desk.store.aliases().bases[BASE]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("tail", "circles"),
    [("a" * 240, True), ("no, no, " * 30, True), ("abc" * 40, False), (" ".join(map(str, range(200)))[-240:], False)],
)
def test_an_answer_that_goes_in_circles_is_known(tail: str, circles: bool) -> None:
    assert goes_in_circles(tail) == circles


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def gateway(home: Path, engine: ScriptedEngine) -> Iterator[Served]:
    training_settings = Settings().training.model_copy(update={"ragweld_agent_base_model": BASE})
    with served(home, engine, Settings(training=training_settings)) as running_gateway:
        yield running_gateway


@pytest.mark.parametrize("how", ["fails", "says nothing", "goes in circles"])
def test_by_http_the_first_answers_decide(gateway: Served, engine: ScriptedEngine, home: Path, how: str) -> None:
    store = gateway.context.adapters
    good, bad = (store.put(write_adapter(home / str(value), value)) for value in (1.0, 2.0))
    store.move(BaseId(BASE), good, expected=None, reason="first")
    store.move(BaseId(BASE), bad, expected=good, reason="second")
    engine.active = bad
    match how:
        case "fails":
            engine.script = words(EngineFailed("the numbers broke"))
        case "says nothing":
            engine.script = words()
        case _:
            engine.script = words(*["again "] * 60, Finish("length", 1, 0, 0))
    for _ in range(5):
        gateway.call("POST", "/v1/chat/completions", CHAT)
    wait_until(lambda: store.active(BaseId(BASE)) == good, "the rollback")
    counted = b'ragweld_automatic_rollbacks_total{cause="bad_answers"} 1.0'
    wait_until(lambda: counted in gateway.call("GET", "/metrics").body, "its count")
