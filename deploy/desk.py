"""`ragweld keys` and `ragweld config`: what an administrator does from the shell, on the same files as by curl.

A running gateway sees the change within a second. Each act is a line in the administrators' log, by `shell`. Imports
nothing heavy before it is called. `tests/deploy/test_desk.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalog.settings import Loaded

Say = Callable[[str], None]
SCOPES = ("chat", "admin")
SHELL = "shell"


def keys_arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld keys`."""
    words = top.add_subparsers(dest="act", required=True, metavar="ACT")
    add = _word(words, "add", "make a key; it is shown once")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--scope", type=_scopes, default=["chat"], metavar="SCOPES", help="chat, admin or chat,admin")
    add.add_argument("--requests-per-minute", type=int, metavar="N", help="beyond it 429 (default: no limit)")
    add.add_argument("--tokens-per-minute", type=int, metavar="N", help="beyond it 429 (default: no limit)")
    _word(words, "list", "names, scopes and limits; never the keys")
    _word(words, "remove", "forget a key").add_argument("name", metavar="NAME")


def keys(words: argparse.Namespace, home: Path, say: Say) -> None:
    """Do what `words` say; raises RagweldError."""
    from catalog.audit import AdminLog
    from catalog.keys import KeyStore

    store = KeyStore(home)
    match words.act:
        case "add":
            key = store.add(
                words.name,
                words.scope,
                requests_per_minute=words.requests_per_minute,
                tokens_per_minute=words.tokens_per_minute,
            )
            AdminLog(home).append(SHELL, "keys add", {"name": words.name, "scopes": words.scope})
            say(key)
            say("Keep it now: it is stored hashed and cannot be shown again.")
        case "list":
            for one in store.known():
                limits = (("requests", one.requests_per_minute), ("tokens", one.tokens_per_minute))
                said = [f"{most} {kind}/min" for kind, most in limits if most is not None]
                say("  ".join([one.name, ",".join(one.scopes), *said, f"since {one.created}"]))
        case "remove":
            store.remove(words.name)
            AdminLog(home).append(SHELL, "keys remove", {"name": words.name})


def config_arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld config`."""
    words = top.add_subparsers(dest="act", required=True, metavar="ACT")
    get = _word(words, "get", "every setting, or one, with where its value came from")
    get.add_argument("key", nargs="?", metavar="KEY")
    change = _word(words, "set", "store a setting; an empty value goes back to the default")
    change.add_argument("key", metavar="KEY")
    change.add_argument("value", metavar="VALUE")
    env = _word(words, "env", "every setting as an environment variable")
    for word in (get, change, env):
        word.add_argument("--scope", metavar="NAME", help="a named scope instead of all")
    _word(words, "schema", "what every setting means and may be, as JSON schema")


def config(words: argparse.Namespace, home: Path, loaded: Loaded, say: Say) -> None:
    """Do what `words` say; raises InvalidRequest."""
    from catalog import settings
    from catalog.audit import AdminLog
    from gateway import config as changing

    match words.act:
        case "get":
            now = settings.reload(home, loaded, scope=words.scope)
            for key, value in now.flat().items():
                if words.key in (None, key):
                    say(f"{key} = {json.dumps(value)}  ({now.sources[key]})")
            if words.key is not None:
                settings.known_key(words.key)
        case "set":
            change = {words.key: settings.from_text(words.key, words.value) if words.value else None}
            changing.check_scoped(change, words.scope)
            settings.store(home, change, scope=words.scope)
            AdminLog(home).append(SHELL, "config set", {"keys": [words.key], "scope": words.scope})
            source = settings.reload(home, loaded, scope=words.scope).sources[words.key]
            if source in settings.PINNED:
                say(f"Stored, but the {source} wins: {settings.ENV_VARS[words.key]}.")
            elif not changing.counts_at_once(words.key, words.scope):
                say("A gateway that runs goes by it after a restart.")
        case "schema":
            say(json.dumps(changing.schema(), indent=2))
        case "env":
            for variable, value in settings.reload(home, loaded, scope=words.scope).settings.to_env_dict().items():
                say(f"{variable}={value}")


def _word(
    words: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    word = words.add_parser(name, help=summary, description=summary)
    # Said before or after the word; only where it is said does it count.
    word.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return word


def _scopes(text: str) -> list[str]:
    named = [name.strip() for name in text.split(",") if name.strip()]
    if not named or not set(named) <= set(SCOPES):
        raise argparse.ArgumentTypeError(f"give {' or '.join(SCOPES)}, or both with a comma")
    return named
