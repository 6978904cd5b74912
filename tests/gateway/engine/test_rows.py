"""A row's life: admission, stop strings, seeds, cancellation, and a step that fails."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from catalog.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, Overloaded
from gateway.engine.requests import Generation, Piece, Sampling
from tests.gateway.engine.conftest import GREEDY, House, answer, bare, prompt, run, running, until


def test_a_prompt_beyond_the_context_is_refused_before_prefill(house: House) -> None:
    async def scene() -> None:
        async with running(house, max_context_tokens=128) as engine:
            with pytest.raises(ContextLengthExceeded, match="context is 128 tokens"):
                await answer(engine, Generation((1,) * 120, None, 9))
            assert engine.admitted_tokens == 0
            assert engine.counters.prompt_tokens == 0

    run(scene())


def test_admission_is_bounded_in_tokens(house: House) -> None:
    async def scene() -> None:
        async with running(house, max_queued_tokens=1024) as engine:
            tokens = await prompt(engine, "hello")
            stream = engine.generate(Generation(tokens, None, 900, sampling=GREEDY))
            await anext(stream)
            with pytest.raises(Overloaded) as refusal:
                await answer(engine, Generation(tokens, None, 900, sampling=GREEDY))
            assert refusal.value.retry_after_s > 0
            await stream.aclose()
            await answer(engine, Generation(tokens, None, 20, sampling=GREEDY))
            assert engine.admitted_tokens == 0

    run(scene())


def test_a_client_that_leaves_stops_its_row_and_leaks_nothing(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            for count in range(1, 30):
                stream = engine.generate(Generation(tokens, house.ids[count % 4], 1000, sampling=GREEDY))
                await anext(stream)
                await stream.aclose()
                await until(lambda count=count: engine.counters.cancelled == count)
                assert engine.counters.rows == 0
            produced = engine.counters.produced_tokens
            assert produced < 29 * 200
            assert engine.admitted_tokens == 0
            assert engine._worker is not None
            (residence,) = engine._worker._residences.values()
            assert not any(residence._table._rows.values())

    run(scene())


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            whole, finish = await answer(engine, Generation(tokens, house.ids[1], 40, sampling=GREEDY))
            assert finish.reason == "length"
            stop = whole[12:17]
            cut, finish = await answer(engine, Generation(tokens, house.ids[1], 40, stop=(stop,), sampling=GREEDY))
            assert finish.reason == "stop"
            assert cut == whole[: whole.index(stop)]
            assert engine.counters.rows == 0

    run(scene())


def test_a_text_that_continues_its_prompt_keeps_its_first_space(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            voice = await bare(engine)
            tokens = await voice.text_tokens("The capital is")
            (paris,) = await voice.text_tokens(" Paris", special=False)
            said = Generation(tokens, None, 2, sampling=Sampling(temperature=0, logit_bias={paris: 100}))
            assert (await answer(engine, dataclasses.replace(said, continues=True)))[0] == " Paris Paris"
            assert (await answer(engine, said))[0] == "Paris Paris"

    run(scene())


def test_a_seed_gives_the_same_text_alone_and_inside_a_batch(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            drawn = Sampling(temperature=1.0, top_p=0.9, top_k=50, seed=7)
            alone, _ = await answer(engine, Generation(tokens, None, 32, sampling=drawn))
            others = [Generation(tokens, a, 40, sampling=Sampling(seed=n)) for n, a in enumerate(house.ids)]
            mine = Generation(tokens, None, 32, sampling=drawn)
            got = await asyncio.gather(*(answer(engine, generation) for generation in (*others, mine, *others)))
            assert got[4][0] == alone
            other, _ = await answer(engine, Generation(tokens, None, 32, sampling=Sampling(seed=8)))
            assert other != alone

    run(scene())


def test_logprobs_are_those_of_the_tokens_and_ranked(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            pieces = [
                item
                async for item in engine.generate(Generation(tokens, None, 8, sampling=GREEDY, top_logprobs=3))
                if isinstance(item, Piece)
            ]
            logprobs = [entry for piece in pieces for entry in piece.logprobs]
            assert len(logprobs) == 8
            for entry in logprobs:
                assert entry.top[0] == (entry.token_id, entry.logprob)
                assert entry.top[0][1] >= entry.top[1][1] >= entry.top[2][1]

    run(scene())


def test_logit_bias_and_penalties_change_what_is_drawn(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            plain, _ = await answer(engine, Generation(tokens, house.ids[2], 24, sampling=GREEDY))
            for sampling in (
                Sampling(temperature=0, frequency_penalty=2.0),
                Sampling(temperature=0, presence_penalty=2.0),
                Sampling(temperature=0, repetition_penalty=2.0),
                Sampling(temperature=0, logit_bias={300: 100.0}),
            ):
                changed, _ = await answer(engine, Generation(tokens, house.ids[2], 24, sampling=sampling))
                assert changed != plain, sampling

    run(scene())


@pytest.mark.parametrize("unknown", [10**9, 1 << 20])
def test_tokens_that_the_base_does_not_have_are_refused_before_mlx_sees_them(house: House, unknown: int) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            with pytest.raises(InvalidRequest) as refusal:
                await answer(engine, Generation(tokens, None, 4, sampling=Sampling(logit_bias={unknown: 1.0})))
            assert refusal.value.param == "logit_bias"
            with pytest.raises(InvalidRequest) as refusal:
                await answer(engine, Generation((*tokens, unknown), None, 4))
            assert refusal.value.param == "prompt"
            await answer(engine, Generation(tokens, None, 4))

    run(scene())


def test_a_failing_step_ends_its_rows_with_an_error_and_the_engine_lives_on(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            before, _ = await answer(engine, Generation(tokens, None, 12, sampling=GREEDY))
            worker = engine._worker
            assert worker is not None
            stream = engine.generate(Generation(tokens, house.ids[0], 1000, sampling=GREEDY))
            await anext(stream)
            (residence,) = worker._residences.values()
            worker._mailbox.put(lambda: setattr(residence._batch, "decode", None))
            with pytest.raises(EngineFailed):
                async for _ in stream:
                    pass
            assert engine.admitted_tokens == 0
            after, _ = await answer(engine, Generation(tokens, None, 12, sampling=GREEDY))
            assert before == after
            assert engine.state().ready

    run(scene())


def test_a_row_that_cannot_be_inserted_fails_alone(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            tokens = await prompt(engine, "hello")
            stream = engine.generate(Generation(tokens, house.ids[0], 200, sampling=GREEDY))
            await anext(stream)
            with pytest.raises(EngineFailed, match="empty prompt"):
                await answer(engine, Generation((), None, 12))
            assert len([item async for item in stream]) > 10

    run(scene())


def test_many_rows_at_once_all_finish(house: House) -> None:
    async def scene() -> None:
        async with running(house, max_rows=8) as engine:
            tokens = await prompt(engine, "hello")
            asked = [Generation(tokens, (None, *house.ids)[n % 5], 4 + n % 9, sampling=GREEDY) for n in range(48)]
            answers = asyncio.gather(*(answer(engine, generation) for generation in asked))
            await until(lambda: (engine.counters.rows, engine.counters.waiting > 0) == (8, True))
            got = await answers
            assert [finish.completion_tokens for _, finish in got] == [generation.max_tokens for generation in asked]

    run(scene())
