"""Benchmarks that were run: `data/benchmarks/<id>.json`, each whole or not there. `tests/gateway/test_benchmark.py`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog import files
from catalog.errors import NotFound
from catalog.ids import checked_name, new_run_id

FOLDER = Path("data/benchmarks")
LOCK_FILE = FOLDER / ".lock"
_STEM = "bench"


class Answered(BaseModel):
    """One model's answer to one prompt, or why there is none. Times in seconds; None is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """As asked for."""
    prompt: int
    """Place in the list of prompts."""
    answered_by: str | None = None
    provider: str | None = None
    answer: str | None = None
    finish_reason: str | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    cost_usd: float | None = None
    error: str | None = None


class Standing(BaseModel):
    """One model over all prompts: medians, and the cost of all where it is known for all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    answered: int
    failed: int
    latency_s: float | None
    first_token_s: float | None
    tokens_per_s: float | None
    cost_usd: float | None


class Benchmark(BaseModel):
    """One benchmark with everything that was asked and answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    ts: str
    models: list[str]
    prompts: list[str]
    system: str | None
    max_tokens: int
    temperature: float
    standings: list[Standing]
    answers: list[Answered]


class BenchmarkStore:
    """The benchmarks of one home. Blocking."""

    def __init__(self, home: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._home = home
        self._root = home / FOLDER
        self._now = now

    def keep(self, made: Callable[[str], Benchmark]) -> Benchmark:
        """Store what `made` gives for a new id."""
        with files.exclusive_lock(self._home / LOCK_FILE):
            benchmark = made(new_run_id(_STEM, self._now(), self.ids()))
            files.write_bytes(self._path(benchmark.id), benchmark.model_dump_json(indent=1).encode())
        return benchmark

    def get(self, benchmark_id: str) -> Benchmark:
        """Raises NotFound."""
        try:
            return Benchmark.model_validate_json(self._path(checked_name(benchmark_id, "id")).read_bytes())
        except (OSError, ValidationError) as error:
            raise NotFound(f"There is no benchmark {benchmark_id!r}.", param="id") from error

    def ids(self) -> list[str]:
        """Newest first."""
        return sorted((path.stem for path in self._root.glob("*.json")), reverse=True)

    def _path(self, benchmark_id: str) -> Path:
        return self._root / f"{benchmark_id}.json"
