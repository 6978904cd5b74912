"""Serves the preview page for one Prometheus: its files, the committed dashboards, and questions to `/api/v1/query`.

One origin, so that the browser needs no exception. Only questions are passed on, and only to that Prometheus.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

from grafana.preview.npm import ROOT, built
from grafana.render import DASHBOARDS, dashboard_path

DEADLINE_S = 30.0
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
ICONS = ROOT / "node_modules" / "@grafana" / "ui" / "dist" / "public" / "img" / "icons"
ICONS_AT = "/public/build/img/icons"
"""Where Grafana's components ask for them."""
ASKED = "/api/v1/query"
"""Instant and range queries begin so; nothing else is passed on."""


@dataclass(frozen=True, slots=True)
class Page:
    """A served page."""

    url: str

    def address(
        self,
        dashboard: str,
        *,
        theme: str = "dark",
        start_s: float | None = None,
        end_s: float | None = None,
        refresh_s: float = 0,
        **variables: str,
    ) -> str:
        """Address of a dashboard's preview. Times are unix seconds, by default the last 15 minutes; `refresh_s` draws
        it again and again; `variables` are the dashboard's own, for example `run_id`.

        The page counts its drawings in `window.preview.draws` and keeps what went wrong in `window.preview.errors`.
        """
        asked = {"dashboard": dashboard, "theme": theme, "from": start_s, "to": end_s, "refresh": refresh_s or None}
        asked |= {f"var-{name}": value for name, value in variables.items()}
        return f"{self.url}/?{urlencode({name: value for name, value in asked.items() if value is not None})}"


@contextmanager
def served(prometheus_url: str) -> Iterator[Page]:
    """Serve the page over `prometheus_url` on a free port while the block lasts; raises Unavailable without Node."""
    files = {f"/{path.name}": path for path in built().iterdir() if path.suffix in TYPES}
    files |= {f"{ICONS_AT}/{path.relative_to(ICONS)}": path for path in ICONS.rglob("*.svg")}
    files |= {"/": ROOT / "index.html"} | {f"/dashboards/{name}.json": dashboard_path(name) for name in DASHBOARDS}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in files:
                self._answer(200, TYPES[files[path].suffix], files[path].read_bytes())
            elif path.startswith(ASKED):
                self._answer(*_ask(f"{prometheus_url}{self.path}"))
            else:
                self._answer(404, "text/plain", b"There is no such file.")

        def _answer(self, status: int, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            # A page that draws anew, or is left, no longer waits for what it asked before.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="preview")
    thread.start()
    try:
        yield Page(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _ask(url: str) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return answer.status, TYPES[".json"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, TYPES[".json"], error.read()
    except OSError as error:
        return 502, "text/plain", f"Prometheus does not answer: {error}".encode()
