"""What is known of an upstream moves with its requests and with what looks at it found."""

from __future__ import annotations

import pytest

from catalog.errors import Unavailable
from gateway.balance import Load
from gateway.breaker import Closed, Open, Trial
from gateway.providers import Health, Providers


class Known:
    """Providers over a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.failures: list[tuple[str, str]] = []
        self.providers = Providers(
            lambda: 2, lambda: self.now, lambda: 0.5, lambda name, kind: self.failures.append((name, kind))
        )

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            turn = self.providers.turn("a")
            turn.failed("cut")
            turn.end()


def test_an_upstream_that_failed_again_and_again_is_left_in_peace_at_once_and_then_tried_by_one() -> None:
    known = Known()
    known.fail(2)
    assert known.failures == [("a", "cut")] * 2
    with pytest.raises(Unavailable) as caught:
        known.providers.turn("a")
    assert (caught.value.code, "30 s" in caught.value.hint) == ("upstream_resting", True)
    known.now += 30
    trial = known.providers.turn("a")
    with pytest.raises(Unavailable, match="finding out"):
        known.providers.turn("a")
    trial.spoke(0.1)
    known.providers.turn("a")


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_only_the_clock_that_was_given_counts(jump_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known()
    known.fail(2)
    monkeypatch.setattr("time.time", lambda: jump_s)
    with pytest.raises(Unavailable):
        known.providers.turn("a")


def test_a_trial_that_its_client_left_lets_another_try() -> None:
    known = Known()
    known.fail(2)
    known.now += 30
    known.providers.turn("a").end()
    assert isinstance(known.providers.snapshot()["a"].breaker, Open)
    known.providers.turn("a")
    assert isinstance(known.providers.snapshot()["a"].breaker, Trial)


def test_a_turn_is_counted_while_it_is_open_and_once() -> None:
    known = Known()
    turn = known.providers.turn("a")
    assert known.providers.loads() == {"a": Load(1)}
    turn.finished()
    turn.end()
    turn.end()
    assert known.providers.loads() == {"a": Load(0)}


def test_a_429_rests_it_and_is_no_failure() -> None:
    known = Known()
    for _ in range(3):
        turn = known.providers.turn("a")
        turn.asked_to_rest(7)
        turn.end()
    assert known.providers.loads()["a"].rests is True
    assert known.providers.snapshot()["a"].breaker == Closed()
    known.now += 8
    assert known.providers.loads()["a"].rests is False


def test_who_is_no_longer_configured_is_forgotten_unless_it_still_answers() -> None:
    known = Known()
    known.fail()
    turn = known.providers.turn("b")
    known.providers.forget_all_but({"c"})
    assert set(known.providers.snapshot()) == {"b"}
    turn.end()
    known.providers.forget_all_but({"c"})
    assert known.providers.snapshot() == {}


def test_latency_is_a_moving_mean_and_models_outlive_a_bad_moment() -> None:
    known = Known()
    for after_s in (1.0, 2.0):
        known.providers.turn("a").spoke(after_s)
    assert known.providers.snapshot()["a"].first_content_s == pytest.approx(1.2)
    known.providers.looked_at("a", Health(None, 0.1, ("m", "n")))
    known.providers.looked_at("a", Health("it does not answer", 2.0))
    assert known.providers.discovered == {"a": ("m", "n")}
