"""The life of a run as its users understand it: a second telling of the rules, to hold the first one against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


class Refused(Exception):
    """It cannot be done in this state."""


@dataclass(frozen=True, slots=True)
class Life:
    """A run between two acts. `wish` is what a person asked of a running one."""

    status: str = "queued"
    wish: Literal["", "cancel", "pause"] = ""
    is_silent: bool = False
    is_lost: bool = False
    deaths: int = 0

    def after(self, act: str) -> Life:
        """The life after `act`; raises Refused."""
        if self.status == "running":
            return self._running(act)
        if act == "be explained" and self.is_lost:
            return Life("failed", deaths=self.deaths)
        to = WAITING_OR_ENDED.get((self.status, act))
        if to is None:
            raise Refused
        return self if to == self.status else Life(to, deaths=self.deaths)

    def _running(self, act: str) -> Life:
        match act:
            case "cancel":
                return self._left("cancelled") if self.is_silent else replace(self, wish="cancel")
            case "pause" if self.wish != "cancel":
                return replace(self, wish="pause")
            case "resume" if self.wish == "pause":
                return replace(self, wish="")
            case "put aside":
                return self._left("cancelled" if self.wish == "cancel" else "paused")
            case "complete" | "fail" | "diverge":
                return self._left({"complete": "completed", "fail": "failed", "diverge": "diverged"}[act])
            case "be stopped":
                return self._left(self._instead_of_interrupted())
            case "die":
                left = self._left(self._instead_of_interrupted())
                return replace(left, deaths=self.deaths + 1, is_lost=left.status == "interrupted")
            case "fall silent":
                return self._left("cancelled") if self.wish == "cancel" else replace(self, is_silent=True)
            case "be heard":
                return replace(self, is_silent=False)
        raise Refused

    def _instead_of_interrupted(self) -> str:
        return {"cancel": "cancelled", "pause": "paused", "": "interrupted"}[self.wish]

    def _left(self, status: str) -> Life:
        return Life(status, deaths=self.deaths)


WAITING_OR_ENDED = {
    ("queued", "start"): "running",
    ("queued", "cancel"): "cancelled",
    ("queued", "pause"): "paused",
    ("queued", "resume"): "queued",
    ("paused", "cancel"): "cancelled",
    ("paused", "pause"): "paused",
    ("paused", "resume"): "queued",
    ("interrupted", "resume"): "queued",
    ("cancelled", "cancel"): "cancelled",
}
"""What may be done to a run that no trainer has."""
