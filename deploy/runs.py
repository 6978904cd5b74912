"""`ragweld runs`: training runs from the shell, on the same files as by curl; only `promote` asks a gateway.

A running trainer sees a wish within a step. Imports nothing heavy before it is called. `tests/deploy/test_runs.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import bench

if TYPE_CHECKING:
    from catalog.run_life import Run, Wish
    from catalog.runs import RunStore
    from catalog.settings import Loaded
    from catalog.verify import Verification

Say = Callable[[str], None]
MARKS: Mapping[bool | None, str] = {True: "ok", False: "NOT OK", None: "unknown"}


def arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld runs`."""
    words = top.add_subparsers(dest="act", required=True, metavar="ACT")
    listed = words.add_parser("list", help="newest first")
    listed.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default: 20)")
    acts = {
        "show": "everything that is known of a run, as JSON",
        "cancel": "end a run; it is saved first",
        "pause": "save a run and let it wait",
        "resume": "let a paused or interrupted run go on",
    }
    for name, summary in acts.items():
        words.add_parser(name, help=summary).add_argument("run", metavar="RUN")
    promote = words.add_parser("promote", help="make a completed run's adapter the one that answers")
    promote.add_argument("run", metavar="RUN")
    promote.add_argument("--url", metavar="URL", help="the gateway (default: the one of these settings)")
    verify = words.add_parser("verify", help="derive again what the run's files say")
    verify.add_argument("run", metavar="RUN")
    verify.add_argument("--loss", action="store_true", help="measure the held-out loss again too")


def run(words: argparse.Namespace, home: Path, loaded: Loaded, key: str, say: Say) -> bool:
    """Do what `words` say; False when a verification found a fault. Raises RagweldError."""
    from catalog.run_life import CancelRequested, PauseRequested, ResumeRequested
    from catalog.runs import RunStore

    store = RunStore(home)
    wishes: dict[str, type[Wish]] = {"cancel": CancelRequested, "pause": PauseRequested, "resume": ResumeRequested}
    match words.act:
        case "list":
            for line in table(store.list(limit=words.limit)):
                say(line)
        case "show":
            say(store.get(words.run).model_dump_json(indent=2))
        case "promote":
            from deploy import launch

            gateway = words.url or launch.house_of(loaded, home).gateway.url
            made = bench.post(f"{gateway.rstrip('/')}/api/agent/train/run/{words.run}/promote", {}, key)
            say(f"{words.run}: adapter {made['adapter_id'][:12]} answers now")
        case "verify":
            return _verify(words, home, loaded, store, say)
        case wish:
            store.get(words.run)
            after = store.apply(words.run, wishes[wish]())
            asked = " (asked; it saves first)" if after.cancel_requested or after.pause_requested else ""
            say(f"{words.run}: {after.status}{asked if after.status == 'running' else ''}")
    return True


def table(found: list[Run]) -> list[str]:
    """Runs as lines."""
    rows = [("run", "status", "best loss", "base"), *(_row(one) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(one: Run) -> tuple[str, str, str, str]:
    best = one.summary.primary_best if one.summary is not None else None
    promoted = " *" if one.promotion is not None and one.promotion.promoted else ""
    return (one.run_id, one.status, "-" if best is None else f"{best:.4f}{promoted}", one.plan.base)


def _verify(words: argparse.Namespace, home: Path, loaded: Loaded, store: RunStore, say: Say) -> bool:
    from catalog import verify
    from catalog.adapters import AdapterStore

    found = store.get(words.run)
    result: Verification = verify.verify(found, store, AdapterStore(home), home)
    if words.loss:
        from trainer import verify as measured

        again = measured.loss(found, store, home, cpu_float32=loaded.settings.trainer.cpu_float32)
        result = verify.verification(found.run_id, [*result.findings, again])
    for one in result.findings:
        say(f"{MARKS[one.ok]:8}{one.what}: {one.detail}")
    return result.ok
