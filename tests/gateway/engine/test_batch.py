"""How many prompts are read together, by how many wait."""

from __future__ import annotations

import asyncio

from catalog.base import blas
from catalog.ids import BaseId
from gateway.engine.batch import Batch
from gateway.engine.requests import Generation, Sampling
from gateway.engine.rows import Row
from gateway.engine.sampling import Draws
from gateway.engine.slots import SlotModel

blas.preload()

from mlx_lm.models import qwen3  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "intermediate_size": 16,
    "vocab_size": 50,
    "model_type": "qwen3",
} | {
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def read_together(waiting: int, max_rows: int = 32, length: int = 3) -> list[int]:
    """How many prompts each step reads, until no more are let in and all are through."""
    model = SlotModel(qwen3.Model(qwen3.ModelArgs.from_dict(SHAPE)))
    batch = Batch(model, max_rows=max_rows, prefill_step_tokens=64)
    loop = asyncio.new_event_loop()
    sampling = Sampling(temperature=0.0)
    for _ in range(waiting):
        generation = Generation((1,) * length, None, 8, sampling=sampling)
        row = Row(BaseId("tiny"), generation, None, loop, asyncio.Queue(), Draws(sampling))
        row.unread, row.layers = [1] * length, make_prompt_cache(model.model)
        batch.add(row)
    loop.close()
    counts = []
    while rows := batch.read():
        counts.append(len(rows))
    return counts


def test_of_few_that_come_at_once_half_are_answered_sooner() -> None:
    assert read_together(3) == [3]
    assert read_together(8) == [4, 4]


def test_where_many_wait_or_are_decoded_more_are_read_together_within_the_rows_there_are() -> None:
    assert read_together(32) == [16, 16]
    assert read_together(24) == [12, 12]
    assert read_together(32, max_rows=10) == [10]


def test_what_is_read_together_is_no_more_than_four_steps_of_one() -> None:
    """Steps of one are 64 tokens here, so that long prompts go by fours, however many wait."""
    assert read_together(32, length=16) == [16, 16]
    assert read_together(12, length=50) == [5, 5, 2]
    assert read_together(8, length=128) == [4, 4, 4, 4]
