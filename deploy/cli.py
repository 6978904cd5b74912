"""The `ragweld` command: reads arguments and environment, loads the settings, hands over.

Nothing heavy is imported before the arguments are understood, so that `ragweld --help` is quick; a fault that a person
can mend is one line on standard error and an exit code from sysexits. `tests/deploy/test_cli.py` proves both.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import InvalidRequest, RagweldError
from deploy import backfill, bench, data, desk, export, runs
from deploy.film import words as film_words

if TYPE_CHECKING:
    from catalog.settings import Loaded

DEFAULT_HOME = "~/.ragweld"
BASE_OPTION = {"base": "training.ragweld_agent_base_model"}
GATEWAY_OPTIONS = {"host": "gateway.host", "port": "gateway.port"} | BASE_OPTION
TRAINER_OPTIONS = {"trainer_port": "trainer.metrics_port"} | BASE_OPTION
SETTING_OF_OPTION = GATEWAY_OPTIONS | TRAINER_OPTIONS

FAULTS_OF_WORDS = (400, 422)
"""What was typed or stored is wrong, and stays so at the next try."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What every command is given."""

    home: Path
    loaded: Loaded
    environ: Mapping[str, str]
    words: argparse.Namespace
    """What stands behind the command."""

    @property
    def as_child(self) -> bool:
        return bool(self.words.child)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command; returns its exit code."""
    arguments = parser().parse_args(argv)
    try:
        return COMMANDS[arguments.command].run(_invocation(arguments, environ))
    except RagweldError as error:
        if error.http_status in FAULTS_OF_WORDS:
            return _fail(str(error), os.EX_CONFIG)
        # A port or a lock that is held now may be free at the next try, so the supervisor tries again.
        return _fail(str(error), os.EX_TEMPFAIL)


def parser() -> argparse.ArgumentParser:
    """The whole grammar of the command."""
    top = argparse.ArgumentParser(
        prog="ragweld", description="The local gateway that learns: one OpenAI base URL in front of your own model."
    )
    top.add_argument("--version", action="version", version=f"ragweld {_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.summary, description=command.description)
        _add_options(sub, command.options)
        command.arguments(sub)
    return top


def _add_options(sub: argparse.ArgumentParser, options: Mapping[str, str]) -> None:
    sub.add_argument(
        "--home", metavar="DIR", help=f"where everything durable lives (default: $RAGWELD_HOME or {DEFAULT_HOME})"
    )
    if "host" in options:
        sub.add_argument("--host", help="address the gateway listens on (default: 127.0.0.1)")
        sub.add_argument("--port", type=int, help="port of the OpenAI base URL (default: 8000; 0 takes a free one)")
    if "trainer_port" in options:
        sub.add_argument(
            "--trainer-port", metavar="PORT", type=int, help="port of the trainer's /metrics (default: 8001)"
        )
    if "base" in options:
        sub.add_argument(
            "--base", metavar="MODEL", help="base model: ragweld-nano, a Hugging Face id, an absolute folder"
        )
    # Set by the supervisor: standard input is a pipe whose end means that the supervisor is gone.
    sub.add_argument("--child", action="store_true", help=argparse.SUPPRESS)


def _invocation(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Invocation:
    from catalog import settings

    home = Path(arguments.home or environ.get("RAGWELD_HOME") or DEFAULT_HOME).expanduser().absolute()
    given = {key: getattr(arguments, option, None) for option, key in SETTING_OF_OPTION.items()}
    overrides = {key: value for key, value in given.items() if value is not None}
    return Invocation(home, settings.load(home, environ, overrides), environ, arguments)


def _up(invocation: Invocation) -> int:
    from deploy import launch

    return launch.up(launch.house_of(invocation.loaded, invocation.home), _say)


def _gateway(invocation: Invocation) -> int:
    _settle(invocation)
    from gateway.main import serve

    return serve(invocation.loaded, invocation.home, invocation.environ)


def _trainer(invocation: Invocation) -> int:
    _settle(invocation)
    from trainer.main import run

    return run(invocation.loaded.settings, invocation.home)


def _settle(invocation: Invocation) -> None:
    """What both processes want before anything heavy is imported."""
    if invocation.as_child:
        from deploy import lifeline

        lifeline.watch(invocation.loaded.settings.gateway.shutdown_grace_s + lifeline.SPARE_S)
    _quiet_libraries()
    _check_home(invocation.home)


def _check_home(home: Path) -> None:
    """Make the home's folder of everything durable; raises InvalidRequest when it cannot be made or written to."""
    durable = home / "data"
    try:
        durable.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _useless(home, f"cannot be made: {error.strerror}") from error
    if not os.access(durable, os.W_OK | os.X_OK):
        raise _useless(home, "cannot be written to")


def _useless(home: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"The home folder {home} {why}.", hint="Choose another with --home.")


def _quiet_libraries() -> None:
    # Without PyTorch, transformers says that "models won't be available"; ours are MLX's, it only makes our tokens.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def _doctor(invocation: Invocation) -> int:
    from deploy import doctor

    return doctor.run(invocation.loaded, invocation.home, invocation.environ, _say)


def _keys(invocation: Invocation) -> int:
    desk.keys(invocation.words, invocation.home, _say)
    return os.EX_OK


def _config(invocation: Invocation) -> int:
    desk.config(invocation.words, invocation.home, invocation.loaded, _say)
    return os.EX_OK


def _data(invocation: Invocation) -> int:
    _quiet_libraries()
    colour = sys.stdout.isatty() and "NO_COLOR" not in invocation.environ
    return data.check(invocation.words, invocation.loaded, _say, colour=colour)


def _bench(invocation: Invocation) -> int:
    from deploy import launch

    url = launch.house_of(invocation.loaded, invocation.home).gateway.url
    bench.run(invocation.words, url, invocation.environ.get(bench.KEY_VARIABLE, ""), _say)
    return os.EX_OK


def _metrics(invocation: Invocation) -> int:
    backfill.run(invocation.words, invocation.home, invocation.loaded, _say)
    return os.EX_OK


def _export(invocation: Invocation) -> int:
    _quiet_libraries()
    export.run(invocation.words, invocation.home, invocation.loaded, _say)
    return os.EX_OK


def _runs(invocation: Invocation) -> int:
    _quiet_libraries()
    key = invocation.environ.get(bench.KEY_VARIABLE, "")
    is_so = runs.run(invocation.words, invocation.home, invocation.loaded, key, _say)
    return os.EX_OK if is_so else os.EX_DATAERR


def _record(invocation: Invocation) -> int:
    from deploy.film import record

    record.run(invocation.words, _say)
    return os.EX_OK


def _say(line: str) -> None:
    # Whoever read our lines may go; serving goes on.
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _fail(line: str, exit_code: int) -> int:
    print(f"ragweld: {line}", file=sys.stderr)
    return exit_code


def _version() -> str:
    try:
        return importlib.metadata.version("ragweld")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `ragweld`."""

    run: Callable[[Invocation], int]
    summary: str
    description: str
    options: Mapping[str, str]
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


COMMANDS = {
    "up": Command(
        _up,
        "gateway and trainer together, until Ctrl-C",
        "Starts the gateway and the trainer, says what it chose and why, and stops both on Ctrl-C or SIGTERM.",
        SETTING_OF_OPTION,
    ),
    "gateway": Command(
        _gateway,
        "the OpenAI base URL alone",
        "Answers OpenAI's API from the model on this machine. Runs wait until a trainer runs on the same home.",
        GATEWAY_OPTIONS,
    ),
    "trainer": Command(
        _trainer,
        "the training process alone",
        "Takes queued runs of this home one by one, and shows its numbers under /metrics.",
        TRAINER_OPTIONS,
    ),
    "doctor": Command(
        _doctor,
        "what can run here, what is missing, what to type",
        "Looks at this machine and says what can run, what is missing and what to type. Changes nothing.",
        SETTING_OF_OPTION,
    ),
    "data": Command(
        _data,
        "what a dataset would be to a run",
        "Finds every defect of a dataset, counts its tokens, and shows which would be learned. Starts nothing.",
        {},
        data.arguments,
    ),
    "keys": Command(
        _keys,
        "who may ask this gateway",
        "Makes, lists and removes keys. They are asked for as soon as the gateway listens beyond this machine.",
        {},
        desk.keys_arguments,
    ),
    "config": Command(
        _config,
        "read and change settings",
        "Shows every setting with where its value came from, and stores changes in the home folder.",
        {},
        desk.config_arguments,
    ),
    "bench": Command(
        _bench,
        "the same prompts to several models, as a table",
        "Asks a running gateway, prints times, pace, cost and answers, and leaves the benchmark stored there.",
        {},
        bench.arguments,
    ),
    "export": Command(
        _export,
        "an adapter for mlx-lm, PEFT, or fused into its base",
        "Writes the adapter of a run, or one by its name or id, into a folder for use elsewhere. Needs no gateway.",
        {},
        export.arguments,
    ),
    "runs": Command(
        _runs,
        "training runs: list, show, pause, resume, cancel, promote, verify",
        "Looks at runs and asks things of them. `verify` derives again what a run's files say: hashes, the dataset's "
        "split, the summary, and with --loss the held-out loss.",
        {},
        runs.arguments,
    ),
    "metrics": Command(
        _metrics,
        "a finished run into Prometheus, step by step",
        "Writes a run's every step at its exact time, which a scrape may have missed, as blocks for Prometheus.",
        {},
        backfill.arguments,
    ),
    "record": Command(
        _record,
        "a film of a run, made with a real browser",
        "Starts a ragweld of its own, films the Studio from the first question to the promoted adapter, cuts it to "
        "H.264 and looks at what came out. Needs Chromium, ffmpeg and `pip install 'ragweld[record]'`.",
        {},
        film_words.arguments,
    ),
}
