"""Logprobs of a prompt's tokens: the plain model's own, whoever else is in the batch, in bounded memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.base import blas, device
from catalog.errors import EngineFailed
from catalog.ids import AdapterId
from gateway.engine import scoring
from gateway.engine.engine import Engine
from gateway.engine.requests import Finish, Generation, Piece, TokenLogprob
from gateway.engine.slots import SlotModel
from tests.gateway.engine.conftest import GREEDY, House, answer, run, running, until

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx_lm.tuner.utils import load_adapters  # noqa: E402
from mlx_lm.utils import load_model  # noqa: E402

CLOSE = {"rtol": 1e-4, "atol": 2e-4}


def text(length: int, seed: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(4, 300, length).tolist())


def reference(house: House, folder: Path | None, tokens: Sequence[int]) -> Any:
    """The logprobs [L, V] that mlx-lm's plain model gives in one pass, with this adapter alone."""
    model, _ = load_model(house.base)
    if folder is not None:
        load_adapters(model, str(folder))
    model.eval()
    logits = model(mx.array([tokens]))[0]
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


async def scored(engine: Engine, generation: Generation) -> tuple[list[TokenLogprob], str, Finish]:
    scores: list[TokenLogprob] = []
    said = ""
    async for item in engine.generate(generation):
        if isinstance(item, Finish):
            return scores, said, item
        assert not (said and item.prompt_logprobs), "a prompt is read before anything is said"
        scores += item.prompt_logprobs
        said += item.text
    raise AssertionError("the answer had no finish")


def asked(tokens: tuple[int, ...], adapter: AdapterId | None = None, top: int | None = 3, said: int = 0) -> Generation:
    return Generation(tokens, adapter, said, sampling=GREEDY, top_logprobs=top, prompt_logprobs=top)


def test_a_mixed_batch_scores_every_prompt_as_each_adapter_alone_and_changes_no_answer(house: House) -> None:
    folders, ids = (None, *house.folders), (None, *house.ids)
    prompts = [text(length, seed) for seed, length in enumerate((1, 2, 33, 150, 64))]

    async def scene() -> None:
        async with running(house, prefill_step_tokens=64) as engine:
            plain = [
                Generation(tokens, adapter, 12, sampling=GREEDY) for tokens, adapter in zip(prompts, ids, strict=True)
            ]
            alone = [(await answer(engine, one))[0] for one in plain]
            both = [asked(tokens, adapter) for tokens, adapter in zip(prompts, ids, strict=True)]
            got, answers = await asyncio.gather(
                asyncio.gather(*(scored(engine, one) for one in both)),
                asyncio.gather(*(answer(engine, one) for one in plain)),
            )
            assert [said for said, _ in answers] == alone
            for (scores, said, finish), tokens, folder in zip(got, prompts, folders, strict=True):
                assert (said, finish) == ("", Finish("length", len(tokens), 0, 0))
                _is_as(scores, tokens, reference(house, folder, tokens))

    run(scene())


def _is_as(scores: list[TokenLogprob], tokens: Sequence[int], expected: Any) -> None:
    assert [score.token_id for score in scores] == list(tokens[1:])
    for place, score in enumerate(scores):
        np.testing.assert_allclose(score.logprob, expected[place, tokens[place + 1]], **CLOSE)
        best = np.sort(expected[place])[::-1][: len(score.top)]
        np.testing.assert_allclose([logprob for _, logprob in score.top], best, **CLOSE)
        np.testing.assert_allclose([expected[place, token] for token, _ in score.top], best, **CLOSE)


def test_a_prompt_whose_beginning_is_cached_is_scored_whole_and_leaves_no_prefix(house: House) -> None:
    tokens = text(80, 7)

    async def scene() -> None:
        async with running(house) as engine:
            await answer(engine, Generation(tokens, None, 4, sampling=GREEDY))
            scores, said, finish = await scored(engine, asked(tokens, said=4))
            assert said and finish.cached_tokens == 0
            _is_as(scores, tokens, reference(house, None, tokens))
            engine.forget_prefixes()
            await scored(engine, asked(tokens, said=1))
            assert (await answer(engine, Generation(tokens, None, 1)))[1].cached_tokens == 0

    run(scene())


@pytest.mark.parametrize("top", [0, 1, 5])
def test_the_head_never_meets_more_than_a_few_positions(top: int) -> None:
    met: list[int] = []

    def head(hidden: mx.array) -> mx.array:
        met.append(hidden.shape[0])
        return hidden

    logits = mx.random.normal((3 * scoring.AT_ONCE, 40), key=mx.random.key(1))
    targets = text(2 * scoring.AT_ONCE + 5, 1)
    targets = tuple(target % 40 for target in targets)
    scores = scoring.of_prompt(head, logits, targets, top)
    assert met == [scoring.AT_ONCE, scoring.AT_ONCE, 5]
    assert [len(score.top) for score in scores] == [top] * len(targets)
    _is_as(scores, (0, *targets), np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True)))


@pytest.mark.parametrize(("vocabulary", "top"), [(7, 5), (64, 20), (65, 2), (300, 20), (4097, 20)])
def test_the_best_are_found_in_any_vocabulary(vocabulary: int, top: int) -> None:
    logits = mx.random.normal((6, vocabulary), key=mx.random.key(vocabulary))
    for row, score in zip(np.array(logits), scoring.of_prompt(lambda h: h, logits, [1] * 6, top), strict=True):
        assert [token for token, _ in score.top] == np.argsort(-row)[:top].tolist()


def test_a_cpu_sums_as_any_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = 5 * mx.random.normal((9, 50_000), key=mx.random.key(3)), list(range(9))
    here = scoring.of_prompt(lambda hidden: hidden, logits, targets, 0)
    metal = dataclasses.replace(device.current(), kind="metal")
    monkeypatch.setattr(device, "current", lambda: metal)
    there = scoring.of_prompt(lambda hidden: hidden, logits, targets, 0)
    np.testing.assert_allclose([one.logprob for one in here], [one.logprob for one in there], rtol=1e-4)


def test_half_precision_is_scored_in_whole_precision() -> None:
    logits = mx.random.normal((4, 4096), key=mx.random.key(2)).astype(mx.bfloat16)
    (score, *_) = scoring.of_prompt(lambda hidden: hidden, logits, [5, 6, 7, 8], 1)
    wide = np.array(logits.astype(mx.float32)).astype(np.float64)[0]
    np.testing.assert_allclose(score.logprob, wide[5] - np.log(np.exp(wide).sum()), rtol=1e-5)


def test_a_model_that_cannot_be_taken_apart_is_scored_the_same(house: House) -> None:
    tokens = text(40, 3)
    model, _ = load_model(house.base)
    slots = SlotModel(model)
    slots._parts = None
    hidden = slots.read(mx.array([tokens]), [None] * len(model.layers), 0)[0]
    _is_as(scoring.of_prompt(slots.logits, hidden, tokens[1:], 2), tokens, reference(house, None, tokens))


def test_who_goes_away_while_a_prompt_is_scored_stops_it(house: House) -> None:
    async def scene() -> None:
        async with running(house, prefill_step_tokens=16) as engine:
            stream = engine.generate(asked(text(2000, 4)))
            first = await anext(stream)
            assert isinstance(first, Piece) and len(first.prompt_logprobs) == 16
            await stream.aclose()
            await until(lambda: engine.counters.rows == 0)
            assert engine.counters.cancelled == 1

    run(scene())


def test_numbers_that_are_not_finite_are_nobodys_score(house: House) -> None:
    async def scene() -> None:
        async with running(house) as engine:
            assert engine._worker is not None
            (residence,) = engine._worker._residences.values()
            head = residence._model.logits
            residence._model.logits = lambda hidden: head(hidden) * float("nan")  # type: ignore[method-assign]
            with pytest.raises(EngineFailed, match="not finite"):
                await scored(engine, asked(text(20, 5)))
            residence._model.logits = head  # type: ignore[method-assign]
            assert engine.counters.rows == 0
            assert len((await scored(engine, asked(text(20, 5))))[0]) == 19

    run(scene())
