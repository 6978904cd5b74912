"""The programs that ragweld expects beside it: Prometheus and Grafana, each on its usual port of this machine.

Nothing depends on them; the banner and the doctor say whether they answer and how to start them with our configuration.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from deploy import probe

HOST = "127.0.0.1"
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A program: where it is expected, the path that says it is well, and how to start it with `program`."""

    name: str
    port: int
    health_path: str
    program: str
    start: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


PROMETHEUS = Neighbour(
    "Prometheus",
    9090,
    "/-/healthy",
    "prometheus",
    f"prometheus --config.file={FOLDER / 'prometheus/prometheus.yml'} --web.listen-address=127.0.0.1:9090",
)
GRAFANA = Neighbour("Grafana", 3000, "/api/health", "docker", f"docker compose -f {FOLDER / 'compose.yaml'} up")
NEIGHBOURS = (PROMETHEUS, GRAFANA)


async def answering() -> dict[str, bool]:
    """Which neighbours answer, by name; asked all at once."""
    states = await asyncio.gather(*map(_is_well, NEIGHBOURS))
    return {one.name: state for one, state in zip(NEIGHBOURS, states, strict=True)}


async def _is_well(one: Neighbour) -> bool:
    answer = await probe.get(HOST, one.port, one.health_path)
    return answer is not None and answer.status == 200
