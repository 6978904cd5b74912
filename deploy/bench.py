"""`ragweld bench`: the same prompts to several models of a running gateway, as a table.

Knows the gateway by `POST /api/benchmark/run` alone. `tests/deploy/test_bench.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.errors import InvalidRequest, Unavailable

KEY_VARIABLE = "RAGWELD_KEY"
DEADLINE_S = 3600.0
DEFAULT_MODELS = ("ragweld", "ragweld@base")
DEFAULT_PROMPTS = ("What is the capital of France?", "Who keeps the lighthouse of Port Ellery?")
HEADINGS = ("model", "answered", "latency s", "first token s", "tokens/s", "cost USD")


def arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld bench`."""
    top.add_argument("--model", action="append", metavar="MODEL", help="a model to ask; again for more")
    top.add_argument("--prompt", action="append", metavar="TEXT", help="what to ask; again for more")
    top.add_argument("--max-tokens", type=int, default=256, metavar="N", help="longest answer (default: 256)")
    top.add_argument("--url", metavar="URL", help="the gateway (default: the one of these settings)")


def run(words: argparse.Namespace, url: str, key: str, say: Callable[[str], None]) -> None:
    """Ask and print; raises Unavailable when the gateway does not answer, InvalidRequest when it refuses."""
    body = {
        "models": words.model or list(DEFAULT_MODELS),
        "prompts": words.prompt or list(DEFAULT_PROMPTS),
        "max_tokens": words.max_tokens,
    }
    made = post(f"{(words.url or url).rstrip('/')}/api/benchmark/run", body, key)
    for line in table(made):
        say(line)


def table(made: Mapping[str, Any]) -> list[str]:
    """A benchmark as lines: a row for each model, then every answer under its prompt."""
    rows = [HEADINGS, *(_row(one) for one in made["standings"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for place, prompt in enumerate(made["prompts"]):
        lines += ["", f"> {_one_line(prompt)}"]
        for one in made["answers"]:
            if one["prompt"] == place:
                said = one["answer"] if one["error"] is None else f"({one['error']})"
                lines.append(f"  {one['model']}: {_one_line(said)}")
    return [*lines, "", f"kept as {made['id']}"]


def _row(one: Mapping[str, Any]) -> Sequence[str]:
    return (
        one["model"],
        f"{one['answered']}/{one['answered'] + one['failed']}",
        _number(one["latency_s"], "{:.3f}"),
        _number(one["first_token_s"], "{:.3f}"),
        _number(one["tokens_per_s"], "{:.1f}"),
        _number(one["cost_usd"], "{:.6f}"),
    )


def _number(value: float | None, form: str) -> str:
    return "?" if value is None else form.format(value)


def _one_line(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text).strip()
    return shown if len(shown) <= 200 else f"{shown[:199]}…"


def post(url: str, body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What the gateway answers; raises Unavailable when it does not, InvalidRequest when it refuses."""
    import urllib.error  # with http and ssl behind it, too slow for every `ragweld --help`
    import urllib.request

    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    # No proxy of the environment: the gateway is asked where the settings say it is.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=DEADLINE_S) as answer:
            made: dict[str, Any] = json.load(answer)
            return made
    except urllib.error.HTTPError as error:
        hint = f"Set {KEY_VARIABLE} to an admin key." if error.code in (401, 403) else ""
        raise InvalidRequest(f"The gateway says {error.code}: {_message(error.read())}", hint=hint) from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"No gateway answers at {url}.", hint="Start it with `ragweld up`, or give --url.") from error


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
