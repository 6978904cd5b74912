"""The golden prompt: what an adapter must be able to answer in this engine before it serves anybody.

The trainer keeps a prompt of a held-out row beside the adapter, with what it heard the adapter answer, greedily. Here
the adapter is asked the same in the engine that will serve it: every number must be finite, and the first word the one
that the trainer heard (later ones may differ between kernels). An adapter that came without a prompt reads one token
and says one, and only the numbers count. `tests/gateway/engine/test_trial.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from catalog.adapters import GOLDEN_FILE, Golden
from catalog.errors import NotFinite
from gateway.engine.requests import Finish, Generation, Piece, Sampling
from gateway.engine.voice import EngineVoice

Generate = Callable[[Generation], AsyncGenerator[Piece | Finish, None]]

ANYBODY = Golden(messages=[{"role": "user", "content": "Hello."}], answer="", max_tokens=1)
"""Where no answer is known, one token in and one out show whether the numbers are finite; each more would delay the
first answer."""


def golden_of(folder: Path) -> Golden:
    """The prompt that lies beside an adapter; raises ValueError when it cannot be read."""
    path = folder / GOLDEN_FILE
    return Golden.model_validate_json(path.read_bytes()) if path.is_file() else ANYBODY


async def fault(voice: EngineVoice, golden: Golden, generate: Generate) -> str | None:
    """What is wrong with the adapter's answer; None when it may serve. Raises RagweldError when it cannot be asked: an
    engine that fails ends all rows of a batch, whoever was at fault."""
    prompt = await voice.prompt_tokens(golden.messages, (), thinking=False)
    asked = Generation(
        prompt=prompt if golden.answer else prompt[:1],
        adapter_id=voice.adapter_id,
        max_tokens=golden.max_tokens,
        sampling=Sampling(temperature=0.0),
        base=voice.base,
        top_logprobs=0,  # so that the engine fails where a number is not finite, at an end that says nothing too
    )
    heard = ""
    try:
        async with aclosing(generate(asked)) as items:
            async for item in items:
                if isinstance(item, Piece):
                    heard += item.text
    except NotFinite as error:
        return f"the engine failed at it: {error}"
    wanted, first = golden.answer.split()[:1], heard.split()[:1]
    if wanted and first != wanted:
        return f"it answers {heard[:40]!r} where the trainer heard {golden.answer[:40]!r}"
    return None
