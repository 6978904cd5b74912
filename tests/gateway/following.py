"""An open event stream of a gateway, read on a thread of its own as a browser would."""

from __future__ import annotations

import http.client
import threading

from tests.gateway.serving import DEADLINE_S, Served


class Follower:
    """Its `blocks` are the fields of every event that has come; `ended` is set when there is no more."""

    def __init__(self, gateway: Served, path: str, last_event_id: str | None = None) -> None:
        self.blocks: list[dict[str, str]] = []
        self.ended = threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=DEADLINE_S)
        headers = {"last-event-id": last_event_id} if last_event_id else {}
        self._connection.request("GET", path, headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self.content_type = self._answer.getheader("content-type")
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif fields:
                    self.blocks.append(fields)
                    fields = {}
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # cut by the test
        finally:
            self.ended.set()

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(DEADLINE_S)
        self._answer.close()
        self._connection.close()
