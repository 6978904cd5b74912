"""A kept choice is the choice that the rules would make now."""

from __future__ import annotations

import pytest

from catalog.errors import NotFound
from catalog.settings import Settings, Upstream
from gateway.chooser import MOST_KEPT, Chooser, Grounds

ENVIRON = {"KEY": "k"}


def server(name: str, **more: object) -> Upstream:
    return Upstream.model_validate({"name": name, "base_url": "http://127.0.0.1:1/v1", "model": "m", **more})


def grounds(*upstreams: Upstream, **more: object) -> Grounds:
    return Grounds(Settings(upstreams=list(upstreams)), {}, **{"obstacle": "engine_disabled", **more})  # type: ignore[arg-type]


def names(chooser: Chooser, model: str, on: Grounds, *, strict: bool = False) -> list[str]:
    return [route.upstream.name for route in chooser.choose(model, on, strict=strict).routes]  # type: ignore[union-attr]


def test_the_same_grounds_give_the_very_same_choice() -> None:
    chooser, on = Chooser(ENVIRON), grounds(server("a"), server("b"))
    assert names(chooser, "local:m", on) == ["a", "b"]
    assert chooser.choose("local:m", on, strict=False) is chooser.choose("local:m", on, strict=False)


def test_strict_is_kept_apart() -> None:
    chooser, on = Chooser(ENVIRON), grounds(server("a"), server("b"))
    assert names(chooser, "m", on, strict=True) == ["a"]
    assert names(chooser, "m", on) == ["a", "b"]
    assert names(chooser, "m", on, strict=True) == ["a"]


def test_whatever_changes_is_chosen_by_at_once() -> None:
    chooser = Chooser(ENVIRON)
    assert names(chooser, "ragweld", grounds(server("a"))) == ["a"]
    assert names(chooser, "ragweld", grounds(server("b"))) == ["b"]
    settings = Settings(upstreams=[server("a", models="discover")])
    with pytest.raises(NotFound):
        chooser.choose("new", Grounds(settings, {}), strict=False)
    assert names(chooser, "new", Grounds(settings, {"a": ("new",)})) == ["a"]
    ready, gone = Grounds(settings, {}), Grounds(settings, {}, obstacle="engine_not_ready")
    assert chooser.choose("ragweld", ready, strict=False).fallback is None
    assert chooser.choose("ragweld", gone, strict=False).fallback == "engine_not_ready"
    named = Grounds(settings, {}, adapter_names=("tuned",))
    assert chooser.choose("tuned", named, strict=True).routes[0].ref.adapter == "tuned"  # type: ignore[union-attr]


def test_a_model_that_was_unknown_is_looked_for_again() -> None:
    chooser, on = Chooser(ENVIRON), grounds(server("a"))
    for _ in range(2):
        with pytest.raises(NotFound):
            chooser.choose("nobody-has-it", on, strict=False)


def test_no_more_choices_are_kept_than_there_is_room_for() -> None:
    chooser, on = Chooser(ENVIRON), grounds(server("router", kind="openrouter"))
    for number in range(3 * MOST_KEPT):
        assert names(chooser, f"vendor/{number}", on) == ["router"]
        assert len(chooser._kept) <= MOST_KEPT
