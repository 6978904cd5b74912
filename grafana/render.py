"""From builders to the bytes that Grafana reads: the list of dashboards, their order on the grid, ids, JSON.

Promises the same bytes for the same code: `tests/grafana/test_committed.py` compares them with what is committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.fleet import fleet
from grafana.gateway import gateway
from grafana.learning import learning

DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "learning": learning,
    "gateway": gateway,
    "fleet": fleet,
}


def dashboard_path(name: str) -> Path:
    """Where the committed JSON of a dashboard lies."""
    return Path(__file__).parent / "dashboards" / f"{name}.json"


def rendered(name: str) -> bytes:
    """The dashboard's JSON (v1), as committed."""
    return (json.dumps(DASHBOARDS[name](), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n").encode()
