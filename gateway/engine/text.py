"""Tokens to text that is safe to show: whole characters, and never a part of a stop string.

Stop strings are matched on text, whatever tokens they came in. Pure but for mlx-lm's streaming detokenizer.
`tests/gateway/engine/test_text.py`: any split into tokens gives the same text.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.base import blas

blas.preload()

from mlx_lm.tokenizer_utils import StreamingDetokenizer  # noqa: E402


class StopMatcher:
    """Cuts a growing text before the first stop string; holds back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Text that can be shown now. After a stop string was found, nothing more."""
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        pending = self._held + text
        found = [at for stop in self._stops if (at := pending.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return pending[: min(found)]
        held = max(_overlap(pending, stop) for stop in self._stops)
        self._held = pending[len(pending) - held :]
        return pending[: len(pending) - held]

    def finish(self) -> str:
        """What was held back, when the answer ends without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)


_BEFORE = "."


class AnswerText:
    """The text of one answer as its tokens come. One that `continues` its prompt keeps the space it begins with."""

    def __init__(self, detokenizer: StreamingDetokenizer, stops: Sequence[str], *, continues: bool = False) -> None:
        self._detokenizer = detokenizer
        if continues and "text" in vars(detokenizer):  # those drop a first space unless there is text before it
            detokenizer.text, detokenizer.offset = _BEFORE, len(_BEFORE)
        self._matcher = StopMatcher(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._matcher.stopped

    def feed(self, token: int) -> str:
        """Text that can be shown after this token."""
        self._detokenizer.add_token(token)
        return self._matcher.feed(self._detokenizer.last_segment)

    def finish(self) -> str:
        """The rest, when the answer ends."""
        self._detokenizer.finalize()
        return self._matcher.feed(self._detokenizer.last_segment) + self._matcher.finish()
