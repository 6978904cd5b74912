"""Several bases: loaded when asked for, each with its own adapters, the one unused for longest leaves for another."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalog import models
from catalog.adapters import say_made_for
from catalog.base import locate
from catalog.base.load import Base, bytes_in_memory, load
from catalog.errors import EngineFailed, InvalidAdapter, MemoryInUse, NotFound, Unavailable
from catalog.ids import BaseId, ModelRef
from catalog.models import ModelFile, ModelRow
from gateway.engine import bases
from gateway.engine.engine import Engine
from gateway.engine.requests import Finish, Generation, Piece, Sampling
from gateway.engine.residence import Limits
from gateway.engine.residences import Loader, Memory, Residences
from gateway.engine.rows import Counters
from gateway.engine.voice import EngineVoice
from tests.gateway.engine.conftest import GREEDY, House, answer, run, running, until
from tests.tiny_base import write_adapter, write_base

SEEDED = Sampling(seed=1)
MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("others")
    return [write_base(root / f"other{seed}", seed=seed) for seed in (11, 12)]


@pytest.fixture(autouse=True)
def catalog_knows_them(others: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog's file with rows for the bases of this test."""
    rows = [ModelRow(provider="mlx", family="qwen3", model=str(folder), components=["GEN"]) for folder in others]
    shipped = models.model_file()
    file = ModelFile.model_validate(shipped.model_dump() | {"models": [*shipped.models, *rows]})
    monkeypatch.setattr(models, "model_file", lambda: file)


async def say(engine: Engine, base: Path | None, adapter: str | None = "base") -> tuple[EngineVoice, str]:
    voice = await engine.resolve(ModelRef(BaseId(str(base)) if base else None, adapter))
    tokens = await voice.prompt_tokens(MESSAGES, [], thinking=True)
    text, _ = await answer(engine, Generation(tokens, voice.adapter_id, 16, sampling=SEEDED, base=voice.base))
    return voice, text


def size_in_memory(base: Path) -> int:
    return 4 * locate.size_of(base).parameters


def test_bases_answer_side_by_side_each_as_itself(house: House, others: list[Path]) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            assert {str(house.base), *map(str, others)} <= set(engine.state().bases)
            assert engine.state().loaded_bases == (str(house.base),)
            alone = [(await say(engine, base))[1] for base in (None, *others)]
            assert len(set(alone)) == 3
            together = await asyncio.gather(*(say(engine, base) for base in (None, *others) * 3))
            assert [text for _, text in together] == alone * 3
            assert [voice.base for voice, _ in together[:3]] == [str(house.base), *map(str, others)]

    run(scene())


def test_each_base_has_its_own_active_adapter(house: House, others: list[Path], tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            theirs = house.store.put(write_adapter(tmp_path / "theirs", others[0], seed=4, size=1.0))
            house.store.move(BaseId(str(others[0])), theirs, expected=None, reason="test")
            bare = (await say(engine, others[0]))[1]
            voice, adapted = await say(engine, others[0], None)
            assert voice.adapter_id == theirs
            assert adapted != bare
            assert (await say(engine, None, None))[0].adapter_id is None

    run(scene())


def test_the_base_unused_for_longest_leaves_when_memory_is_needed(house: House, others: list[Path]) -> None:
    budget = int(2.5 * size_in_memory(house.base))

    async def scene() -> None:
        async with running(house, memory_bytes=budget) as engine:
            before = [(await say(engine, base))[1] for base in (None, others[0])]
            assert len(engine.state().loaded_bases) == 2
            await say(engine, None)
            await say(engine, others[1])
            assert set(engine.state().loaded_bases) == {str(house.base), str(others[1])}
            assert [(await say(engine, base))[1] for base in (None, others[0])] == before

    run(scene())


def test_a_base_that_is_answering_never_leaves(house: House, others: list[Path]) -> None:
    async def scene() -> None:
        async with running(house, memory_bytes=int(1.5 * size_in_memory(house.base)), memory_wait_s=0) as engine:
            stream = await endless(engine)
            with pytest.raises(MemoryInUse, match="memory"):
                await engine.resolve(ModelRef(BaseId(str(others[0])), "base"))
            await stream.aclose()
            await until(lambda: engine.counters.rows == 0)
            await say(engine, others[0])
            assert engine.state().loaded_bases == (str(others[0]),)
            await say(engine, None)

    run(scene())


def test_a_base_that_is_idle_for_too_long_leaves_by_itself_and_comes_back(house: House) -> None:
    settings = house.settings()
    training = settings.training.model_copy(update={"ragweld_agent_unload_after_sec": 1})

    async def scene() -> None:
        engine = Engine(settings.model_copy(update={"training": training}), house.home)
        await engine.start()
        try:
            await until(lambda: engine.state().ready)
            before = (await say(engine, None))[1]
            await until(lambda: engine.state().loaded_bases == ())
            assert engine.state().ready, "it still answers"
            assert (await say(engine, None))[1] == before
        finally:
            await engine.stop()

    run(scene())


def test_an_adapter_of_another_base_is_refused_by_its_tensor(house: House, tmp_path: Path) -> None:
    with other_shape(tmp_path) as wide:
        theirs = house.store.put(write_adapter(tmp_path / "wide-adapter", wide, seed=1))

    async def scene() -> None:
        async with running(house) as engine:
            with pytest.raises(InvalidAdapter) as refusal:
                await engine.resolve(ModelRef(None, theirs))
            assert refusal.value.tensor == "model.layers.0.self_attn.q_proj.lora_a"

    run(scene())


@contextmanager
def other_shape(folder: Path) -> Iterator[Path]:
    """A base's config with another hidden size; enough to shape an adapter by."""
    wide = folder / "wide"
    wide.mkdir()
    shipped = json.loads((locate.NANO_FOLDER / "config.json").read_bytes())
    (wide / "config.json").write_text(json.dumps(shipped | {"hidden_size": 96, "num_hidden_layers": 2}))
    yield wide
    shutil.rmtree(wide)


@pytest.mark.parametrize("base", ["/etc", "../../secret", "mlx-community/Qwen3-8B-4bit"])
def test_a_base_that_is_not_here_is_unavailable_and_never_looked_for_by_path(house: House, base: str) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            with pytest.raises((Unavailable, NotFound)):
                await engine.resolve(ModelRef(BaseId(base), None))

    run(scene())


def test_a_base_that_never_fits_is_refused_and_costs_nobody_his_place(
    house: House, others: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = write_base(tmp_path / "huge", seed=13)
    monkeypatch.setattr(models, "known_bases", lambda training: {str(house.base), str(others[0]), str(huge)})
    monkeypatch.setattr(bases, "bytes_in_memory", bytes_as_if(huge, 1 << 40))

    async def scene() -> None:
        async with running(house, memory_bytes=3 * size_in_memory(house.base)) as engine:
            await say(engine, others[0])
            loaded = engine.state().loaded_bases
            assert len(loaded) == 2
            with pytest.raises(Unavailable, match=r"needs 1099\.51 GB of memory") as refusal:
                await say(engine, huge)
            assert refusal.value.code == "no_memory" and "engine.memory_bytes" in refusal.value.hint
            assert engine.state().loaded_bases == loaded

    run(scene())


def bytes_as_if(huge: Path, nbytes: int) -> Callable[..., int]:
    """What a base takes in memory, with another answer for one."""

    def told(base: BaseId, folder: Path, *, cpu_float32: bool) -> int:
        return nbytes if folder == huge else bytes_in_memory(base, folder, cpu_float32=cpu_float32)

    return told


def test_where_those_in_use_leave_no_room_the_request_is_429_and_idle_bases_stay(
    house: House, others: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = size_in_memory(house.base)
    monkeypatch.setattr(bases, "bytes_in_memory", bytes_as_if(others[1], 2 * size))

    async def scene() -> None:
        async with running(house, memory_bytes=int(2.5 * size), memory_wait_s=0) as engine:
            await say(engine, others[0])
            stream = await endless(engine)
            with pytest.raises(MemoryInUse, match="in use and need the memory"):
                await say(engine, others[1])
            both = {str(house.base), str(others[0])}
            assert set(engine.state().loaded_bases) == both, "the idle one would not have been room enough"
            await stream.aclose()
            await until(lambda: engine.counters.rows == 0)
            await say(engine, others[1])
            assert engine.state().loaded_bases == (str(others[1]),)

    run(scene())


def test_adapters_share_their_slots_before_an_idle_base_must_leave(
    house: House, others: list[Path], tmp_path: Path
) -> None:
    folders = [write_adapter(tmp_path / f"a{n}", house.base, 60 + n) for n in range(6)]
    ids = [house.store.put(folder) for folder in folders]
    stacks = 2 * 5 * 4 * 4 * (64 + 64)  # 2 layers, 5 slots, rank 4, float32, q_proj of 64 by 64

    async def scene() -> None:
        async with running(house, memory_bytes=2 * size_in_memory(house.base) + stacks) as engine:
            await say(engine, others[0])
            for adapter in ids * 2:
                assert (await say(engine, None, adapter))[0].adapter_id == adapter
            assert set(engine.state().loaded_bases) == {str(house.base), str(others[0])}
            assert len(engine.counters.resident) == 4

    run(scene())


def test_an_adapter_of_a_base_that_is_fetched_later_waits_for_it_and_is_answered_by_no_other(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "late"
    monkeypatch.setattr(models, "known_bases", lambda training: {str(house.base), str(late)})
    fetched = write_base(tmp_path / "fetched", seed=15)
    folder = write_adapter(tmp_path / "theirs", fetched, seed=4)
    say_made_for(folder, BaseId(str(late)))
    theirs = ModelRef(None, house.store.put(folder))

    async def scene() -> None:
        async with running(house) as engine:
            with pytest.raises(Unavailable, match="late is not on this machine"):
                await engine.resolve(theirs)
            fetched.rename(late)
            assert (await engine.resolve(theirs)).base == str(late)

    run(scene())


async def endless(engine: Engine) -> AsyncGenerator[Piece | Finish, None]:
    """An answer of the default base that has begun and goes on until it is closed."""
    voice = await engine.resolve(ModelRef(None, "base"))
    tokens = await voice.prompt_tokens(MESSAGES, [], thinking=True)
    stream = engine.generate(Generation(tokens, None, 1500, sampling=GREEDY))
    await anext(stream)
    return stream


def test_a_base_whose_files_are_gone_fails_its_own_requests_only(
    house: House, others: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = write_base(tmp_path / "gone", seed=14)
    monkeypatch.setattr(models, "known_bases", lambda training: {str(house.base), str(gone)})

    async def scene() -> None:
        async with running(house) as engine:
            assert str(gone) in engine.state().bases
            shutil.rmtree(gone)
            stream = await endless(engine)
            with pytest.raises(Unavailable, match="cannot be read"):
                await say(engine, gone)
            assert isinstance(await anext(stream), Piece)
            await stream.aclose()

    run(scene())


def test_a_base_that_breaks_ends_its_own_rows_only(house: House, others: list[Path]) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            before = (await say(engine, others[0]))[1]
            stream = await endless(engine)
            assert engine._worker is not None
            broken = engine._worker._residences.get(BaseId(str(others[0])))
            assert broken is not None
            engine._worker._mailbox.put(lambda: setattr(broken._batch, "decode", None))
            with pytest.raises(EngineFailed):
                await say(engine, others[0])
            assert (await say(engine, others[0]))[1] == before
            assert isinstance(await anext(stream), Piece)
            await stream.aclose()

    run(scene())


def test_a_base_that_does_not_load_ends_nobody_elses_rows(
    house: House, others: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> Base:
        raise RuntimeError("[malloc] Unable to allocate 12345 bytes.")

    async def scene() -> None:
        async with running(house) as engine:
            stream = await endless(engine)
            with monkeypatch.context() as patch:
                patch.setattr(bases, "load", out_of_memory)
                with pytest.raises(EngineFailed, match="could not be made ready"):
                    await say(engine, others[0])
            await say(engine, others[0])
            assert isinstance(await anext(stream), Piece)
            await stream.aclose()

    run(scene())


def test_a_base_that_came_after_the_start_is_found(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "late"
    monkeypatch.setattr(models, "known_bases", lambda training: {str(house.base), str(late)})

    async def scene() -> None:
        async with running(house) as engine:
            with pytest.raises(Unavailable, match="not on this machine"):
                await say(engine, late)
            write_base(late, seed=15)
            assert (await say(engine, late))[0].base == str(late)
            assert str(late) in engine.state().bases

    run(scene())


def test_who_waits_for_stacks_to_grow_is_answered_though_the_base_that_answered_breaks(
    house: House, others: list[Path]
) -> None:
    other = BaseId(str(others[0]))
    narrow, wide = (house.store.put(write_adapter(house.home / f"g{r}", others[0], 5, rank=r)) for r in (4, 64))

    async def scene() -> None:
        async with running(house) as engine:
            await say(engine, others[0], narrow)
            stream = await endless(engine)
            assert engine._worker is not None
            answering, growing = engine._worker._residences.values()
            growing._limits = dataclasses.replace(growing._limits, grown_at_once_bytes=0)
            waits = asyncio.create_task(answer(engine, Generation((1, 2, 3), wide, 2, sampling=SEEDED, base=other)))
            await until(lambda: (other, wide) in engine.counters.waiting_slots)
            assert isinstance(await anext(stream), Piece)
            engine._worker._mailbox.put(lambda: setattr(answering._batch, "decode", None))
            with pytest.raises(EngineFailed):
                async for _ in stream:
                    pass
            await asyncio.wait_for(waits, 60)

    run(scene())


def test_who_wants_no_more_memory_has_room_though_the_budget_is_exceeded(house: House) -> None:
    limits = Limits(max_rows=4, prefill_step_tokens=64, adapter_slots=4)
    memory = Memory(budget_bytes=1, prefix_bytes=0, unload_after_s=None)
    base = BaseId(str(house.base))
    residences = Residences(Loader(lambda _: load(base, house.base), lambda _: 0), limits, memory, Counters(), [])
    residences.loaded(base)
    residences.make(base, 0)
    with pytest.raises(Unavailable, match="of memory"):
        residences.make(base, 1)
