"""The words after `ragweld record`, apart from the film itself, so that `ragweld --help` loads nothing of it."""

from __future__ import annotations

import argparse

DEFAULT_FILM = "output/learning.mp4"


def arguments(top: argparse.ArgumentParser) -> None:
    """The words after `ragweld record`."""
    top.add_argument("--out", default=DEFAULT_FILM, metavar="FILE", help=f"the film (default: {DEFAULT_FILM})")
    top.add_argument("--base", metavar="MODEL", help="who learns (default: the built-in model)")
    top.add_argument("--seed", type=int, default=0, metavar="N", help="the run's seed (default: 0)")
    top.add_argument("--epochs", type=int, metavar="N", help="passes over the sample (default: as recommended)")
    top.add_argument("--theme", choices=("light", "dark"), default="dark", help="of the page (default: dark)")
