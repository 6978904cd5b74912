"""`python -m grafana.preview` draws every dashboard over a running Prometheus into `output/preview-*.png`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from pathlib import Path

from catalog.errors import RagweldError
from grafana.preview.pictures import take
from grafana.preview.server import served
from grafana.render import DASHBOARDS


def main() -> int:
    """Draw and say where; 1 with one line when it cannot be."""
    words = argparse.ArgumentParser(prog="python -m grafana.preview", description=__doc__)
    words.add_argument("--prometheus", metavar="URL", default="http://127.0.0.1:9090")
    words.add_argument("--run", metavar="RUN_ID", help="the run of the Learning dashboard (default: newest)")
    words.add_argument("--from", dest="start_s", metavar="UNIX_S", type=float, help="default: 15 minutes earlier")
    words.add_argument("--to", dest="end_s", metavar="UNIX_S", type=float, help="default: now")
    words.add_argument("--out", metavar="DIR", type=Path, default=Path("output"))
    words.add_argument("--serve", action="store_true", help="only serve the page, until Ctrl-C")
    given = words.parse_args()
    named = {"run_id": given.run, "start_s": given.start_s, "end_s": given.end_s}
    asked = {name: value for name, value in named.items() if value is not None}
    try:
        with served(given.prometheus) as page:
            if given.serve:
                print(page.address("learning", refresh_s=5, **asked), flush=True)
                with contextlib.suppress(KeyboardInterrupt):
                    threading.Event().wait()
                return 0
            for path in take(page, DASHBOARDS, given.out, **asked):
                print(f"wrote {path}")
    except RagweldError as error:
        print(f"grafana.preview: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
