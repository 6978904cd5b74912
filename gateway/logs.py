"""Logs of one line an event, `time level logger message`, in which nobody's text can start a new line.

Facts stand in the message as `key=value`; `quoted` writes those that come from outside. A line is one write to
standard error, so lines of many threads never mix; one that cannot be written is counted and stops nobody.
`tests/gateway/test_logs.py`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable

_PLAIN = re.compile(r"[a-zA-Z0-9._\-/:@+%,*{}]+")


class LineFormatter(logging.Formatter):
    """One record, one line."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        moment, level = self._moment(record.created), record.levelname.lower()
        line = f"{moment} {level} {record.name} {_escaped(record.getMessage())}"
        return f"{line} exception={quoted(self.formatException(record.exc_info))}" if record.exc_info else line

    def _moment(self, unix_s: float) -> str:
        """ISO 8601 in UTC; what stands before the milliseconds is written once a second."""
        second = int(unix_s)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int(1000 * (unix_s - second)):03d}Z"


class LineHandler(logging.Handler):
    """Writes lines to a file descriptor; `lost` is told of each that was not written, or not whole."""

    def __init__(self, descriptor: int, lost: Callable[[], None]) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self._descriptor = descriptor
        self._lost = lost

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        try:
            is_whole = os.write(self._descriptor, line) == len(line)
        except OSError:  # a full disk, or nobody reads
            is_whole = False
        if not is_whole:
            self._lost()


def quoted(text: str) -> str:
    """Text from outside as a value: itself where it is plain, else as a JSON string."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def configure(lost: Callable[[], None]) -> None:
    """Send every logger of this process to standard error; `lost` is told of each line that could not be written."""
    handler = LineHandler(sys.stderr.fileno(), lost)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # "Optimization" in Python's logging HOWTO: a record is made for every request, and no line shows these
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for noisy in ("uvicorn", "uvicorn.error", "aiohttp", "asyncio", "httpx", "huggingface_hub", "transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
