"""`python -m grafana` writes every dashboard to `grafana/dashboards/`; run it after a change and commit both."""

from __future__ import annotations

from catalog.files import write_bytes
from grafana.render import DASHBOARDS, dashboard_path, rendered

if __name__ == "__main__":
    for name in DASHBOARDS:
        write_bytes(dashboard_path(name), rendered(name))
        print(f"wrote {dashboard_path(name).relative_to(dashboard_path(name).parents[2])}")
