"""The npm side: what is installed once from the lock, built, and run. Raises Unavailable where Node is missing.

The lock names no registry; npm takes the one that the machine is set up with.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from catalog.errors import Unavailable

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
STAMP = ROOT / "node_modules" / ".ragweld-lock"


def built() -> Path:
    """The folder with the built page and checker, made anew when a source is newer."""
    _install()
    sources = [*ROOT.glob("src/**/*.ts*"), ROOT / "build.mjs", STAMP]
    page = DIST / "page.js"
    if not page.exists() or max(path.stat().st_mtime_ns for path in sources) > page.stat().st_mtime_ns:
        run("node", "build.mjs")
    return DIST


def run(program: str, *arguments: str, stdin: str | None = None) -> str:
    """Standard output of `program` in this folder; raises Unavailable with what it said when it failed."""
    found = shutil.which(program)
    if found is None:
        hint = "Install Node 20 or newer with npm: `apt-get install nodejs npm`, or `brew install node`."
        raise Unavailable(f"Previews need {program}, which is not installed.", hint=hint)
    ran = subprocess.run([found, *arguments], cwd=ROOT, input=stdin, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise Unavailable(f"{program} {' '.join(arguments)} failed:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def _install() -> None:
    lock = (ROOT / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock).hexdigest()
    if not STAMP.exists() or STAMP.read_text() != digest:
        run("npm", "ci", "--no-progress")
        STAMP.write_text(digest)
