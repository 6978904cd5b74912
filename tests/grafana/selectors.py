"""What the alerts look at: each selector of their expressions, with the values that only trouble brings left open.

An alert's expression has an answer only while it fires; a real Prometheus is asked instead whether every series that
the alert looks at is there.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yml"
_SELECTOR = re.compile(r"\b((?:ragweld_|gen_ai_|vllm:|up\b)[a-zA-Z0-9_:]*(?:\{[^}]*\})?)")
_OPEN = re.compile(r',?(?:status|reason)=~?"[^"]*"')
"""A run that runs, or a move by itself, need not be there at the moment of asking; the label must."""


def expressions_of_alerts() -> dict[str, str]:
    """Alert -> expression."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def selectors_of_alerts() -> set[str]:
    """Every selector."""
    return {
        _OPEN.sub("", found)
        for expr in expressions_of_alerts().values()
        for found in _SELECTOR.findall(re.sub(r"\bon\s*\([^)]*\)|\bby\s*\([^)]*\)", " ", expr))
    }
