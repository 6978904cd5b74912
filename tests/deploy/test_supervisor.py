"""The supervisor with tiny real children: restart, orderly stop, forced stop, and never an orphan."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploy.child import ChildSpec, printable
from deploy.restarts import GiveUp, Life, Restart
from deploy.supervisor import Stop, supervise

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90.0

PATIENT = """
    import signal, sys, time
    def stop(*_):
        print("goodbye", flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    print("hello", flush=True)
    while True:
        time.sleep(0.05)
"""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("hello", flush=True)
    while True:
        time.sleep(0.05)
"""


def python(name: str, code: str, *, essential: bool = True) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", textwrap.dedent(code)), essential)


async def nothing(_: Stop) -> None:
    """Announces nothing."""


class Heard:
    """What the supervisor said; `when` answers a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.answers: list[tuple[str, Callable[[], None]]] = []

    def when(self, text: str, answer: Callable[[], None]) -> None:
        self.answers.append((text, answer))

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        for expected, answer in [*self.answers]:
            if expected in line:
                self.answers.remove((expected, answer))
                answer()

    def count(self, text: str) -> int:
        return sum(text in line for line in self.lines)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def run(
    specs: Sequence[ChildSpec],
    heard: Heard,
    *,
    decide: Callable[[Sequence[Life]], Restart | GiveUp] = lambda lives: Restart(0.01),
    grace_s: float = 10.0,
) -> int:
    async def bounded() -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await supervise(specs, heard, nothing, decide=decide, grace_s=grace_s)

    return asyncio.run(bounded())


def test_one_signal_stops_both_in_order_and_exits_zero() -> None:
    heard = Heard()
    heard.when("hello", lambda: heard.when("hello", interrupt))
    assert run([python("gateway", PATIENT), python("trainer", PATIENT)], heard) == os.EX_OK
    assert heard.count("goodbye") == 2
    assert heard.count("gateway | hello") == 1
    assert heard.lines[-1] == "stopped."


def test_a_dead_child_is_started_again_while_the_other_goes_on() -> None:
    heard = Heard()
    heard.when("hello", lambda: heard.when("twice", lambda: heard.when("twice", interrupt)))
    dying = python("trainer", "print('twice'); raise SystemExit(3)")
    assert run([python("gateway", PATIENT), dying], heard) == os.EX_OK
    assert heard.count("trainer ended (exit code 3); starting it again") >= 1
    assert heard.count("gateway | hello") == 1


def test_a_killed_child_is_named_by_its_signal() -> None:
    heard = Heard()
    heard.when("SIGKILL", interrupt)
    run([python("trainer", "import os; os.kill(os.getpid(), 9)")], heard)
    assert heard.count("trainer ended (SIGKILL)") == 1


def give_up(lives: Sequence[Life]) -> GiveUp:
    return GiveUp("it would fail again")


def test_without_the_gateway_everything_ends_with_its_last_line() -> None:
    heard = Heard()
    dying = python("gateway", "import sys; sys.exit('no weights here')")
    assert run([dying, python("trainer", PATIENT)], heard, decide=give_up) == os.EX_UNAVAILABLE
    assert heard.count("gateway is given up: it would fail again (exit code 1). Its last line: 'no weights here'") == 1


def test_without_the_trainer_serving_goes_on() -> None:
    heard = Heard()
    heard.when("trainer is given up", lambda: heard.when("still here", interrupt))
    gateway = python("gateway", "import time\nwhile True:\n    print('still here', flush=True)\n    time.sleep(0.1)")
    trainer = python("trainer", "raise SystemExit(1)", essential=False)
    assert run([gateway, trainer], heard, decide=give_up) == os.EX_OK


def test_a_stubborn_child_is_killed_after_the_grace() -> None:
    heard = Heard()
    heard.when("hello", interrupt)
    assert run([python("trainer", STUBBORN)], heard, grace_s=0.3) == os.EX_OK
    assert heard.count("is killed") == 1


def test_a_second_signal_does_not_wait_for_the_grace() -> None:
    heard = Heard()
    heard.when("hello", interrupt)
    heard.when("stopping", interrupt)
    assert run([python("trainer", STUBBORN)], heard, grace_s=600.0) == os.EX_OK


def test_lines_without_end_and_bytes_that_are_not_text_are_heard_in_pieces() -> None:
    heard = Heard()
    heard.when("the end", interrupt)
    talking = "import sys; print('x' * 100_000, flush=True); sys.stdout.buffer.write(b'\\xff the end')"
    run([python("trainer", talking)], heard)
    assert max(map(len, heard.lines)) < 64 * 1024


@pytest.mark.parametrize(("text", "shown"), [("a\x1b[2Jb", "a\\x1b[2Jb"), ("a\tb é", "a\tb é"), ("a\rb", "a\\rb")])
def test_a_log_line_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


SUPERVISOR = """
    import asyncio, sys
    from deploy.child import ChildSpec
    from deploy.supervisor import supervise
    CHILD = "import os, sys, time; from deploy import lifeline; lifeline.watch(grace_s=0.5); " + sys.argv[1]
    async def nothing(_): pass
    def say(line): print(line, flush=True)
    specs = [ChildSpec(name, (sys.executable, "-c", CHILD)) for name in ("gateway", "trainer")]
    asyncio.run(supervise(specs, say, nothing, grace_s=30))
"""


@pytest.mark.parametrize("manners", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "])
def test_no_child_outlives_a_killed_supervisor(manners: str) -> None:
    child = f"{manners}print('pid', os.getpid(), flush=True)\nwhile True: time.sleep(0.05)"
    command = [sys.executable, "-c", textwrap.dedent(SUPERVISOR), child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(supervisor.stdout.readline().split()[-1]) for _ in range(2)]
        supervisor.kill()
        supervisor.wait(DEADLINE_S)
    assert all(ends_within(pid, DEADLINE_S) for pid in pids)


def ends_within(pid: int, seconds: float) -> bool:
    """Whether the process is gone by then; it is not our child, so that nobody but the kernel can say."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if is_zombie(pid):
            return True
        time.sleep(0.05)
    return False


def is_zombie(pid: int) -> bool:
    """Where no init reaps, an ended process stays in the table."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return shown.strip().startswith("Z")
