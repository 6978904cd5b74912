"""The house stands as drawn: imports go one way, and nothing lies outside its rooms."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("catalog", "gateway", "trainer", "grafana", "deploy")
FOLDERS = {*PACKAGES, "tests", ".ci"}
MAY_IMPORT = {
    "catalog": (),
    "gateway": ("catalog",),
    "trainer": ("catalog",),
    "grafana": ("catalog", "gateway.metrics", "trainer.metrics"),
    "deploy": PACKAGES,
}
"""What each package may import beside itself and what is installed."""


def modules(package: str) -> list[Path]:
    """The package's own modules; not what npm installed beside a page's sources."""
    return sorted(path for path in (ROOT / package).rglob("*.py") if "node_modules" not in path.parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), path.as_posix())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*inside, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{name.name}") for name in node.names)


def back_edges(package: str) -> list[str]:
    allowed = (package, *MAY_IMPORT[package])
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imports(path)
        if name.split(".")[0] in (*PACKAGES, "tests")
        and not any(name == room or name.startswith(f"{room}.") for room in allowed)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    assert back_edges(package) == []


def test_there_is_no_other_top_level_folder() -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {name.split("/")[0] for name in names if "/" in name} <= FOLDERS


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_promises(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules(package)
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_fast_blas_is_loaded_before_mlx_is(package: str) -> None:
    """Whatever is imported first: the other way round MLX computes with reference BLAS, a dozen times slower."""
    early = []
    for path in modules(package):
        body = ast.parse(path.read_text("utf-8")).body
        preloads = [node.lineno for node in body if ast.unparse(node) == "blas.preload()"]
        lines = [line for line, name in imports(path) if name.split(".")[0] in ("mlx", "mlx_lm")]
        if lines and min(lines) < min(preloads, default=max(lines) + 1):
            early.append(f"{path.relative_to(ROOT)}:{min(lines)}")
    assert early == []


def test_only_the_command_reads_the_environment() -> None:
    """Everybody else is given what was read, so that every value has one source."""
    edge = ROOT / "deploy/cli.py"
    readers = {
        path
        for package in PACKAGES
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and ast.unparse(node.value) == "os"
    }
    assert readers <= {edge}
