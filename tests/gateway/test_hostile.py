"""Clients and upstreams that mean ill: no secret is told to anybody, and no text of theirs becomes a metric."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from prometheus_client import generate_latest

from catalog.keys import KeyStore
from catalog.settings import GatewaySettings, RoutingSettings, Settings
from tests.gateway.misbehaving import HI, Misbehaving, answer, configured
from tests.gateway.serving import Reply, Served, served

MOST_SERIES = 2000
OWN_KEY = "sk-of-the-upstream-0123456789"
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+="
# Begun with what no name of ours begins with: Hypothesis also draws words that it reads in our own source.
Secrets = st.text(ALPHABET, min_size=12, max_size=60).map("zq-{}".format)


@dataclass(frozen=True, slots=True, repr=False)
class Guarded:
    """A gateway that asks for keys, before an upstream that asks for one too. Hypothesis writes down what it is given,
    and all that a gateway is would be too long."""

    served: Served
    home: Path
    key: str

    def told(self) -> str:
        """Everything that is kept or shown: metrics and files."""
        files = b"".join(path.read_bytes() for path in self.home.rglob("*") if path.is_file())
        return (generate_latest(self.served.context.measures.registry) + files).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def guarded(_first: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = tmp_path_factory.mktemp("home")
    key = KeyStore(home).add("client", ["chat", "admin"])
    settings = Settings(
        gateway=GatewaySettings(require_keys=True),
        routing=RoutingSettings(breaker_failures=1_000_000, retries=0),
        upstreams=[configured("first", _first, api_key_env="THE_KEY", kind="openrouter")],
    )
    with served(home, None, settings, {"THE_KEY": OWN_KEY}) as running:
        yield Guarded(running, home, key)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Places(NamedTuple):
    """Where a secret may come in, a different one at each place."""

    key: str
    query: str
    header: str
    cookie: str
    user: str
    identifier: str
    upstream_text: str
    upstream_header: str


@limits(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(said=st.builds(Places, *[Secrets] * len(Places._fields)), status=st.sampled_from([401, 403, 429, 500, 503]))
def test_no_secret_is_in_any_log_metric_error_or_file(
    guarded: Guarded, first: Misbehaving, caplog: pytest.LogCaptureFixture, said: Places, status: int
) -> None:
    caplog.set_level("DEBUG")
    body = json.dumps({"error": {"message": f"{OWN_KEY} {said.upstream_text} is no good"}}).encode()
    first.steps = [answer(body, f"{status} T", more=f"x-key: {said.upstream_header}\r\n")]
    call, chat = guarded.served.call, {"model": "ragweld", "messages": HI}
    named = {**chat, "user": said.user, "safety_identifier": said.identifier}
    replies: list[Reply] = [
        call("GET", f"/v1/models?api_key={said.query}", headers=bearer(said.key)),
        call("POST", "/v1/chat/completions", named, {"x-api-key": said.header}),
        call("POST", "/v1/chat/completions", named, {**bearer(guarded.key), "cookie": said.cookie}),
    ]
    assert {reply.status for reply in replies[:2]} <= {401, 429}
    shown = caplog.text + guarded.told() + "".join(str(reply.headers) + reply.body.decode() for reply in replies)
    caplog.clear()
    assert not [one for one in (*said, OWN_KEY, guarded.key) if one in shown]


def test_no_text_of_a_client_or_an_upstream_makes_a_series(guarded: Guarded, first: Misbehaving) -> None:
    lots, call, key = random.Random(7), guarded.served.call, bearer(guarded.key)
    for number in range(300):
        name = "".join(lots.choices('abcXYZ0189/:@._- é{}"\\', k=lots.randint(1, 40)))
        status = lots.randint(200, 599)
        first.steps = [answer(json.dumps({"error": {"code": name, "type": name}}).encode(), f"{status} T")]
        call(
            "POST",
            "/v1/chat/completions",
            {"model": lots.choice((f"openrouter:{name}", name, f"a/{name}")), "messages": HI},
            key,
        )
        call(lots.choice(("GET", "POST", "DELETE", "PUT")), f"/v1/{number}/x", headers=key)
        call("POST", "/api/kg/extract", {"text": name, "model": f"openrouter:{name}"}, key)
    lines = generate_latest(guarded.served.context.measures.registry).decode().splitlines()
    assert sum(not line.startswith("#") for line in lines) <= MOST_SERIES
