"""The folder users know: what is put there by hand is adopted, what promotions copy there is not adopted again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from catalog.adapters import AdapterStore
from gateway.folder_watch import FolderWatch
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.tiny_base import write_adapter, write_base

Scene = Callable[[FolderWatch], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("made")
    base = write_base(root / "base")
    return [write_adapter(root / f"a{seed}", base, seed) for seed in range(2)]


class Home:
    """A home folder with a store, and the watched folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "models" / "agent"
        self.store = AdapterStore(home)

    def put(self, source: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(source, self.folder)

    def watch(self, period_s: float = 0) -> FolderWatch:
        return FolderWatch(self.home, self.folder, period_s, ScriptedEngine(), self.store)

    @property
    def active(self) -> str | None:
        return self.store.active(BASE)


@pytest.fixture
def here(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_new_adapter_is_adopted_and_a_changed_one_replaces_it(here: Home, made: list[Path]) -> None:
    ids = [AdapterStore(here.home).put(folder) for folder in made]

    async def scene() -> None:
        watch = here.watch()
        await watch.look()
        assert here.active is None
        here.put(made[0])
        await watch.before_request()
        assert here.active == ids[0]
        here.put(made[1])
        await watch.before_request()
        assert here.active == ids[1]
        assert [move.version for move in here.store.aliases().bases[BASE]] == [1, 2]

    asyncio.run(scene())


def test_what_a_promotion_copied_is_left_alone_even_after_a_rollback_and_a_restart(
    here: Home, made: list[Path]
) -> None:
    async def scene() -> None:
        adapter_id = here.store.put(made[0])
        here.store.move(BASE, adapter_id, expected=None, reason="promotion")
        here.store.mirror(adapter_id, here.folder)
        await here.watch().look()
        here.store.rollback(BASE)
        await here.watch().look()
        assert here.active is None
        assert len(here.store.aliases().bases[BASE]) == 2

    asyncio.run(scene())


def test_a_promotion_that_was_rolled_back_between_two_looks_stays_rolled_back(here: Home, made: list[Path]) -> None:
    async def scene() -> None:
        watch = here.watch()
        await watch.look()
        adapter_id = here.store.put(made[0])
        here.store.move(BASE, adapter_id, expected=None, reason="promotion")
        here.store.mirror(adapter_id, here.folder)
        here.store.rollback(BASE)
        await watch.look()
        assert here.active is None
        here.put(made[0])
        (here.folder / "adapter_config.json").touch()
        await watch.look()
        assert here.active == adapter_id, "put there by hand after the decision, it counts again"

    asyncio.run(scene())


def test_a_bad_adapter_is_refused_once_and_the_good_one_stays(
    here: Home, made: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        watch = here.watch()
        here.put(made[0])
        await watch.look()
        good = here.active
        here.put(made[1])
        (here.folder / "adapter_config.json").write_text("{}")
        await watch.look()
        await watch.look()
        assert here.active == good
        assert sum("is refused" in record.message for record in caplog.records) == 1
        assert list((here.home / "data" / "adapters").glob(".incoming*")) == []

    asyncio.run(scene())


def test_a_period_looks_by_itself_and_ends_with_the_gateway(here: Home, made: list[Path]) -> None:
    async def scene() -> None:
        watch = here.watch(period_s=0.01)
        here.put(made[0])
        await watch.start()
        async with asyncio.timeout(60):
            while here.active is None:  # noqa: ASYNC110 - the alias is a file
                await asyncio.sleep(0.01)
        await watch.stop()

    asyncio.run(scene())
