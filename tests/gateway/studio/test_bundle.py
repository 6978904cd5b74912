"""The committed page is what its source makes, and the source is sound: with node, and its packages, where they are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from gateway.api.studio import STATIC
from tests.requirements_of_machine import need_studio_tools

STUDIO = STATIC.parent


def node(*command: str) -> None:
    """Run one of the page's tools in its folder."""
    ran = subprocess.run(
        [str(need_studio_tools()), *command], cwd=STUDIO, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_committed_page_is_what_the_source_makes(tmp_path: Path) -> None:
    node("build.mjs", str(tmp_path))
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    assert made.keys() == committed.keys()
    changed = [name for name, content in made.items() if committed[name] != content]
    assert changed == [], "run `npm run build` in gateway/studio"


def test_the_types_of_the_source_hold() -> None:
    node("node_modules/typescript/bin/tsc", "--noEmit")


def test_the_lock_names_no_registry_and_pins_every_package() -> None:
    lock = json.loads((STUDIO / "package-lock.json").read_text())
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert packages and all(entry["integrity"].startswith("sha512-") for entry in packages)
    assert not any("resolved" in entry for entry in packages)
    wanted = json.loads((STUDIO / "package.json").read_text())
    versions = [*wanted["dependencies"].values(), *wanted["devDependencies"].values()]
    assert all(re.fullmatch(r"[\d.]+", version) for version in versions)


def test_every_library_in_the_page_has_its_licence_beside_it() -> None:
    licences = (STATIC / "LICENSES.txt").read_text()
    for name in json.loads((STUDIO / "package.json").read_text())["dependencies"]:
        assert re.search(rf"^{re.escape(name)} \d", licences, re.MULTILINE), name
