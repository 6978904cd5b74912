"""Every alert fires when it must and stays silent when it must not, as Prometheus' own unit tests run them.

A story is series with a sample every 15 s (`0+1x40`: from 0, forty times one more), and what is firing after its last.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.adapters import AUTOMATIC
from tests.requirements_of_machine import need_promtool

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yml"
INTERVAL_S = 15
LENGTH = 40


@dataclass(frozen=True)
class Story:
    """Series, and whether `alert` fires at their end."""

    alert: str
    fires: bool
    what: str
    series: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.alert}-{'fires' if self.fires else 'silent'}-{self.what}"


def fires(alert: str, what: str, series: Mapping[str, str]) -> Story:
    return Story(alert, True, what, series)


def silent(alert: str, what: str, series: Mapping[str, str]) -> Story:
    return Story(alert, False, what, series)


def flat(value: float) -> str:
    return f"{value}+0x{LENGTH}"


def then(before: float, after: float, last: int) -> str:
    """`after` for the last few samples."""
    return f"{before}+0x{LENGTH - last} {after}+0x{last - 1}"


RISING = f"0+1x{LENGTH}"
STALLED, LOST, NOT_FINITE = "RagweldTrainingStalled", "RagweldTrainerLost", "RagweldLossNotFinite"
WORSE, DOWN, NOT_READY = "RagweldEvalGettingWorse", "RagweldGatewayDown", "RagweldEngineNotReady"
PROVIDER, FALLBACKS, SWAP = "RagweldProviderDown", "RagweldFallbackRate", "RagweldSwapRefused"
ROLLBACK, QUEUE, DISK = "RagweldAutomaticRollback", "RagweldQueueFull", "RagweldDiskLow"

BUSY, STEP, LOSS = "ragweld_train_busy", 'ragweld_train_step{run_id="r"}', 'ragweld_train_loss{run_id="r"}'
EVAL, BEST = 'ragweld_train_eval_loss{run_id="r"}', 'ragweld_train_best_eval_loss{run_id="r"}'
RUNNING, ENDED = (f'ragweld_train_run_info{{run_id="r",status="{status}"}}' for status in ("running", "completed"))
DIVERGED, SKIPPED = 'ragweld_train_runs_total{status="diverged"}', 'ragweld_train_skipped_steps{run_id="r"}'
TRAINER, GATEWAY = 'up{job="ragweld-trainer"}', 'up{job="ragweld-gateway"}'
UPSTREAM, READY = 'ragweld_provider_up{provider="p"}', "ragweld_engine_ready"
REQUESTS, FALLEN = "gen_ai_server_request_duration_seconds_count", "ragweld_fallbacks_total"
REFUSED, SWAPPED = (f'ragweld_adapter_swaps_total{{outcome="{outcome}"}}' for outcome in ("refused", "done"))
BY_ITSELF, BY_A_PERSON = (
    f'ragweld_alias_moved_timestamp_seconds{{base="b",adapter="a",reason="{reason}"}}'
    for reason in (f"{AUTOMATIC} of version 2: bad answers", "rollback of version 1")
)
QUEUED, LIMIT, FREE = "ragweld_engine_queued_tokens", "ragweld_engine_queued_tokens_limit", "ragweld_home_free_bytes"

STORIES = [
    fires(STALLED, "no-step", {BUSY: flat(1), STEP: flat(7)}),
    fires(STALLED, "before-the-first-step", {BUSY: flat(1)}),
    silent(STALLED, "steps", {BUSY: flat(1), STEP: RISING}),
    silent(STALLED, "idle", {BUSY: flat(0), STEP: flat(7)}),
    silent(STALLED, "one-slow-step", {BUSY: then(0, 1, 12), STEP: flat(7)}),
    fires(LOST, "at-work", {TRAINER: then(1, 0, 10), BUSY: "1+0x29"}),
    silent(LOST, "idle", {TRAINER: then(1, 0, 10), BUSY: "0+0x29"}),
    silent(LOST, "answers", {TRAINER: flat(1), BUSY: flat(1)}),
    fires(NOT_FINITE, "diverged", {DIVERGED: then(0, 1, 10)}),
    fires(NOT_FINITE, "skipped", {SKIPPED: then(0, 1, 10)}),
    fires(NOT_FINITE, "nan", {LOSS: "NaN " * (LENGTH + 1)}),
    fires(NOT_FINITE, "inf", {LOSS: "Inf " * (LENGTH + 1)}),
    silent(NOT_FINITE, "finite", {LOSS: flat(2.5), DIVERGED: flat(1)}),
    fires(WORSE, "running", {EVAL: flat(1.2), BEST: flat(1.0), RUNNING: flat(1)}),
    silent(WORSE, "a-little", {EVAL: flat(1.05), BEST: flat(1.0), RUNNING: flat(1)}),
    silent(WORSE, "ended", {EVAL: flat(1.2), BEST: flat(1.0), ENDED: flat(1)}),
    fires(DOWN, "down", {GATEWAY: then(1, 0, 5)}),
    silent(DOWN, "missed-one-scrape", {GATEWAY: then(1, 0, 1)}),
    fires(NOT_READY, "not-ready", {READY: then(1, 0, 12)}),
    silent(NOT_READY, "loading", {READY: then(1, 0, 3)}),
    fires(PROVIDER, "down", {UPSTREAM: then(1, 0, 8)}),
    silent(PROVIDER, "hiccup", {UPSTREAM: then(1, 0, 2)}),
    fires(FALLBACKS, "half", {REQUESTS: f"0+4x{LENGTH}", FALLEN: f"0+2x{LENGTH}"}),
    silent(FALLBACKS, "few", {REQUESTS: f"0+400x{LENGTH}", FALLEN: f"0+2x{LENGTH}"}),
    silent(FALLBACKS, "handful", {REQUESTS: then(0, 4, 8), FALLEN: then(0, 4, 8)}),
    fires(SWAP, "refused", {REFUSED: then(0, 1, 10)}),
    silent(SWAP, "done", {SWAPPED: RISING}),
    fires(ROLLBACK, "just-now", {BY_ITSELF: flat(60)}),
    silent(ROLLBACK, "a-persons", {BY_A_PERSON: flat(60)}),
    silent(ROLLBACK, "long-ago", {BY_ITSELF: flat(-1)}),
    fires(QUEUE, "full", {QUEUED: flat(95), LIMIT: flat(100)}),
    silent(QUEUE, "half", {QUEUED: flat(50), LIMIT: flat(100)}),
    silent(QUEUE, "burst", {QUEUED: then(5, 99, 2), LIMIT: flat(100)}),
    fires(DISK, "low", {FREE: flat(1e9)}),
    silent(DISK, "enough", {FREE: flat(1e10)}),
]


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    told = {(story.alert, story.fires) for story in STORIES}
    assert told == {(alert, fires) for alert in alerts() for fires in (True, False)}


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for name, rule in alerts().items():
        assert set(rule["annotations"]) == {"summary", "action"}, name
        assert rule["labels"]["severity"] in ("warning", "critical"), name


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_an_alert_fires_when_it_must_and_only_then(story: Story, tmp_path: Path) -> None:
    file = tmp_path / "story.yml"
    file.write_text(json.dumps(_unit_test(story)))
    result = subprocess.run(
        [need_promtool(), "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _unit_test(story: Story) -> dict[str, Any]:
    firing = f'count(ALERTS{{alertname="{story.alert}",alertstate="firing"}}) or vector(0)'
    check = {
        "expr": firing,
        "eval_time": f"{LENGTH * INTERVAL_S}s",
        "exp_samples": [{"labels": "{}", "value": float(story.fires)}],
    }
    test = {
        "interval": f"{INTERVAL_S}s",
        "input_series": [{"series": name, "values": values} for name, values in story.series.items()],
        "promql_expr_test": [check],
    }
    return {"rule_files": [str(RULES)], "evaluation_interval": f"{INTERVAL_S}s", "tests": [test]}
