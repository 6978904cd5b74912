"""Looks at a finished film: whether it is H.264 of the wanted size, how long it is, and how often its picture changes.

A film of a dead page passes no glance here: consecutive frames that are equal up to compression are counted as one.
`tests/deploy/film/test_film.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.errors import Unavailable
from deploy.film.cut import find


@dataclass(frozen=True, slots=True)
class Proof:
    """What a film is."""

    codec: str
    width: int
    height: int
    length_s: float
    chapters: tuple[str, ...]
    pictures: int
    """Frames that differ visibly from the one before."""
    longest_still_s: float
    """The longest time in which nothing moves."""


def look(film: Path) -> Proof:
    """Read the film once, and decode it once."""
    told = _probe(film)
    (video,) = [stream for stream in told["streams"] if stream["codec_type"] == "video"]
    length_s = float(told["format"]["duration"])
    times = _times_of_change(film)
    return Proof(
        codec=video["codec_name"],
        width=video["width"],
        height=video["height"],
        length_s=length_s,
        chapters=tuple(chapter["tags"]["title"] for chapter in told["chapters"]),
        pictures=len(times),
        longest_still_s=max((b - a for a, b in zip(times, [*times[1:], length_s], strict=True)), default=length_s),
    )


def complaints(proof: Proof, *, least_s: float, least_pictures: int, longest_still_s: float) -> list[str]:
    """What is wrong with a film, in sentences; none when it is as wanted."""
    wrong = []
    if proof.codec != "h264":
        wrong.append(f"It is {proof.codec}, not H.264.")
    if proof.length_s < least_s:
        wrong.append(f"It lasts {proof.length_s:.1f} s; at least {least_s:g} s were wanted.")
    if proof.pictures < least_pictures:
        wrong.append(f"Its picture changes {proof.pictures} times; at least {least_pictures} were wanted.")
    if proof.longest_still_s > longest_still_s:
        wrong.append(f"Nothing moves for {proof.longest_still_s:.1f} s; at most {longest_still_s:g} s were wanted.")
    if not proof.chapters:
        wrong.append("It has no chapters.")
    return wrong


def _probe(film: Path) -> dict[str, Any]:
    """What ffprobe says of the streams, the container and the chapters."""
    command = [find("ffprobe"), "-v", "error", "-of", "json", "-show_streams", "-show_format", "-show_chapters"]
    done = subprocess.run([*command, str(film)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"The film cannot be read: {done.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _times_of_change(film: Path) -> list[float]:
    """Seconds of the frames that differ from the one before by more than compression does."""
    command = [find("ffmpeg"), "-loglevel", "info", "-i", str(film), "-vf", "mpdecimate,showinfo", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [float(time) for time in re.findall(r"pts_time:(\d+(?:\.\d+)?)", done.stderr)]
