"""One tiny random base with four adapters for all tests of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from catalog.adapters import AdapterStore
from catalog.ids import AdapterId, BaseId, ModelRef
from catalog.settings import Settings
from gateway.engine.engine import Engine
from gateway.engine.requests import Finish, Generation, Piece, Sampling
from gateway.engine.voice import EngineVoice
from tests.tiny_base import write_adapter, write_base

GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class House:
    """A home folder with a base and adapters of different ranks and targets."""

    home: Path
    base: Path
    folders: tuple[Path, ...]

    @property
    def store(self) -> AdapterStore:
        return AdapterStore(self.home)

    @property
    def ids(self) -> tuple[AdapterId, ...]:
        return tuple(self.store.put(folder) for folder in self.folders)

    def settings(self, **engine: object) -> Settings:
        return Settings.model_validate(
            {"training": {"ragweld_agent_base_model": str(self.base)}, "engine": {"max_queued_tokens": 4096} | engine}
        )


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def adapter_folders(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    root = tmp_path_factory.mktemp("adapters")
    keys = [
        ("self_attn.q_proj",),
        ("self_attn.q_proj", "self_attn.v_proj"),
        ("mlp.down_proj", "self_attn.o_proj"),
        ("self_attn.k_proj", "mlp.up_proj", "mlp.gate_proj"),
    ]
    return tuple(
        write_adapter(root / f"a{n}", base_folder, seed=n, rank=(4, 8, 4, 16)[n], keys=keys[n]) for n in range(4)
    )


@pytest.fixture
def house(tmp_path: Path, base_folder: Path, adapter_folders: tuple[Path, ...]) -> House:
    return House(tmp_path, base_folder, adapter_folders)


@asynccontextmanager
async def running(house: House, **engine_settings: object) -> AsyncIterator[Engine]:
    engine = Engine(house.settings(**engine_settings), house.home)
    await engine.start()
    try:
        await until(lambda: engine.state().ready)
        yield engine
    finally:
        await engine.stop()


@contextmanager
def held(engine: object, base: BaseId) -> Iterator[None]:
    """No answer of a base goes on while the block runs, however long that takes."""
    assert isinstance(engine, Engine) and engine._worker is not None
    residence, mailbox = engine._worker._residences.get(base), engine._worker._mailbox
    assert residence is not None
    mailbox.put(lambda: setattr(residence._batch, "decode", list))
    try:
        yield
    finally:
        mailbox.put(lambda: delattr(residence._batch, "decode"))


async def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait for a condition, looking often; fails after the deadline."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition is a counter of another thread
            await asyncio.sleep(0.002)


async def answer(engine: Engine, generation: Generation) -> tuple[str, Finish]:
    text = ""
    async for item in engine.generate(generation):
        if isinstance(item, Piece):
            text += item.text
        else:
            return text, item
    raise AssertionError("the answer had no finish")


async def prompt(engine: Engine, text: str) -> tuple[int, ...]:
    return await (await bare(engine)).prompt_tokens([{"role": "user", "content": text}], [], thinking=True)


async def bare(engine: Engine) -> EngineVoice:
    """The bare default base."""
    return await engine.resolve(ModelRef(None, "base"))


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)
