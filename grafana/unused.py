"""The metrics that no dashboard and no alert uses, each with the reason.

`tests/grafana/test_metrics.py` fails when this list and what is used disagree.
"""

from __future__ import annotations

from collections.abc import Mapping

UNUSED: Mapping[str, str] = {
    "ragweld_http_requests_total": "every route's answers, scrapes too: for a question that comes up, not for a panel",
    "ragweld_chats_total": "kept chats are new; a full disk, which drops them, has its own alert",
    "ragweld_engine_steps_total": "the batch generator's steps say nothing that tokens per second does not",
    "vllm:num_requests_running": "for Kubernetes' routers; the same as ragweld_engine_rows",
    "vllm:kv_cache_usage_perc": "for Kubernetes' routers; the same as queued tokens of their limit",
    "vllm:lora_requests_info": "for Kubernetes' routers; a list of names in a label is no number to draw",
    "ragweld_log_lines_lost_total": "a log that cannot be written is seen on the disk's own panel",
    "ragweld_train_eval_accuracy": "preference runs are new; Learning shows what every run has",
    "ragweld_train_eval_margin": "preference runs are new; Learning shows what every run has",
}
