"""Dashboards as code: what the two metric tables say, drawn; `python -m grafana` writes the JSON that Grafana reads.

Knows metric names only, imports neither gateway nor trainer. `tests/grafana` holds every query against the tables, in
both directions, and asks a real Prometheus for each.
"""

import warnings

# The SDK recommends its v2 dashboards when v1 is imported; only v1 JSON is provisioned from a file by Grafana 12 too.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.builders.timeseries  # noqa: F401
