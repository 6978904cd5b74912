"""Who lives is heard, who is silent is told once, and a stranger is no rank."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from queue import Queue

import msgspec
import pytest

from trainer import pulse
from trainer.pulse import RANK_BYTES, SIGN, Invitation, Line, Watch
from trainer.world import ALONE, World

DEADLINE_S = 60.0


class Rank(World):
    """One of three in this process: all that the pulse asks of a world is to hear rank 0."""

    def __init__(self, rank: int, said: Queue[bytes]) -> None:
        super().__init__()
        self.rank, self.size, self._said = rank, 3, said

    def tell(self, content: bytes) -> bytes:
        if self.rank > 0:
            return self._said.get(timeout=DEADLINE_S)
        for _ in range(self.size - 1):
            self._said.put(content)
        return content


@pytest.fixture
def said() -> Queue[bytes]:
    return Queue()


def test_alone_nobody_is_listened_to() -> None:
    with pulse.between(ALONE, lambda rank: pytest.fail(str(rank))):
        assert not [thread for thread in threading.enumerate() if thread.name == "pulse"]


def test_a_silent_rank_is_told_and_a_living_one_is_not_and_a_stranger_is_shown_out(said: Queue[bytes]) -> None:
    """Rank 1 gives signs, rank 2 connects and then hangs."""
    lost: Queue[tuple[int, int]] = Queue()
    at_work, done = threading.Barrier(2), threading.Event()

    def live() -> None:
        with pulse.between(Rank(1, said), lambda who: lost.put((1, who)), every_s=0.01, silent_s=DEADLINE_S):
            at_work.wait(DEADLINE_S)
            done.wait(DEADLINE_S)

    with ExitStack() as sockets:

        def hang() -> None:
            invitation = msgspec.json.decode(said.get(timeout=DEADLINE_S), type=Invitation)
            stranger, rank = (
                sockets.enter_context(socket.create_connection(("127.0.0.1", invitation.port))) for _ in range(2)
            )
            stranger.sendall(bytes(len(invitation.secret) + RANK_BYTES))
            assert stranger.recv(1) == b""
            rank.sendall(invitation.secret + (2).to_bytes(RANK_BYTES) + SIGN)

        others = [threading.Thread(target=one) for one in (live, hang)]
        for thread in others:
            thread.start()
        with pulse.between(Rank(0, said), lambda who: lost.put((0, who)), every_s=0.01, silent_s=4.0):
            at_work.wait(DEADLINE_S)
            assert lost.get(timeout=DEADLINE_S) == (0, 2)
        done.set()
        for thread in others:
            thread.join(DEADLINE_S)
    assert lost.empty()


def test_a_rank_that_waited_for_the_first_no_longer_and_came_again_has_one_line_that_lives(said: Queue[bytes]) -> None:
    done = threading.Event()

    def come_twice(rank: int) -> None:
        content = said.get(timeout=DEADLINE_S)
        invitation = msgspec.json.decode(content, type=Invitation)
        with socket.create_connection(("127.0.0.1", invitation.port)) as early:
            early.sendall(invitation.secret + rank.to_bytes(RANK_BYTES))
        said.put(content)
        with pulse.between(Rank(rank, said), lambda rank: pytest.fail(str(rank)), every_s=0.01, silent_s=DEADLINE_S):
            done.wait(DEADLINE_S)

    others = [threading.Thread(target=come_twice, args=(rank,)) for rank in (1, 2)]
    for thread in others:
        thread.start()
    lines = pulse._connected(Rank(0, said))
    try:
        assert sorted(line.rank for line in lines) == [1, 2]
        for line in lines:
            line.peer.settimeout(DEADLINE_S)
            assert line.peer.recv(1) == SIGN
    finally:
        done.set()
        for line in lines:
            line.peer.close()
        for thread in others:
            thread.join(DEADLINE_S)


def test_ranks_that_were_all_stopped_and_continued_are_silent_from_then_on_only() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        watch = Watch([Line(near, 1, heard_s=0.0)], every_s=2.0, silent_s=20.0, now_s=0.0)
        told = {now_s: watch.look(now_s) for now_s in (2.0, 4.0, *range(3604, 3622, 2))}
    assert [now_s for now_s, rank in told.items() if rank is not None] == [3620]


def test_a_rank_without_a_way_to_the_first_is_warned_of_and_goes_on(
    said: Queue[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    said.put(msgspec.json.encode(Invitation(["127.0.0.1"], port, b"secret")))
    with pulse.between(Rank(1, said), lambda rank: pytest.fail(str(rank))):
        assert "rank 1 finds no way to rank 0" in caplog.text
