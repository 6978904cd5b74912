"""Previews of the dashboards, drawn with Grafana's own npm components over a real Prometheus; development only.

    with served("http://127.0.0.1:9090") as page:
        browser.goto(page.address("learning", theme="dark", run_id="default__20260102_030405", refresh_s=2))

These are previews, not Grafana: panels are drawn from our JSON by its published packages, and its XY panel, which is
not published, by `src/panels/scatter.tsx`. Needs Node 20; not in the wheel. `tests/grafana/test_preview.py`.
"""

from grafana.preview.server import Page, served

__all__ = ["Page", "served"]
