"""The same prompts to several models, one after the other so that none slows another: answers, times, pace, cost.

Strict: a model that cannot answer is a failure in the table, never another model's answer.
`tests/gateway/test_benchmark.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catalog.benchmarks import Answered, Benchmark, Standing
from catalog.errors import RagweldError, UpstreamTimedOut
from catalog.run_life import stamp
from gateway import cost
from gateway.asking import Heard, ask_among
from gateway.context import Context
from gateway.guard import Visit
from gateway.routing import Route
from gateway.speaker import Count


class BenchmarkRequest(BaseModel):
    """Body of `POST /api/benchmark/run`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    models: list[str] = Field(min_length=1, max_length=16)
    prompts: list[str] = Field(min_length=1, max_length=64)
    system: str | None = None
    max_tokens: int = Field(256, ge=1, le=32768)
    temperature: float = Field(0.0, ge=0, le=2)
    answer_timeout_s: float = Field(120.0, gt=0, le=3600)
    """An answer that is not whole by then is a failure."""


async def run(context: Context, wanted: BenchmarkRequest, visit: Visit) -> list[Answered]:
    """Every model's answer to every prompt, prompt by prompt."""
    return [
        await _one(context, wanted, model, place, visit)
        for place in range(len(wanted.prompts))
        for model in wanted.models
    ]


def report(benchmark_id: str, wanted: BenchmarkRequest, answers: Sequence[Answered]) -> Benchmark:
    """What is kept of a benchmark."""
    return Benchmark(
        id=benchmark_id,
        ts=stamp(datetime.now(UTC)),
        models=wanted.models,
        prompts=wanted.prompts,
        system=wanted.system,
        max_tokens=wanted.max_tokens,
        temperature=wanted.temperature,
        standings=[standing(model, [one for one in answers if one.model == model]) for model in wanted.models],
        answers=list(answers),
    )


def standing(model: str, answers: Sequence[Answered]) -> Standing:
    """One model over all its answers. Pure."""
    good = [one for one in answers if one.error is None]
    costs = [one.cost_usd for one in good]
    known = [usd for usd in costs if usd is not None]
    return Standing(
        model=model,
        answered=len(good),
        failed=len(answers) - len(good),
        latency_s=_median(one.latency_s for one in good),
        first_token_s=_median(one.first_token_s for one in good),
        tokens_per_s=_median(one.tokens_per_s for one in good),
        cost_usd=sum(known) if good and len(known) == len(costs) else None,
    )


async def _one(context: Context, wanted: BenchmarkRequest, model: str, place: int, visit: Visit) -> Answered:
    messages: list[dict[str, Any]] = [{"role": "system", "content": wanted.system}] if wanted.system else []
    messages.append({"role": "user", "content": wanted.prompts[place]})
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": wanted.max_tokens,
        "temperature": wanted.temperature,
    }
    try:
        async with asyncio.timeout(wanted.answer_timeout_s):
            choice = await context.choose(model, strict=True)
            heard = await ask_among(context, body, choice, visit)
    except TimeoutError:
        late = UpstreamTimedOut(f"No whole answer within {wanted.answer_timeout_s:g} s.")
        return Answered(model=model, prompt=place, error=str(late))
    except RagweldError as error:
        return Answered(model=model, prompt=place, error=str(error))
    return _answered(choice.routes[0], model, place, heard)


def _answered(route: Route, model: str, place: int, heard: Heard) -> Answered:
    count = Count(prompt_tokens=heard.prompt_tokens, answer_tokens=heard.answer_tokens)
    return Answered(
        model=model,
        prompt=place,
        answered_by=heard.model,
        provider=heard.provider,
        answer=heard.text,
        finish_reason=heard.finish_reason,
        latency_s=heard.total_s,
        first_token_s=heard.first_content_s,
        tokens_per_s=heard.tokens_per_s,
        prompt_tokens=heard.prompt_tokens,
        answer_tokens=heard.answer_tokens,
        cost_usd=cost.usd(route, count, cost.shipped_prices()),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
