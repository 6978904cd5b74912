"""Who waits for memory is let in in order, passed by nobody who came later, and for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from catalog import models
from catalog.base import locate
from catalog.errors import MemoryInUse, NotFound
from catalog.ids import BARE_BASE, BaseId, ModelRef
from catalog.models import ModelFile, ModelRow
from gateway.engine import turns
from gateway.engine.engine import Engine
from gateway.engine.requests import Finish, Generation, Piece
from gateway.engine.room import in_use
from gateway.engine.turns import Turns
from tests.gateway.engine.conftest import GREEDY, House, held, run, running, until
from tests.tiny_base import write_base

Tight = Callable[..., AbstractAsyncContextManager[Engine]]
OLD, NEW, THIRD = BaseId("old"), BaseId("new"), BaseId("third")
LONG_S = 60.0


@dataclass
class Memory:
    """Room for one base. `asked` says who asked and whether it was had."""

    turns: Turns
    rows: dict[BaseId, int] = field(default_factory=dict)
    asked: list[BaseId] = field(default_factory=list)
    got: list[BaseId] = field(default_factory=list)

    def enter(self, base: BaseId) -> Callable[[], Awaitable[BaseId]]:
        async def ask() -> BaseId:
            self.asked.append(base)
            await asyncio.sleep(0)
            if any(rows for other, rows in self.rows.items() if other != base):
                raise in_use()
            self.rows[base] = self.rows.get(base, 0) + 1
            self.got.append(base)
            return base

        return ask

    def leave(self, base: BaseId) -> None:
        self.rows[base] -= 1
        self.turns.go_on()

    def wants(self, base: BaseId) -> asyncio.Task[BaseId]:
        return asyncio.create_task(self.turns.take(base, self.enter(base)))


async def queued(memory: Memory, *bases: BaseId) -> list[asyncio.Task[BaseId]]:
    """These in the queue, in order."""
    tasks = []
    for base in bases:
        before = memory.turns.waiting
        tasks.append(memory.wants(base))
        await until(lambda before=before: memory.turns.waiting == before + 1)  # type: ignore[misc]
    return tasks


def test_nobody_waits_while_there_is_memory() -> None:
    async def scene() -> None:
        memory = Memory(Turns(LONG_S))
        assert [await memory.wants(OLD) for _ in range(3)] == [OLD] * 3
        assert memory.turns.waiting == 0 and len(memory.asked) == 3

    run(scene())


def test_who_comes_later_waits_behind_and_a_base_is_loaded_once_for_all_who_wait_for_it() -> None:
    async def scene() -> None:
        memory = Memory(Turns(LONG_S))
        await memory.wants(OLD)
        tasks = await queued(memory, NEW, OLD, NEW, THIRD)
        memory.leave(OLD)
        assert [await tasks[0], await tasks[2]] == [NEW, NEW]
        await until(lambda: memory.asked[-1] == OLD)
        assert memory.got == [OLD, NEW, NEW] and not tasks[1].done()
        late = (await queued(memory, NEW))[0]
        for _ in range(2):
            memory.leave(NEW)
        assert await tasks[1] == OLD
        memory.leave(OLD)
        assert await tasks[3] == THIRD
        memory.leave(THIRD)
        assert await late == NEW

    run(scene())


def test_the_last_answer_that_ends_while_somebody_joins_is_not_missed() -> None:
    async def scene() -> None:
        memory = Memory(Turns(LONG_S))
        await memory.wants(OLD)

        async def refused_as_the_last_one_ends() -> BaseId:
            if memory.rows[OLD]:
                memory.leave(OLD)  # there is nobody in the queue to be told
                raise in_use()
            return NEW

        assert await asyncio.wait_for(memory.turns.take(NEW, refused_as_the_last_one_ends), 20) == NEW

    run(scene())


def test_who_waits_in_vain_is_refused_and_those_behind_go_on() -> None:
    async def scene() -> None:
        memory = Memory(Turns(0.5))
        await memory.wants(OLD)
        (waits,) = await queued(memory, NEW)
        behind = memory.wants(OLD)
        with pytest.raises(MemoryInUse) as refusal:
            await waits
        assert (refusal.value.http_status, refusal.value.retry_after_s) == (429, 1.0)
        assert await behind == OLD

    run(scene())


def test_with_no_patience_it_is_refused_at_once() -> None:
    async def scene() -> None:
        memory = Memory(Turns(0))
        await memory.wants(OLD)
        with pytest.raises(MemoryInUse):
            await memory.wants(NEW)
        assert memory.turns.waiting == 0

    run(scene())


def test_who_is_cancelled_leaves_the_queue_and_those_behind_go_on() -> None:
    async def scene() -> None:
        memory = Memory(Turns(LONG_S))
        await memory.wants(OLD)
        waits, behind = await queued(memory, NEW, OLD)
        waits.cancel()
        assert await asyncio.wait_for(behind, 20) == OLD
        assert memory.turns.waiting == 0

    run(scene())


def test_what_else_goes_wrong_is_told_and_those_behind_go_on() -> None:
    async def scene() -> None:
        memory = Memory(Turns(LONG_S))
        await memory.wants(OLD)

        async def breaks() -> None:
            if memory.rows[OLD]:
                raise in_use()
            raise NotFound("There is no such base.")

        breaking = await waiting_for(memory, breaks)
        (behind,) = await queued(memory, OLD)
        memory.leave(OLD)
        with pytest.raises(NotFound):
            await breaking
        assert await asyncio.wait_for(behind, 20) == OLD

    run(scene())


def test_a_base_that_was_loaded_for_a_request_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "KEPT_S", LONG_S)

    async def scene() -> None:
        memory = Memory(Turns(LONG_S))
        await memory.wants(OLD)
        loading = await waiting_for(memory, lambda: loaded_if_idle(memory), and_keep=True)
        behind, also = await queued(memory, OLD, NEW)
        loading_too = asyncio.create_task(memory.turns.take(NEW, lambda: loaded_if_idle(memory), and_keep=True))
        await until(lambda: memory.turns.waiting == 4)
        memory.leave(OLD)
        await asyncio.gather(loading, loading_too, also)
        assert not behind.done() and memory.turns.waiting == 1
        assert memory.asked.count(OLD) == 1
        assert await memory.wants(NEW) == NEW, "it passes who waits"
        await until(lambda: memory.asked.count(OLD) == 2)
        assert not behind.done()
        memory.leave(NEW)
        memory.leave(NEW)
        assert await asyncio.wait_for(behind, 20) == OLD

    run(scene())


def test_a_base_whose_request_never_comes_is_kept_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "KEPT_S", 0.05)

    async def scene() -> None:
        memory = Memory(Turns(LONG_S))
        await memory.wants(OLD)
        loading = await waiting_for(memory, lambda: loaded_if_idle(memory), and_keep=True)
        (behind,) = await queued(memory, OLD)
        memory.leave(OLD)
        await loading
        assert await asyncio.wait_for(behind, 20) == OLD

    run(scene())


async def loaded_if_idle(memory: Memory) -> None:
    if memory.rows[OLD]:
        raise in_use()


async def waiting_for(
    memory: Memory, ask: Callable[[], Awaitable[None]], *, and_keep: bool = False
) -> asyncio.Task[None]:
    """Somebody who asks so for the new base, in the queue."""
    task = asyncio.create_task(memory.turns.take(NEW, ask, and_keep=and_keep))
    await until(lambda: memory.turns.waiting == 1)
    return task


# The same over the real engine, with bases of random weights of which two never fit.


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("other"), seed=11)


@pytest.fixture
def tight(house: House, other: Path, monkeypatch: pytest.MonkeyPatch) -> Tight:
    """An engine with memory for one and a half bases."""
    row = ModelRow(provider="mlx", family="qwen3", model=str(other), components=["GEN"])
    shipped = models.model_file()
    file = ModelFile.model_validate(shipped.model_dump() | {"models": [*shipped.models, row]})
    monkeypatch.setattr(models, "model_file", lambda: file)

    @asynccontextmanager
    async def made(wait_s: float = LONG_S) -> AsyncIterator[Engine]:
        one_and_a_half = int(1.5 * 4 * locate.size_of(house.base).parameters)
        async with running(house, memory_bytes=one_and_a_half, memory_wait_s=wait_s) as engine:
            yield engine

    return made


async def say(engine: Engine, base: Path | None, tokens: int = 8) -> str:
    voice = await engine.resolve(ModelRef(BaseId(str(base)) if base else None, BARE_BASE))
    prompt = await voice.text_tokens("hello")
    said = ""
    async for item in engine.generate(Generation(prompt, None, tokens, sampling=GREEDY, base=voice.base)):
        said += "" if isinstance(item, Finish) else item.text
    return said


async def endless(engine: Engine) -> AsyncGenerator[Piece | Finish, None]:
    """An answer of the default base that has begun and goes on until it is closed."""
    voice = await engine.resolve(ModelRef(None, BARE_BASE))
    stream = engine.generate(Generation(await voice.text_tokens("hello"), None, 1900, sampling=GREEDY))
    await anext(stream)
    return stream


def test_a_base_is_answered_as_soon_as_the_last_answer_of_another_ends(house: House, tight: Tight, other: Path) -> None:
    async def scene() -> None:
        async with tight() as engine:
            stream = await endless(engine)
            with held(engine, BaseId(str(house.base))):
                waits = asyncio.create_task(say(engine, other))
                await until(lambda: engine.waiting_for_memory == 1)
            assert isinstance(await anext(stream), Piece), "who is answered is not disturbed"
            await stream.aclose()
            assert await waits
            assert engine.state().loaded_bases == (str(other),)

    run(scene())


def test_no_steady_stream_to_one_base_keeps_another_out_nor_is_it_kept_out_itself(tight: Tight, other: Path) -> None:
    async def scene() -> None:
        async with tight() as engine:
            alone = await say(engine, None)
            asked, has_come = 0, asyncio.Event()

            async def ask_on() -> None:
                nonlocal asked
                while not has_come.is_set():
                    assert await say(engine, None) == alone
                    asked += 1

            steady = [asyncio.create_task(ask_on()) for _ in range(4)]
            await until(lambda: asked > 4)
            first, again = await say(engine, other), await say(engine, other)
            assert first == again != alone
            before = asked
            await until(lambda: asked > before)
            has_come.set()
            await asyncio.gather(*steady)
            assert engine.waiting_for_memory == 0

    run(scene())


def test_a_client_that_goes_away_leaves_the_queue_and_loads_nothing(house: House, tight: Tight, other: Path) -> None:
    async def scene() -> None:
        async with tight() as engine:
            stream = await endless(engine)
            with held(engine, BaseId(str(house.base))):
                waits = asyncio.create_task(say(engine, other))
                await until(lambda: engine.waiting_for_memory == 1)
                behind = asyncio.create_task(say(engine, None))
                await until(lambda: engine.waiting_for_memory == 2)
                waits.cancel()
            assert await behind
            assert isinstance(await anext(stream), Piece)
            await stream.aclose()
            await until(lambda: engine.counters.rows == 0)
            assert (engine.state().loaded_bases, engine.admitted_tokens) == ((engine.state().base,), 0)

    run(scene())


def test_a_row_that_waits_counts_as_admitted_and_is_refused_after_its_patience(
    house: House, tight: Tight, other: Path
) -> None:
    async def scene() -> None:
        async with tight(wait_s=0.5) as engine:
            await say(engine, other)
            stream = await endless(engine)
            with held(engine, BaseId(str(house.base))):
                admitted = engine.admitted_tokens
                waits = asyncio.create_task(say(engine, other))
                await until(lambda: engine.admitted_tokens > admitted)
                with pytest.raises(MemoryInUse):
                    await waits
                assert engine.admitted_tokens == admitted
            await stream.aclose()

    run(scene())
