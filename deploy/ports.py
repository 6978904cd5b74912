"""Whether an address is free to listen on, asked before anything is started. `tests/deploy/test_launch.py`."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_PORT = 20_000
_TRIES = 100


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now. Raises OSError when `host` is not this machine's."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        # A port whose last connections are still in TIME_WAIT is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def free_port(host: str) -> int:
    """A port on `host` that nobody listens on, nor is given while nobody does: the kernel gives those of a range of its
    own to connections that go out."""
    ours = kept()
    for port in random.sample(ours, min(_TRIES, len(ours))):
        if is_free(host, port):
            return port
    return _given_port(host)


def kept() -> range:
    """Ports that the kernel gives to nobody by its own choice; where it says nothing, as IANA has it."""
    try:
        first_given_out = int(_RANGE.read_text().split()[0])
    except OSError:
        first_given_out = 49_152
    return range(_FIRST_PORT, first_given_out)


def _given_port(host: str) -> int:
    family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.bind(address)
        return int(listener.getsockname()[1])
