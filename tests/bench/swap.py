"""What a swap costs: the first answer after an alias move, the longest stall of an open stream, and 1,000 under load.

The alias is moved from outside on the gateway's own home, as the trainer moves it, and the clock starts when it has
moved. There are more adapters than slots and they take turns, so that every swap reads an adapter and writes a slot;
what a swap between resident ones takes is told apart, and what one by the API does, which asks the golden prompt before
it moves. Prompts are distinct where time is measured, so that no prefix cache answers.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from catalog.adapters import AdapterStore
from catalog.ids import AdapterId, BaseId
from tests.bench import bases, peers
from tests.bench.load import FORBID
from tests.tiny_base import write_adapter

KEYS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
ADAPTERS = {"nano": 50, "100m": 16}
ACTIVATED = 10
"""Further adapters, which are added and activated by the API."""
SLOTS = {"nano": 32, "100m": 8}
"""Fewer than there are adapters."""
CLIENTS = 8
PROMPTS = tuple(f"Question {n}: what do you know about number {n}?" for n in range(4))
LOAD_TOKENS = {"nano": 12, "100m": 4}
STREAM_TOKENS = {"nano": 600, "100m": 120}
PAUSE_S = {"nano": 0.05, "100m": 0.5}
"""Between two asks beside an open stream."""
ANSWER_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, by whom, and when it was complete."""

    text: str
    adapter: str
    ended_at: float


class Client:
    """One connection to the gateway, kept open. Greedy, but not repeating itself; every answer has its full length."""

    def __init__(self, server: peers.Server, ends: Sequence[int]) -> None:
        where = urlsplit(server.url)
        self._connection = http.client.HTTPConnection(where.netloc, timeout=ANSWER_DEADLINE_S)
        self._path = f"{where.path}/chat/completions"
        self._fields = {"temperature": 0, "frequency_penalty": 2, "logit_bias": {str(end): FORBID for end in ends}}

    def ask(self, prompt: str, max_tokens: int, model: str = "ragweld") -> Answer:
        """A plain answer; raises OSError or ValueError when it fails."""
        reply = self._send(prompt, max_tokens, model, stream=False)
        body = reply.read()
        if reply.status != 200:
            raise ValueError(f"{reply.status}: {body.decode()}")
        message = json.loads(body)["choices"][0]["message"]
        text = message.get("reasoning_content", "") + (message["content"] or "")
        return Answer(text, reply.headers["x-ragweld-adapter"], time.perf_counter())

    def chunk_times(self, prompt: str, max_tokens: int) -> Iterator[float]:
        """When each chunk of a streaming answer arrived."""
        reply = self._send(prompt, max_tokens, "ragweld", stream=True)
        for line in reply:
            if line.startswith(b"data: {"):
                yield time.perf_counter()

    def activate(self, path: str) -> tuple[AdapterId, float]:
        """Add an adapter by its folder and make it the active one; it, and when that was answered."""
        body = json.dumps({"path": path, "activate": True})
        self._connection.request("POST", "/api/adapters", body, {"content-type": "application/json"})
        reply = self._connection.getresponse()
        added = json.loads(reply.read())
        if reply.status >= 300:
            raise ValueError(f"{reply.status}: {added}")
        return AdapterId(added["id"]), time.perf_counter()

    def _send(self, prompt: str, max_tokens: int, model: str, *, stream: bool) -> http.client.HTTPResponse:
        messages = [{"role": "user", "content": prompt}]
        body = {"model": model, "messages": messages, "max_tokens": max_tokens, "stream": stream, **self._fields}
        self._connection.request("POST", self._path, json.dumps(body), {"content-type": "application/json"})
        return self._connection.getresponse()


@dataclass(frozen=True, slots=True)
class Scene:
    """A running gateway, the adapters it may be moved to, and who moves."""

    connect: Callable[[], Client]
    store: AdapterStore
    base: BaseId
    adapters: tuple[AdapterId, ...]
    folders: tuple[str, ...]
    """Of adapters that are not in the store, for the API."""
    name: str

    def move(self, to: AdapterId) -> None:
        self.store.move(self.base, to, expected=self.store.active(self.base), reason="bench")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--swaps", type=int, default=1000)
    arguments = parser.parse_args()
    with scene(arguments.model) as here:
        figures = (
            first_answers(here)
            | activations(here)
            | longest_gaps(here, arguments.rounds)
            | under_load(here, arguments.swaps)
        )
    print(json.dumps({"bench": "swap", "model": arguments.model, "figures": figures}))


@contextmanager
def scene(name: str) -> Iterator[Scene]:
    """The gateway over a base with adapters that it has not seen yet."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        base = bases.write(name, root / "base")
        store = AdapterStore(root / "home")
        adapters = tuple(
            store.put(write_adapter(root / f"a{n}", base, n, rank=16, keys=KEYS, size=0.2))
            for n in range(ADAPTERS[name])
        )
        folders = tuple(f"models/b{n}" for n in range(ACTIVATED))
        for n, folder in enumerate(folders):
            write_adapter(root / "home" / folder, base, 1000 + n, rank=16, keys=KEYS, size=0.2)
        ends = bases.end_tokens(base)
        with peers.ragweld(base, root / "home", {"RAGWELD_ENGINE_ADAPTER_SLOTS": str(SLOTS[name])}) as server:
            yield Scene(lambda: Client(server, ends), store, BaseId(str(base)), adapters, folders, name)


def first_answers(here: Scene) -> dict[str, float]:
    """From a move to the end of the new adapter's first answer, beyond a warm request's time, once for each adapter."""
    client = here.connect()
    prompts = (f"{n} is the number of this question. What is it good for?" for n in itertools.count())
    unseen = [first_answer(here, client, adapter, prompts) for adapter in here.adapters]
    two = itertools.islice(itertools.cycle(here.adapters[-2:]), len(here.adapters))
    resident = [first_answer(here, client, adapter, prompts) for adapter in two]
    figures = {}
    for kind, pairs in (("never seen", unseen), ("resident", resident)):
        extra_ms = [1e3 * (first_s - warm_s) for warm_s, first_s in pairs]
        median, p95 = statistics.median(extra_ms), statistics.quantiles(extra_ms, n=20)[-1]
        warm_ms = 1e3 * statistics.median(warm_s for warm_s, _ in pairs)
        print(
            f"{len(pairs)} moves to an adapter that is {kind}: first answer {median:.1f} ms (median), {p95:.1f} ms "
            f"(p95), {max(extra_ms):.1f} ms (most) beyond a warm request's {warm_ms:.1f} ms",
            flush=True,
        )
        figures |= {f"{kind} median ms": round(median, 2), f"{kind} p95 ms": round(p95, 2)}
    return figures


def activations(here: Scene) -> dict[str, float]:
    """The same for adapters that the API adds and activates: the call itself, and what follows when it has answered."""
    client = here.connect()
    prompts = (f"{n} is the number of this wish. What is it good for?" for n in itertools.count())
    calls_ms, extra_ms = [], []
    for folder in here.folders:
        began = time.perf_counter()
        warm_s = client.ask(next(prompts), 1).ended_at - began
        began = time.perf_counter()
        adapter, moved = client.activate(folder)
        calls_ms.append(1e3 * (moved - began))
        answer = client.ask(next(prompts), 1)
        assert answer.adapter == adapter
        extra_ms.append(1e3 * (answer.ended_at - moved - warm_s))
    call, extra = statistics.median(calls_ms), statistics.median(extra_ms)
    print(f"{len(extra_ms)} activations by the API: the call {call:.1f} ms, then the first answer {extra:.1f} ms more")
    return {"activate ms": round(call, 2), "activated median ms": round(extra, 2)}


def first_answer(here: Scene, client: Client, adapter: AdapterId, prompts: Iterator[str]) -> tuple[float, float]:
    """Seconds of a request just before a move, and from the move to the end of the first answer by its adapter."""
    began = time.perf_counter()
    warm_s = client.ask(next(prompts), 1).ended_at - began
    here.move(adapter)
    moved = time.perf_counter()
    while (answer := client.ask(next(prompts), 1)).adapter != adapter:
        print(f"answered by {answer.adapter} after the move")
    return warm_s, answer.ended_at - moved


@dataclass(slots=True)
class Beside:
    """An open stream, in seconds, while something went on beside it."""

    gaps: list[float] = field(default_factory=list)
    """Between every two chunks."""
    stalls: list[float] = field(default_factory=list)
    """The longest gap during each request."""


def longest_gaps(here: Scene, rounds: int) -> dict[str, float]:
    """The longest gap of a stream during a short request after a swap, against the same request without one."""
    beside = {"alone": Beside(), "requests": Beside(), "swaps": Beside()}
    turns = itertools.cycle(here.adapters)
    for _ in range(rounds):
        for what, seen in beside.items():
            watch_stream(here, what, turns, seen)
    step_s = statistics.mean(beside["alone"].gaps)  # a median is misled by a client that reads several at once
    figures = {"step ms": round(1e3 * step_s, 2)}
    for what, seen in beside.items():
        line = f"open stream, {what:8s}: a chunk every {1e3 * statistics.mean(seen.gaps):.2f} ms"
        line += f", longest gap {1e3 * max(seen.gaps):.1f} ms"
        if seen.stalls:
            median, p95 = statistics.median(seen.stalls), statistics.quantiles(seen.stalls, n=20)[-1]
            line += f"; longest during each of {len(seen.stalls)} requests: {1e3 * median:.2f} ms (median), "
            line += f"{1e3 * p95:.2f} ms (p95)"
            figures |= {f"{what} median steps": round(median / step_s, 2), f"{what} p95 steps": round(p95 / step_s, 2)}
        print(line, flush=True)
    more = figures["swaps median steps"] - figures["requests median steps"]
    print(f"a swap stalls an open stream for {more:.2f} decode steps more than its request alone does (median)")
    return figures | {"stall in steps": round(more, 2)}


def watch_stream(here: Scene, what: str, turns: Iterator[AdapterId], into: Beside) -> None:
    """One stream while a second client asks, with or without a move before each request, or is silent."""
    over = threading.Event()
    requests: list[tuple[float, float]] = []

    def ask_on() -> None:
        client = here.connect()
        while not over.wait(PAUSE_S[here.name]):
            began = time.perf_counter()
            if what == "swaps":
                here.move(next(turns))
            requests.append((began, client.ask("And now?", 1).ended_at))

    stream = here.connect().chunk_times("Tell me everything that you know.", STREAM_TOKENS[here.name])
    next(stream)
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask_on) if what != "alone" else None
        times = list(stream)
        over.set()
        if asking is not None:
            asking.result()
    between = list(itertools.pairwise(times))
    into.gaps += [later - sooner for sooner, later in between]
    for began, ended in requests:
        during = [later - sooner for sooner, later in between if sooner < ended and later > began]
        if ended < times[-1] and during:
            into.stalls.append(max(during))


@dataclass(slots=True)
class Busy:
    """What clients that ask without a pause were told, and how long each answer took, in seconds."""

    told: list[tuple[str, str, str]] = field(default_factory=list)
    """Adapter, prompt, text."""
    took: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        return 1e3 * statistics.quantiles(self.took, n=100)[-1]


def under_load(here: Scene, swaps: int) -> dict[str, float]:
    """Swap while clients ask without a pause; count answers that failed, and texts that are not of who they name.

    The slowest answers are told beside those of the same clients without a swap.
    """
    client = here.connect()
    alone = {
        (str(adapter), prompt): client.ask(prompt, LOAD_TOKENS[here.name], f"ragweld@{adapter}").text
        for adapter in here.adapters
        for prompt in PROMPTS
    }

    def swap(busy: Busy) -> None:
        for adapter in itertools.islice(itertools.cycle(here.adapters), swaps):
            before = len(busy.told)
            here.move(adapter)
            await_answers(busy, before + 1)

    began = time.perf_counter()
    busy = while_asked(here, swap)
    took_s = time.perf_counter() - began
    quiet = while_asked(here, lambda busy: await_answers(busy, swaps))
    mixed = [answer for answer in busy.told if alone[answer[:2]] != answer[2]]
    print(
        f"{swaps} swaps under {CLIENTS} clients in {took_s:.0f} s: {len(busy.told)} answers by "
        f"{len({adapter for adapter, _, _ in busy.told})} adapters ({len(set(alone.values()))} of {len(alone)} texts "
        f"are distinct), {len(busy.failures)} failed, {len(mixed)} mixed; 99 of 100 within {busy.p99_ms:.0f} ms, "
        f"without swaps {quiet.p99_ms:.0f} ms"
    )
    for odd in [*busy.failures[:3], *mixed[:3]]:
        print(f"  {odd}")
    slower_ms = round(busy.p99_ms - quiet.p99_ms, 1)
    return {"answers": len(busy.told), "failed": len(busy.failures), "mixed": len(mixed), "p99 more ms": slower_ms}


def while_asked(here: Scene, do: Callable[[Busy], None]) -> Busy:
    """What clients that ask without a pause were told while something was done."""
    over, busy = threading.Event(), Busy()

    def ask_on() -> None:
        client = here.connect()
        for prompt in itertools.cycle(PROMPTS):
            if over.is_set():
                return
            began = time.perf_counter()
            try:
                answer = client.ask(prompt, LOAD_TOKENS[here.name])
                busy.took.append(answer.ended_at - began)
                busy.told.append((answer.adapter, prompt, answer.text))
            except (OSError, ValueError, http.client.HTTPException) as error:
                busy.failures.append(repr(error))
                client = here.connect()

    with ThreadPoolExecutor(CLIENTS) as threads:
        asking = [threads.submit(ask_on) for _ in range(CLIENTS)]
        do(busy)
        over.set()
        for client in asking:
            client.result()
    return busy


def await_answers(busy: Busy, count: int) -> None:
    while len(busy.told) + len(busy.failures) < count:
        time.sleep(0.001)


if __name__ == "__main__":
    main()
