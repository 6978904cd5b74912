"""Every answer is wholly by the adapter it was admitted with, and equals that adapter run alone by mlx-lm."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import shutil
from pathlib import Path

import pytest

from catalog.errors import EngineFailed, InvalidAdapter, NotFound, Unavailable
from catalog.ids import BaseId, ModelRef
from gateway.engine.requests import Generation
from gateway.engine.slots import SlotModel
from tests.gateway.engine.conftest import GREEDY, House, answer, prompt, run, running, until
from tests.tiny_base import write_adapter

QUESTIONS = ("hello", "what is the capital of France?", "tell me about the sea and the wind and the rain")


def reference(house: House, folder: object, tokens: tuple[int, ...], count: int) -> str:
    """What mlx-lm answers greedily with this adapter alone, step by step without a cache."""
    import mlx.core as mx
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model, load_tokenizer

    model, _ = load_model(house.base)
    if folder is not None:
        load_adapters(model, str(folder))
    model.eval()
    ids = list(tokens)
    for _ in range(count):
        ids.append(int(mx.argmax(model(mx.array([ids]))[0, -1]).item()))
    detokenizer = load_tokenizer(house.base).detokenizer
    for token in ids[len(tokens) :]:
        detokenizer.add_token(token)
    detokenizer.finalize()
    return str(detokenizer.text)


def test_a_mixed_batch_equals_each_adapter_alone(house: House) -> None:
    async def scene() -> None:
        async with running(house, prompt_cache_bytes=0) as engine:
            folders = (None, *house.folders)
            ids = (None, *house.ids)
            for question in QUESTIONS:
                tokens = await prompt(engine, question)
                expected = [reference(house, folder, tokens, 24) for folder in folders]
                assert len(set(expected)) > 2, "the adapters must differ for this to prove anything"
                asked = [Generation(tokens, adapter, 24, sampling=GREEDY) for adapter in ids] * 2
                got = await asyncio.gather(*(answer(engine, generation) for generation in asked))
                assert [text for text, _ in got] == expected * 2

    run(scene())


def test_more_adapters_than_slots_wait_for_one_and_answer_as_themselves(house: House) -> None:
    async def scene() -> None:
        async with running(house, adapter_slots=2) as engine:
            tokens = await prompt(engine, "hello")
            alone = [(await answer(engine, Generation(tokens, a, 30, sampling=GREEDY)))[0] for a in house.ids]
            asked = [Generation(tokens, adapter, 30, sampling=GREEDY) for adapter in house.ids * 3]
            got = asyncio.gather(*(answer(engine, generation) for generation in asked))
            await until(lambda: engine.counters.waiting > 0)
            assert engine.counters.waiting_slots < {(BaseId(str(house.base)), adapter) for adapter in house.ids}
            assert [text for text, _ in await got] == alone * 3
            assert len(engine.counters.resident) <= 2
            await until(lambda: engine.counters.waiting == 0 and not engine.counters.waiting_slots)

    run(scene())


def test_who_waits_for_a_slot_is_not_passed_for_ever(house: House) -> None:
    async def scene() -> None:
        async with running(house, adapter_slots=1, max_rows=4) as engine:
            tokens = await prompt(engine, "hello")
            often, seldom = (Generation(tokens, adapter, 4, sampling=GREEDY) for adapter in house.ids[:2])
            stream = engine.generate(dataclasses.replace(often, max_tokens=1500))
            await anext(stream)
            waits = asyncio.create_task(answer(engine, seldom))
            await until(lambda: engine.counters.waiting == 1)
            for _ in range(4):
                await answer(engine, often)
            late = asyncio.create_task(answer(engine, often))
            await until(lambda: engine.counters.waiting == 2)
            await answer(engine, dataclasses.replace(often, adapter_id=None))
            assert not waits.done() and not late.done()
            await stream.aclose()
            await asyncio.gather(waits, late)
            assert engine.counters.waiting == 0

    run(scene())


def test_a_moved_alias_is_seen_by_the_next_request_and_an_open_stream_keeps_its_adapter(house: House) -> None:
    async def scene() -> None:
        first, second = house.ids[:2]
        base = BaseId(str(house.base))
        house.store.move(base, first, expected=None, reason="test")
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            alone = {a: (await answer(engine, Generation(tokens, a, 60, sampling=GREEDY)))[0] for a in (first, second)}
            adapter = (await engine.resolve(ModelRef(None, None))).adapter_id
            assert adapter == first
            stream = engine.generate(Generation(tokens, adapter, 60, sampling=GREEDY))
            begun = await anext(stream)
            house.store.move(base, second, expected=first, reason="test")
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == second
            new, _ = await answer(engine, Generation(tokens, second, 60, sampling=GREEDY))
            rest = [item.text async for item in stream if hasattr(item, "text")]
            assert begun.text + "".join(rest) == alone[first]
            assert new == alone[second]

    run(scene())


def test_a_broken_active_adapter_leaves_the_last_good_one_serving(house: House) -> None:
    async def scene() -> None:
        good, bad = house.ids[0], house.store.put(house.folders[1])
        base = BaseId(str(house.base))
        house.store.move(base, good, expected=None, reason="test")
        weights = house.store.folder(bad) / "adapters.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        async with running(house) as engine:
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == good
            house.store.move(base, bad, expected=good, reason="test")
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == good
            assert engine.refused_swaps == 1
            with pytest.raises(InvalidAdapter):
                await engine.resolve(ModelRef(None, bad[:12]))

    run(scene())


@pytest.mark.parametrize("began", ["before", "after"])
def test_an_active_adapter_that_the_disk_refuses_serves_as_soon_as_it_can_be_read(house: House, began: str) -> None:
    async def scene() -> None:
        good, new = house.ids[:2]
        base = BaseId(str(house.base))
        house.store.move(base, good, expected=None, reason="test")
        config = house.store.folder(new) / "adapter_config.json"
        if began == "after":
            house.store.move(base, new, expected=good, reason="test")
            refuse(config)
        async with running(house) as engine:
            if began == "before":
                assert (await engine.resolve(ModelRef(None, None))).adapter_id == good
                house.store.move(base, new, expected=good, reason="test")
                refuse(config)
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == good
            config.rmdir()
            config.with_name("aside").rename(config)
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == new
            assert engine.refused_swaps == 0

    run(scene())


def refuse(path: Path) -> None:
    """Let reading a file fail as the disk does, until it is put back."""
    path.rename(path.with_name("aside"))
    path.mkdir()


def test_after_a_restart_the_last_good_one_serves_for_a_broken_active_adapter(house: House) -> None:
    async def scene() -> None:
        first, second, third = house.ids[:3]
        base = BaseId(str(house.base))
        for before, after in itertools.pairwise((None, first, second, third)):
            house.store.move(base, after, expected=before, reason="test")
        for broken in (second, third):
            weights = house.store.folder(broken) / "adapters.safetensors"
            weights.write_bytes(weights.read_bytes()[:-100])
        async with running(house) as engine:
            voices = await asyncio.gather(*(engine.resolve(ModelRef(None, None)) for _ in range(3)))
            assert {voice.adapter_id for voice in voices} == {first}
            house.store.move(base, house.ids[3], expected=third, reason="test")
            assert (await engine.resolve(ModelRef(None, None))).adapter_id == house.ids[3]

    run(scene())


def test_an_adapter_changed_on_disk_after_it_was_stored_is_refused(house: House) -> None:
    async def scene() -> None:
        stored = house.ids[0]
        shutil.copyfile(
            write_adapter(house.home / "other", house.base, seed=99) / "adapters.safetensors",
            house.store.folder(stored) / "adapters.safetensors",
        )
        async with running(house) as engine:
            with pytest.raises(InvalidAdapter, match="content id differs"):
                await engine.resolve(ModelRef(None, stored))

    run(scene())


def test_unknown_adapters_and_bases_are_errors_and_never_a_base_answer(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            with pytest.raises(NotFound):
                await engine.resolve(ModelRef(None, "nobody"))
            with pytest.raises(NotFound, match="no base 'mlx-community/Other'"):
                await engine.resolve(ModelRef(BaseId("mlx-community/Other"), None))
            with pytest.raises(Unavailable, match="hf download mlx-community/Qwen3-8B-8bit"):
                await engine.resolve(ModelRef(BaseId("mlx-community/Qwen3-8B-8bit"), None))

    run(scene())


def test_a_cached_prefix_never_serves_another_adapter(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, " ".join(QUESTIONS))
            texts = []
            for adapter in (None, house.ids[1]):
                fresh, first = await answer(engine, Generation(tokens, adapter, 12, sampling=GREEDY))
                again, second = await answer(engine, Generation(tokens, adapter, 12, sampling=GREEDY))
                assert first.cached_tokens == 0
                assert second.cached_tokens >= len(tokens) - 2
                assert fresh == again
                texts.append(fresh)
            assert texts[0] != texts[1]

    run(scene())


def test_idle_base_leaves_memory_and_the_next_request_loads_it(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            before, _ = await answer(engine, Generation(tokens, house.ids[0], 12, sampling=GREEDY))
            assert await engine.unload(BaseId(str(house.base)))
            assert engine.state().loaded_bases == ()
            assert engine.state().ready
            after, _ = await answer(engine, Generation(tokens, house.ids[0], 12, sampling=GREEDY))
            assert before == after

    run(scene())


@pytest.mark.parametrize("step", ["grow", "write"])
def test_a_swap_that_fails_leaves_no_adapter_that_answers_as_the_base(
    house: House, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(SlotModel, step)
    failures = iter([RuntimeError("out of memory")])

    def failing(model: SlotModel, *arguments: object) -> object:
        for failure in failures:
            raise failure
        return real(model, *arguments)

    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            monkeypatch.setattr(SlotModel, step, failing)
            with pytest.raises(EngineFailed, match="out of memory"):
                await engine.resolve(ModelRef(None, house.ids[3]))
            for adapter, folder in zip(house.ids, house.folders, strict=True):
                text, _ = await answer(engine, Generation(tokens, adapter, 16, sampling=GREEDY))
                assert text == reference(house, folder, tokens, 16)

    run(scene())
