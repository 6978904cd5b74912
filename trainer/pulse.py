"""The pulse of several ranks: one that hangs without dying is noticed, whatever the others' main threads wait for.

A rank that dies breaks the exchange in which the others wait; one that is stopped, starved or cut off leaves them
waiting inside MLX for ever, and how long an exchange may honestly take nobody can say. So every rank behind rank 0
keeps a line to it beside MLX's own, over which a thread on each side says every two seconds that its process runs.
Whoever is silent for twenty is told as lost, once. Who connects is known by a secret that the ranks have from rank 0.
Knows nothing of runs. `tests/trainer/test_pulse.py`; with real ranks `tests/trainer/test_ranks.py`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from trainer.world import World

log = logging.getLogger("trainer")

EVERY_S = 2.0
SILENT_S = 20.0
JOIN_S = 20.0
"""In which all ranks must have connected, a candidate after the other."""
SECRET_BYTES = 16
RANK_BYTES = 4
SIGN = b"."
NOWHERE = ("192.0.2.1", 9)
"""An address of documentation (RFC 5737): to `connect` a datagram socket to it sends nothing, and tells the way out."""


class Invitation(msgspec.Struct, frozen=True):
    """Where rank 0 listens, and what must be said to it."""

    hosts: list[str]
    port: int
    secret: bytes


@dataclass(slots=True)
class Line:
    """The connection to another rank, and when it was last heard."""

    peer: socket.socket
    rank: int
    heard_s: float

    def beat(self, now_s: float) -> None:
        """Give a sign, and take in the other's; a line that is broken is one on which nothing is heard."""
        with contextlib.suppress(OSError):
            self.peer.send(SIGN)
        with contextlib.suppress(OSError):
            if self.peer.recv(1 << 12):
                self.heard_s = now_s


class Watch:
    """Who is silent for too long, as seen by a thread that looks every so many seconds."""

    def __init__(self, lines: Sequence[Line], every_s: float, silent_s: float, now_s: float) -> None:
        self.every_s = every_s
        self._lines = lines
        self._silent_s = silent_s
        self._before_s = now_s

    def look(self, now_s: float) -> int | None:
        """Beat on every line; the rank that is silent. While this process itself stood still it could hear nobody:
        all ranks may be stopped and continued together, by a Ctrl-Z or with their machine."""
        stood_s = now_s - self._before_s - self.every_s
        self._before_s = now_s
        for line in self._lines:
            if stood_s > self._silent_s / 2:
                line.heard_s += stood_s
            line.beat(now_s)
        return next((line.rank for line in self._lines if now_s - line.heard_s > self._silent_s), None)


@contextmanager
def between(
    world: World, lost: Callable[[int], None], every_s: float = EVERY_S, silent_s: float = SILENT_S
) -> Iterator[None]:
    """A block in which the ranks hear each other; `lost` is called with a silent one, from a thread. Alone, nothing."""
    if world.size == 1:
        yield
        return
    lines, is_over = _connected(world), threading.Event()
    for line in lines:
        line.peer.setblocking(False)
    watch = Watch(lines, every_s, silent_s, time.monotonic())
    threading.Thread(target=_listen, args=(watch, is_over, lost), name="pulse", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
        for line in lines:
            line.peer.close()


def _listen(watch: Watch, is_over: threading.Event, lost: Callable[[int], None]) -> None:
    while not is_over.wait(watch.every_s):
        silent_rank = watch.look(time.monotonic())
        if silent_rank is not None:
            lost(silent_rank)
            return


def _connected(world: World) -> list[Line]:
    """Rank 0's lines to all others, or another's to rank 0. A rank that finds no way is told, and goes unwatched."""
    if world.rank == 0:
        with socket.create_server(("", 0), backlog=world.size) as door:
            invitation = Invitation(_own_hosts(), door.getsockname()[1], secrets.token_bytes(SECRET_BYTES))
            world.tell(msgspec.json.encode(invitation))
            return _received(door, invitation.secret, world.size - 1)
    line = _joined(msgspec.json.decode(world.tell(b""), type=Invitation), world.rank)
    if line is None:
        log.warning("rank %d finds no way to rank 0 beside MLX's own: should one of them hang, nobody sees", world.rank)
    return [] if line is None else [line]


def _received(door: socket.socket, secret: bytes, count: int) -> list[Line]:
    lines: list[Line] = []
    end_s = time.monotonic() + JOIN_S
    while len(lines) < count and (left_s := end_s - time.monotonic()) > 0:
        door.settimeout(left_s)
        with contextlib.suppress(OSError):
            peer, _ = door.accept()
            peer.settimeout(left_s)
            if (line := _welcomed(peer, secret)) is not None:
                lines.append(line)
    return lines


def _welcomed(peer: socket.socket, secret: bytes) -> Line | None:
    """The line of a rank that knows the secret; anybody else is shown out, and a rank that has left again."""
    with contextlib.suppress(OSError):
        said = _exactly(peer, SECRET_BYTES + RANK_BYTES)
        if secrets.compare_digest(said[:SECRET_BYTES], secret):
            peer.sendall(secret)
            if _exactly(peer, len(SIGN)) == SIGN:
                return Line(peer, int.from_bytes(said[SECRET_BYTES:]), time.monotonic())
    peer.close()
    return None


def _joined(invitation: Invitation, rank: int) -> Line | None:
    for host in invitation.hosts:
        with contextlib.suppress(OSError):
            peer = socket.create_connection((host, invitation.port), timeout=JOIN_S / len(invitation.hosts))
            if _is_rank_0(peer, invitation.secret, rank):
                return Line(peer, 0, time.monotonic())
            peer.close()
    return None


def _is_rank_0(peer: socket.socket, secret: bytes, rank: int) -> bool:
    """Say who is here; whether the answer is rank 0's, which then has a first sign from us."""
    with contextlib.suppress(OSError):
        peer.sendall(secret + rank.to_bytes(RANK_BYTES))
        if secrets.compare_digest(_exactly(peer, SECRET_BYTES), secret):
            peer.sendall(SIGN)
            return True
    return False


def _exactly(peer: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer when no more come."""
    said = b""
    while len(said) < count and (more := peer.recv(count - len(said))):
        said += more
    return said


def _own_hosts() -> list[str]:
    """Under which names other machines, and this one, may find this one."""
    hosts = [socket.gethostname(), "127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(NOWHERE)
        hosts.insert(0, datagrams.getsockname()[0])
    return hosts
