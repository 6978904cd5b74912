"""The lock: every version has its hashes, nothing names an index, and all that pyproject.toml wants is in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
PLATFORMS = [("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64")]
PYTHONS = ("3.11", "3.12", "3.13")


def locked(name: str) -> list[Requirement]:
    """The pins of one file; fails on any line that is not a pin, one of its hashes, or a comment."""
    pins, hashes = [], 0
    for line in (ROOT / "deploy/lock" / name).read_text("utf-8").splitlines():
        if found := PINNED.match(line):
            assert not pins or hashes, f"{pins[-1]} has no hash"
            marker = f"; {found['marker']}" if found["marker"] else ""
            pins.append(Requirement(f"{found['name']}=={found['version']} {marker}"))
            hashes = 0
        elif HASH.match(line):
            hashes += 1
        else:
            assert line.startswith("#"), line
    assert hashes
    return pins


def environment(platform: tuple[str, str, str], python: str) -> dict[str, str]:
    sys_platform, system, machine = platform
    return {
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }


def versions(name: str, here: dict[str, str]) -> dict[str, Version]:
    """What the file installs in one environment; each project once."""
    found: dict[str, Version] = {}
    for pin in locked(name):
        if pin.marker is None or pin.marker.evaluate(here):
            assert canonicalize_name(pin.name) not in found, pin
            found[canonicalize_name(pin.name)] = Version(next(iter(pin.specifier)).version)
    return found


@pytest.mark.parametrize("name", ["run.txt", "test.txt"])
def test_every_version_has_its_hashes_and_no_line_names_an_index_or_address(name: str) -> None:
    assert len(locked(name)) > 50
    assert not re.search("://|index|find-links|file:", (ROOT / "deploy/lock" / name).read_text("utf-8"))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_lock_covers_what_pyproject_wants(platform: tuple[str, str, str], python: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    run_wants = project["project"]["dependencies"] + project["build-system"]["requires"]
    test_wants = run_wants + project["project"]["optional-dependencies"]["test"]
    here = environment(platform, python)
    for name, wants in (("run.txt", run_wants), ("test.txt", test_wants)):
        found = versions(name, here)
        for want in map(Requirement, wants):
            if want.marker is None or want.marker.evaluate(here):
                assert canonicalize_name(want.name) in found, f"{want} is not in {name}: run deploy/lock/make"
                assert found[canonicalize_name(want.name)] in want.specifier, f"{want}: run deploy/lock/make"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_tests_run_on_the_versions_that_users_run(platform: tuple[str, str, str]) -> None:
    here = environment(platform, "3.11")
    assert versions("run.txt", here).items() <= versions("test.txt", here).items()
