"""The page as it is served: its files and no others, nothing from elsewhere, no key before the page itself asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.settings import GatewaySettings, Settings
from gateway.api.studio import STATIC
from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served


@pytest.fixture(scope="module")
def guarded(_engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(
        tmp_path_factory.mktemp("home"), _engine, Settings(gateway=GatewaySettings(require_keys=True))
    ) as running:
        yield running


def test_the_page_and_all_that_it_names_are_served_without_a_key(guarded: Served) -> None:
    page = guarded.call("GET", "/studio")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(named) == 3
    for path in named:
        file = guarded.call("GET", path)
        assert (file.status, file.body) == (200, (STATIC / Path(path).name).read_bytes())
    assert guarded.call("GET", "/api/agent/train/runs").status == 401


def test_the_policy_lets_nothing_in_but_its_own_files(gateway: Served) -> None:
    for path in ("/studio", "/studio/studio.js", "/studio/studio.css"):
        headers = gateway.call("GET", path).headers
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(rb"<script(?![^>]*src=)|<style|\son\w+=|style=", gateway.call("GET", "/studio").body)


def test_a_file_is_asked_for_again_and_sent_only_when_it_changed(gateway: Served) -> None:
    first = gateway.call("GET", "/studio/studio.js")
    assert first.headers["cache-control"] == "no-cache"
    again = gateway.call("GET", "/studio/studio.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert gateway.call("GET", "/studio/studio.js", headers={"if-none-match": '"other"'}).status == 200


@pytest.mark.parametrize("name", ["none.js", "..%2f__init__.py", "%2e%2e%2ftypes.py", "index.html%00", ".npmrc"])
def test_no_other_file_is_served(gateway: Served, name: str) -> None:
    assert gateway.call("GET", f"/studio/{name}").status == 404


def test_the_page_names_no_other_host() -> None:
    """Addresses in it are names of XML, licences' homes and what its libraries say of themselves; nothing is loaded."""
    script = (STATIC / "studio.js").read_text()
    style = (STATIC / "studio.css").read_text()
    assert set(re.findall(r"https?://[^\s\"'`)]+", script)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1998/Math/MathML",
        "http://www.w3.org/1999/xlink",
    }
    assert "http" not in style and "@import" not in style
