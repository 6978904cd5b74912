"""What `ragweld up` does: looks before it starts anything, starts gateway and trainer, and says what they chose.

Every obstacle is one line that names what to change. Knows the children only by their command line and by what they
answer over HTTP. `tests/deploy/test_launch.py` proves the lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from catalog import keys
from catalog.files import Claim
from catalog.settings import Loaded
from deploy import banner, neighbours, ports, probe
from deploy.child import ChildSpec, printable
from deploy.lifeline import SPARE_S
from deploy.supervisor import Stop, supervise

LOCK_FILE = Path("data/up.lock")
FIRST_POLL_S = 0.2
LONGEST_POLL_S = 2.0
PATIENCE_S = 15.0
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
BASE_KEY = "training.ragweld_agent_base_model"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one process listens, and the option that moves it."""

    host: str
    port: int
    option: str

    @property
    def reachable_host(self) -> str:
        """The name under which this machine reaches it."""
        return EVERY_ADDRESS.get(self.host, self.host)

    @property
    def url(self) -> str:
        host = self.reachable_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class House:
    """What is started: settings with their sources, the home folder, and both addresses."""

    loaded: Loaded
    home: Path
    gateway: Address
    trainer: Address


def house_of(loaded: Loaded, home: Path) -> House:
    """The house that these settings describe."""
    gateway, trainer = loaded.settings.gateway, loaded.settings.trainer
    return House(
        loaded,
        home,
        Address(gateway.host, gateway.port, "--port"),
        Address(trainer.metrics_host, trainer.metrics_port, "--trainer-port"),
    )


def children_of(house: House) -> tuple[ChildSpec, ChildSpec]:
    """The command lines of both; what this command line did not say stays theirs to read and to follow."""
    # -P keeps a folder named deploy/ in the working directory from being taken for this package; -u lets lines through
    # when they are said.
    command = (sys.executable, "-P", "-u", "-m", "deploy")
    common = ["--child", "--home", str(house.home)]
    if house.loaded.sources[BASE_KEY] == "command line":
        common += ["--base", house.loaded.settings.training.ragweld_agent_base_model]
    gateway_port = ("--host", house.gateway.host, "--port", str(house.gateway.port))
    trainer_port = ("--trainer-port", str(house.trainer.port))
    return (
        ChildSpec("gateway", (*command, "gateway", *common, *gateway_port)),
        ChildSpec("trainer", (*command, "trainer", *common, *trainer_port), essential=False),
    )


def up(house: House, say: Callable[[str], None], children: Callable[[House], Sequence[ChildSpec]] = children_of) -> int:
    """Run both processes until a signal; the exit code."""
    obstacle = obstacle_before(house)
    claim = None if obstacle else claim_home(house.home)
    if not isinstance(claim, Claim):
        say(f"ragweld: {obstacle or claim}")
        return os.EX_CONFIG
    grace_s = house.loaded.settings.gateway.shutdown_grace_s + SPARE_S
    house = replace(house, gateway=settled(house.gateway), trainer=settled(house.trainer))
    say(f"ragweld: starting on {house.home} ...")
    try:
        return asyncio.run(supervise(children(house), say, partial(_announce, house, say), grace_s=grace_s))
    finally:
        claim.release()


def obstacle_before(house: House) -> str | None:
    """Why the two cannot listen where they should, in one line; None when they can."""
    gateway, trainer = house.gateway, house.trainer
    if gateway.port and (gateway.host, gateway.port) == (trainer.host, trainer.port):
        return f"gateway and trainer both want port {gateway.port}. Choose another with {trainer.option}."
    missing_key = keys.obstacle(house.loaded.settings.gateway, house.home)
    return obstacle_at(gateway) or obstacle_at(trainer) or missing_key


def obstacle_at(address: Address) -> str | None:
    """Why nobody can listen at `address`, in one line; None when it is free."""
    try:
        if address.port == 0 or ports.is_free(address.host, address.port):
            return None
    except OSError as error:
        where = f"{address.host}:{address.port}"
        return f"cannot listen on {where}: {error.strerror}. Choose another with {address.option}."
    return (
        f"port {address.port} on {address.host} is taken. Stop what listens there, "
        f"or choose another with {address.option}."
    )


def claim_home(home: Path) -> Claim | str:
    """The home folder for this process alone, or in one line why not."""
    try:
        claim = Claim.take(home / LOCK_FILE)
    except OSError as error:
        return f"the home folder {home} cannot be written: {error.strerror}. Choose another with --home."
    return claim or f"another `ragweld up` runs on {home}. Stop it, or choose another folder with --home."


def settled(address: Address) -> Address:
    """`address` with a real port: 0 becomes a free one, which the child is then told."""
    return address if address.port else replace(address, port=ports.free_port(address.host))


async def _announce(house: House, say: Callable[[str], None], stop: Stop) -> None:
    machine = await asyncio.to_thread(banner.read_machine, house.loaded.settings)
    ready = await _readiness(house.gateway, stop, say)
    if ready is not None:
        answering = await neighbours.answering()
        for line in banner.lines(machine, house.home, house.gateway.url, house.trainer.url, ready, answering):
            say(line)


async def _readiness(gateway: Address, stop: Stop, say: Callable[[str], None]) -> dict[str, object] | None:
    """What /readyz says once somebody can answer; None when the end was asked for first."""
    clock = asyncio.get_running_loop().time
    next_word_s = clock() + PATIENCE_S
    poll_s = FIRST_POLL_S
    while not stop.asked.is_set():
        answer = await probe.get(gateway.reachable_host, gateway.port, "/readyz")
        if answer is not None and answer.status == 200:
            return _fields(answer.body)
        if clock() > next_word_s:
            next_word_s += PATIENCE_S
            say(f"ragweld: not ready yet; {_last_word(answer)}")
        await stop.sleep(poll_s)
        poll_s = min(LONGEST_POLL_S, 1.5 * poll_s)
    return None


def _fields(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _last_word(answer: probe.Answer | None) -> str:
    if answer is None:
        return "the gateway does not answer"
    return printable(f"the gateway says {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}")
