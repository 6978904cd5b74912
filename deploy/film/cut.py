"""From a reel to `learning.mp4`: H.264 that plays everywhere, each frame held until the next one, chapters with titles.

The rate is variable: a page at rest costs nothing, and nothing is shown that Chromium did not paint. Runs the system's
ffmpeg (Debian: `apt-get install ffmpeg`; macOS: `brew install ffmpeg`).
`tests/deploy/film/test_film.py`.
"""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

from catalog.errors import Unavailable
from deploy.film.camera import HEIGHT, WIDTH, Reel

LAST_FRAME_S = 1.5
CONSTANT_QUALITY = 20
MS = 1000


def find(program: str) -> str:
    """Where ffmpeg or ffprobe is; raises Unavailable saying how to get it."""
    found = shutil.which(program)
    if found is None:
        hint = "Install ffmpeg: `apt-get install ffmpeg` or `brew install ffmpeg`."
        raise Unavailable(f"A film needs {program}, which is not on this machine.", hint=hint)
    return found


def concat_list(reel: Reel) -> str:
    """The reel for ffmpeg's concat demuxer: every file and the seconds that it is shown."""
    lines = ["ffconcat version 1.0"]
    for frame, after in pairwise(reel.frames):
        lines += [f"file '{frame.path.name}'", f"duration {after.at_s - frame.at_s:.6f}"]
    last = reel.frames[-1].path.name
    # The demuxer ignores the last duration unless the file is named once more.
    return "\n".join([*lines, f"file '{last}'", f"duration {LAST_FRAME_S}", f"file '{last}'", ""])


def chapter_list(reel: Reel) -> str:
    """The chapters in ffmpeg's metadata format, in milliseconds from the first frame."""
    begins_s = [max(0.0, chapter.at_s - reel.frames[0].at_s) for chapter in reel.chapters]
    ends_s = [*begins_s[1:], reel.length_s + LAST_FRAME_S]
    lines = [";FFMETADATA1"]
    for chapter, begin_s, end_s in zip(reel.chapters, begins_s, ends_s, strict=True):
        begin, end = int(MS * begin_s), int(MS * end_s)
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={begin}", f"END={end}", f"title={_escaped(chapter.title)}"]
    return "\n".join([*lines, ""])


def cut(reel: Reel, film: Path, *, title: str, comment: str) -> None:
    """Write the film. Raises Unavailable without ffmpeg, or with ffmpeg's own words when it fails."""
    frames, chapters = reel.folder / "frames.ffconcat", reel.folder / "chapters.txt"
    frames.write_text(concat_list(reel))
    chapters.write_text(chapter_list(reel))
    film.parent.mkdir(parents=True, exist_ok=True)
    fit = f"scale={WIDTH}:{HEIGHT}:force_original_aspect_ratio=decrease,pad={WIDTH}:{HEIGHT}:-1:-1"
    command = [find("ffmpeg"), "-y", "-loglevel", "error", "-f", "concat", "-i", str(frames), "-i", str(chapters)]
    command += ["-map_metadata", "1", "-map", "0:v", "-vf", fit, "-fps_mode", "vfr", "-c:v", "libx264"]
    command += ["-crf", str(CONSTANT_QUALITY), "-preset", "fast", "-pix_fmt", "yuv420p"]
    command += ["-metadata", f"title={title}", "-metadata", f"comment={comment}", "-movflags", "+faststart", str(film)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"ffmpeg could not cut the film: {done.stderr.strip()[-500:]}")


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "=;#\\\n" else char for char in text)
