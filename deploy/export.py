"""`ragweld export`: an adapter for use elsewhere, from the shell, whether or not a gateway runs.

Imports nothing heavy before it is called. `tests/deploy/test_export.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalog.settings import Loaded

FORMATS = ("mlx-lm", "peft", "fused")


def arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld export`."""
    top.add_argument("source", metavar="RUN_OR_ADAPTER", help="a run's id, an adapter's name or id, or a model id")
    top.add_argument("--format", choices=FORMATS, required=True, help="who will read it")
    top.add_argument("--out", metavar="DIR", type=Path, required=True, help="a folder that is not there yet")
    top.add_argument(
        "--quantised", action="store_true", help="fused in the base's own bits; refused where it erases the adapter"
    )


def run(words: argparse.Namespace, home: Path, loaded: Loaded, say: Callable[[str], None]) -> None:
    """Write and say what was written; raises RagweldError."""
    from catalog import exports, models

    training = loaded.settings.training
    known = models.known_bases(training)
    source = exports.find(words.source, home, known, training.ragweld_agent_base_model)
    target = words.out.expanduser().absolute()
    made = exports.export(source, words.format, target, home, quantised=words.quantised)
    say(f"{made.folder}: {made.format} of {made.base}; {made.note}.")
