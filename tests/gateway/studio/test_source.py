"""The page's own tests, each bundled as the page is and run by node's test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.requirements_of_machine import STUDIO, need_studio_tools

SOURCES = sorted(Path(__file__).parent.glob("*.test.ts"))
BUNDLE = """
import { build } from "esbuild";
const [source, outfile] = process.argv.slice(1);
await build({ entryPoints: [source], outfile, bundle: true, platform: "node", format: "esm", logLevel: "warning" });
"""


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_the_pages_arithmetic(source: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.mjs"
    for command in (["--input-type=module", "--eval", BUNDLE, str(source), str(bundle)], ["--test", str(bundle)]):
        ran = subprocess.run(
            [str(need_studio_tools()), *command], cwd=STUDIO, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
