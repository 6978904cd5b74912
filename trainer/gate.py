"""Whether a candidate may answer in place of the active adapter: decided from measurements alone, closed when in doubt.

Pure. All three are measured on the same held-out rows; the candidate must be lower than both others by more than
epsilon in nats per supervised token. `tests/trainer/test_gate.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.evaluate import Measurement


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, its reason in words, and the losses that it rests on."""

    promote: bool
    reason: str
    candidate_loss: float | None = None
    active_loss: float | None = None
    base_loss: float | None = None


def decide(
    candidate: Measurement | None,
    active: Measurement | None,
    base: Measurement | None,
    epsilon: float,
    compared: str = "loss",
) -> Verdict:
    """Compare; where no adapter is active, `active` is the base's own measurement. `compared` names the loss."""
    named = {"candidate": candidate, "active adapter": active, "base": base}
    losses = [None if measured is None or not measured.counts else measured.loss for measured in named.values()]
    for (name, measured), loss in zip(named.items(), losses, strict=True):
        if measured is None or loss is None:
            return Verdict(False, f"Not promoted: there is no measurement of the {name}.", *losses)
        if not math.isfinite(loss) or not all(map(math.isfinite, measured.nats)):
            return Verdict(False, f"Not promoted: the loss of the {name} is not finite.", *losses)
    assert candidate is not None and active is not None and base is not None
    if not candidate.counts == active.counts == base.counts:
        return Verdict(False, "Not promoted: the three were not measured on the same rows.", *losses)
    for name, other in (("active adapter", active), ("base", base)):
        if not candidate.loss < other.loss - epsilon:
            return Verdict(False, f"Not promoted: {_compared(compared, candidate, name, other, epsilon)}.", *losses)
    words = [_compared(compared, candidate, "base", base, epsilon)]
    if active != base:
        words.append(_compared(compared, candidate, "active adapter", active, epsilon))
    return Verdict(True, f"Promoted: {'; '.join(words)}.", *losses)


def _compared(compared: str, candidate: Measurement, name: str, other: Measurement, epsilon: float) -> str:
    better = sum(mine < theirs for mine, theirs in zip(candidate.nats, other.nats, strict=True))
    margin = f" (more than {epsilon:g} lower is asked)" if epsilon else ""
    return (
        f"held-out {compared} {candidate.loss:.4f} against {other.loss:.4f} of the {name}{margin}, "
        f"lower on {better} of {len(other.nats)} rows"
    )
