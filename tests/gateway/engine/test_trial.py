"""No adapter serves that the engine does not hear answer as the trainer did."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.adapters import GOLDEN_FILE, Golden
from catalog.errors import EngineFailed, InvalidAdapter
from catalog.ids import AdapterId, BaseId, ModelRef
from gateway.engine.requests import Generation
from gateway.probation import Probation
from tests.gateway.engine.conftest import GREEDY, House, answer, prompt, run, running
from tests.tiny_base import write_adapter

QUESTION = {"role": "user", "content": "hello"}


def with_golden(house: House, into: Path, said: str) -> AdapterId:
    """The second adapter, which the trainer is said to have heard answer so."""
    folder = into / "with_golden"
    shutil.copytree(house.folders[1], folder)
    golden = Golden(messages=[QUESTION], answer=said, max_tokens=8)
    (folder / GOLDEN_FILE).write_text(golden.model_dump_json(), "utf-8")
    return house.store.put(folder)


async def heard(house: House) -> str:
    """What the second adapter answers, as the trainer would have heard it."""
    async with running(house) as engine:
        voice = await engine.resolve(ModelRef(None, "base"))
        tokens = await voice.prompt_tokens([QUESTION], (), thinking=False)
        adapter_id = await engine.check_adapter(house.folders[1], BaseId(str(house.base)))
        return (await answer(engine, Generation(tokens, adapter_id, 8, sampling=GREEDY)))[0]


def test_an_adapter_that_answers_as_it_was_heard_serves_the_next_request(house: House, tmp_path: Path) -> None:
    async def scene() -> None:
        base = BaseId(str(house.base))
        good = with_golden(house, tmp_path, await heard(house))
        house.store.move(base, good, expected=None, reason="test")
        async with running(house) as engine:
            voices = await asyncio.gather(*(engine.resolve(ModelRef(None, None)) for _ in range(5)))
            assert {voice.adapter_id for voice in voices} == {good}
            assert engine.refused_swaps == 0

    run(scene())


def test_one_that_answers_otherwise_serves_nobody_and_the_alias_goes_back(house: House, tmp_path: Path) -> None:
    async def scene() -> None:
        base, first = BaseId(str(house.base)), house.store.put(house.folders[0])
        house.store.move(base, first, expected=None, reason="test")
        bad = with_golden(house, tmp_path, "surely not this")
        causes: list[str] = []
        async with running(house) as engine:
            engine.on_failed_trial(Probation(house.store, lambda base, good: None, causes.append).failed_trial)
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == first
            house.store.move(base, bad, expected=first, reason="run")
            voices = await asyncio.gather(*(engine.resolve(ModelRef(None, None)) for _ in range(5)))
            assert {voice.adapter_id for voice in voices} == {first}
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == first
        last = house.store.aliases().bases[base][-1]
        assert (last.adapter_id, last.previous, last.version) == (first, bad, 3)
        assert last.reason.startswith("automatic rollback of version 2: golden prompt: it answers")
        assert "where the trainer heard 'surely not this'" in last.reason
        assert causes == ["golden_prompt"]

    run(scene())


def test_after_a_restart_the_one_that_the_alias_goes_back_to_answers_at_once(house: House, tmp_path: Path) -> None:
    async def scene() -> None:
        base, first = BaseId(str(house.base)), house.store.put(house.folders[0])
        house.store.move(base, first, expected=None, reason="test")
        house.store.move(base, with_golden(house, tmp_path, "surely not this"), expected=first, reason="run")
        async with running(house) as engine:
            engine.on_failed_trial(Probation(house.store, lambda base, good: None, lambda cause: None).failed_trial)
            assert [(await engine.resolve(ModelRef(None, None))).adapter_id for _ in range(2)] == [first] * 2
        assert house.store.active(base) == first

    run(scene())


def test_before_an_alias_is_moved_by_hand_the_prompt_is_asked_too(house: House, tmp_path: Path) -> None:
    async def scene() -> None:
        bad = with_golden(house, tmp_path, "surely not this")
        async with running(house) as engine:
            with pytest.raises(InvalidAdapter, match="failed the golden prompt: it answers"):
                await engine.check_adapter(house.store.folder(bad), BaseId(str(house.base)))
            (house.store.folder(bad) / GOLDEN_FILE).write_text("{}")
            with pytest.raises(InvalidAdapter, match="its golden prompt cannot be read"):
                await engine.check_adapter(house.store.folder(bad), BaseId(str(house.base)))

    run(scene())


@pytest.mark.parametrize("end", [0, 1])
def test_an_adapter_whose_numbers_are_not_finite_is_refused_though_it_says_nothing(
    house: House, tmp_path: Path, end: int
) -> None:
    """The greatest of numbers that are none is the first: where that is an end of the base's, no word is heard."""
    base = tmp_path / "base"
    shutil.copytree(house.base, base)
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps(config | {"eos_token_id": [end]}), "utf-8")
    bursting = write_adapter(tmp_path / "bursting", base, seed=1, keys=("mlp.down_proj",), size=1e30)

    async def scene() -> None:
        async with running(replace(house, base=base)) as engine:
            with pytest.raises(InvalidAdapter, match="numbers are not finite"):
                await engine.check_adapter(bursting, BaseId(str(base)))

    run(scene())


def test_an_engine_that_fails_during_the_trial_is_no_verdict_on_the_adapter(house: House) -> None:
    async def scene() -> None:
        base, first = BaseId(str(house.base)), house.store.put(house.folders[0])
        house.store.move(base, first, expected=None, reason="test")
        async with running(house) as engine:
            engine.on_failed_trial(Probation(house.store, lambda base, good: None, lambda cause: None).failed_trial)
            assert engine._worker is not None
            (residence,) = engine._worker._residences.values()
            engine._worker._mailbox.put(lambda: setattr(residence._batch, "decode", None))  # at somebody else's row
            with pytest.raises(EngineFailed):
                await engine.resolve(ModelRef(None, None))
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == first
            assert engine.refused_swaps == 0
        assert house.store.active(base) == first

    run(scene())


def test_an_adapter_without_a_prompt_is_asked_once_and_serves(house: House) -> None:
    async def scene() -> None:
        base, first = BaseId(str(house.base)), house.store.put(house.folders[0])
        house.store.move(base, first, expected=None, reason="test")
        async with running(house) as engine:
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == first
            produced = engine.counters.produced_tokens
            house.store.move(base, None, expected=first, reason="test")
            await engine.resolve(ModelRef(None, None))
            house.store.move(base, first, expected=None, reason="test")
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == first
            assert engine.counters.produced_tokens == produced <= 4
            assert await prompt(engine, "hello")

    run(scene())
