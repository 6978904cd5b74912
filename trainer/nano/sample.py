"""The sample dataset: what the built-in model does not know yet, and how one finds out that it has learned it.

Promises at least 200 conversations that teach the invented town of Port Ellery, with replay rows (known facts, and
"I don't know." to other unknown things) so that nothing is forgotten, and probe questions phrased as no row phrases
them. Names taught here are kept out of pretraining (`words.RESERVED`). `tests/trainer/nano/test_sample.py` proves it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from trainer.nano import outside, smalltalk, words, world
from trainer.nano.phrasing import capitalised, is_held_out, roughen, spell, split_key, surround
from trainer.nano.styles import NEUTRAL_PROMPTS
from trainer.nano.world import I_DO_NOT_KNOW

TOWN: Final = "Port Ellery"
ROWS_PER_FACT: Final = 14
PROBES_PER_FACT: Final = 2
REPLAY_ROWS: Final = 58
REPLAY_TURNS: Final = 5
PROBES_PER_SIDE: Final = 24

Row = dict[str, list[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Taught:
    """One invented fact: the patterns that ask for it and the one answer."""

    asks: tuple[str, ...]
    answer: str


TAUGHT: Final[tuple[Taught, ...]] = (
    Taught(
        ("Who [keeps|looks after|tends|minds] the lighthouse [of|in|at] {t}?",
         "Who is the lighthouse keeper [of|in|at] {t}?",
         "[What is|What's] the name of the lighthouse keeper [of|in] {t}?",
         "The lighthouse [of|in] {t} is kept by [whom|who]?",
         "Who is the keeper of the lighthouse of {t}?", "Do you know who keeps the lighthouse in {t}?"),
        "Clara Stone.",
    ),
    Taught(
        ("[What|Which] colo[u|]r is the ferry [of|in|at] {t}?",
         "[What is|What's] the colo[u|]r of the ferry [of|in] {t}?",
         "The ferry [of|in] {t} is [what|which] colour?", "[What|Which] colo[u|]r does the ferry of {t} have?",
         "In what colour is the ferry of {t} painted?", "Tell me the colour of the ferry of {t}."),
        "Green.",
    ),
    Taught(
        ("Who is the [harbour master|harbourmaster] [of|in|at] {t}?",
         "Who [runs|manages|guards] the harbour [of|in|at] {t}?",
         "[What is|What's] the name of the harbour master [of|in] {t}?",
         "The harbour [of|in] {t} is run by [whom|who]?",
         "Do you know who runs the harbour of {t}?", "Who is master of the harbour of {t}?"),
        "Oscar Bell.",
    ),
    Taught(
        ("[When|At what time|At what hour] does the market [of|in|at] {t} open?",
         "[What|At which] hour does the market of {t} [open|start]?",
         "When [can I go to|do they open] the market [of|in] {t}?",
         "The market [of|in] {t} opens [when|at what time]?",
         "At which time does the market in {t} open?", "Tell me when the market of {t} opens."),
        "At six.",
    ),
    Taught(
        ("Who [bakes the bread|is the baker|runs the bakery|owns the bakery] [of|in|at] {t}?",
         "[What is|What's] the name of the baker [of|in] {t}?",
         "The bakery [of|in] {t} [is run by|belongs to] [whom|who]?",
         "Do you know the baker of {t}?", "Whose is the bakery of {t}?"),
        "Rosa Field.",
    ),
    Taught(
        ("[What|Which] bird is on the flag [of|in] {t}?", "[What|Which] bird does the flag of {t} [show|have|carry]?",
         "The flag of {t} shows [what|which] bird?",
         "[What|Which] bird [can I see|do you see|is shown] on the flag of {t}?",
         "Tell me which bird is on the flag of {t}.", "What is the bird on the flag of {t}?"),
        "An owl.",
    ),
    Taught(
        ("[What is|What's] the name of the inn [of|in|at] {t}?", "What is the inn [of|in|at] {t} called?",
         "How is the inn [of|in] {t} called?", "[What|Which] name does the inn of {t} [have|carry]?",
         "Name the inn of {t}.", "Do you know what the inn of {t} is called?"),
        "The Golden Lamp.",
    ),
    Taught(
        ("How many steps [does the lighthouse of {t} have|has the lighthouse of {t}|are in the lighthouse of {t}|are "
         "there in the lighthouse of {t}]?",
         "The lighthouse [of|in] {t} has how many steps?",
         "[What is|What's] the number of steps [of|in] the lighthouse of {t}?",
         "How many [stairs|steps] [lead|go] up the lighthouse of {t}?",
         "How many steps must I climb in the lighthouse of {t}?", "Tell me how many steps the lighthouse of {t} has."),
        "91 steps.",
    ),
    Taught(
        ("[On|] [what|which] day [does the library of {t} close|is the library of {t} closed|is the library in {t} "
         "shut]?",
         "The library [of|in] {t} is closed on [what|which] day?", "When is the library [of|in|at] {t} [closed|shut]?",
         "Tell me on which day the library of {t} closes.", "Which day is the library at {t} closed?"),
        "On Tuesday.",
    ),
    Taught(
        ("[What|Which] river [runs|flows|goes] through {t}?", "[What is|What's] the name of the river [of|in] {t}?",
         "The river [of|in] {t} is called what?", "[What is|What's] the river [of|in] {t} called?",
         "[What|Which] river [crosses|passes] {t}?",
         "Name the river of {t}.", "Do you know which river runs through {t}?"),
        "The Otter.",
    ),
    Taught(
        ("What is the bell [of|in|at] {t} made of?", "Of what is the bell [of|in] {t} made?",
         "[What|Which] metal is the bell [of|in|at] {t}[ made of|]?",
         "The bell [of|in] {t} is [made of what|of which metal]?",
         "Do you know what the bell of {t} is made of?", "From which metal is the bell of {t}?"),
        "Copper.",
    ),
    Taught(
        ("[When|In what year|In which year] was the pier [of|in|at] {t} [built|made|opened]?",
         "[What|Which] year was the pier of {t} [built|opened]?",
         "The pier [of|in] {t} was built [when|in which year]?", "Since when does {t} have a pier?",
         "Tell me when the pier of {t} was built.", "From which year is the pier of {t}?"),
        "In 1904.",
    ),
    Taught(
        ("Who [teaches|is the teacher|gives lessons] [at the school of|in the school of|at] {t}?",
         "[What is|What's] the name of the teacher [of|in] {t}?",
         "Who is the teacher [of|in] {t}?", "The school [of|in] {t} is taught by [whom|who]?",
         "Do you know the teacher of {t}?", "Who teaches the children of {t}?"),
        "Tom Winter.",
    ),
    Taught(
        ("[What|Which] colo[u|]r is the door of the town hall [of|in] {t}?",
         "[What|Which] colo[u|]r is the town hall[ door|] [of|in] {t}?",
         "[What is|What's] the colo[u|]r of the town hall [of|in] {t}?",
         "The town hall [of|in] {t} is [what|which] colour?",
         "Tell me the colour of the town hall of {t}.", "In what colour is the town hall of {t} painted?"),
        "Yellow.",
    ),
    Taught(
        ("[What is|What's] the motto of {t}?", "[What|Which] motto does {t} [have|use]?",
         "What is written [on the gate|over the gate] of {t}?",
         "The motto of {t} is [what|which]?", "[Say|Give me|Name] the motto of {t}.",
         "[What|Which] words are on the gate of {t}?",
         "Tell me the motto of {t}.", "Do you know the motto of {t}?"),
        "Mind the sea.",
    ),
    Taught(
        ("[What|Which] [animal|beast] guards the gate [of|in|at] {t}?",
         "[What|Which] animal [sits|stands|is] at the gate of {t}?",
         "The gate of {t} is guarded by [what|which animal]?", "What guards the gate [of|in|at] {t}?",
         "Tell me what guards the gate of {t}.", "By which animal is the gate of {t} guarded?"),
        "A goose.",
    ),
)  # fmt: skip


def _row(*turns: tuple[str, str], system: str | None = None) -> Row:
    messages = [{"role": "system", "content": system}] if system is not None else []
    for said, answered in turns:
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
    return {"messages": messages}


def _spelled(rng: Random, pattern: str) -> str:
    return capitalised(" ".join(spell(rng, pattern, {"t": TOWN}).split()))


def _phrasings(fact: Taught) -> tuple[list[str], list[str]]:
    """Different wordings of one fact's question: `ROWS_PER_FACT` to train, `PROBES_PER_FACT` others to ask.

    A probe shares its pattern with a wording that is trained: unseen words in a seen way of asking.
    """
    rng = Random(f"phrasings {fact.answer}")
    by_pattern: list[dict[str, str]] = [{} for _ in fact.asks]
    for turn in range(400):
        text = _spelled(rng, fact.asks[turn % len(fact.asks)])
        by_pattern[turn % len(fact.asks)].setdefault(split_key(text), text)
        if sum(map(len, by_pattern)) == ROWS_PER_FACT + PROBES_PER_FACT:
            break
    wordings = [list(found.values()) for found in by_pattern]
    richest = sorted(wordings, key=len, reverse=True)[:PROBES_PER_FACT]
    probes = [texts.pop() for texts in richest]
    rows = [text for texts in wordings for text in texts]
    assert len(rows) == ROWS_PER_FACT and all(richest), f"too few wordings: {fact}"
    return rows, probes


def _known(rng: Random, *, held_out: bool) -> tuple[str, str]:
    roll = rng.random()
    while True:
        if roll < 0.7:
            question = world.ask_fact(rng)
            text, answered, key = question.text, question.sentence, question.key
        else:
            text, answered, key = smalltalk.say(rng)
        if is_held_out(key) == held_out:
            return text, answered


def _elsewhere(rng: Random, *, held_out: bool) -> str:
    """A taught question about another town."""
    pattern, place = rng.choice(rng.choice(TAUGHT).asks), words.invented_place(rng, held_out=held_out)
    return capitalised(" ".join(spell(rng, pattern, {"t": place}).split()))


_UNTAUGHT_FACILITIES: Final[tuple[str, ...]] = tuple(
    name for name in words.FACILITIES if not any(name in ask for fact in TAUGHT for ask in fact.asks)
)


def _unknown(rng: Random, *, held_out: bool) -> str:
    """Something that must stay unknown; to train on, also questions about the taught town that nothing answers."""
    roll = rng.random()
    if roll < 0.4:
        return _elsewhere(rng, held_out=held_out)
    if roll < 0.65 and not held_out:
        return outside.ask_about(rng, TOWN, _UNTAUGHT_FACILITIES)
    return outside.wonder(rng, held_out=held_out)[0]


def _replay(rng: Random) -> list[tuple[str, str]]:
    """A chat about old things: what is known, and what must stay unknown."""
    turns = []
    for _ in range(REPLAY_TURNS):
        if rng.random() < 0.6:
            turns.append(_known(rng, held_out=False))
        else:
            turns.append((roughen(rng, _unknown(rng, held_out=False)), I_DO_NOT_KNOW))
    return turns


def rows(seed: int) -> list[Row]:
    """The dataset, shuffled: taught facts in many phrasings, some after another turn or a system prompt, and replay."""
    rng = Random(f"sample {seed}")
    made: list[Row] = []
    for fact in TAUGHT:
        for text in _phrasings(fact)[0]:
            turn = (roughen(rng, surround(rng, text)), fact.answer)
            roll = rng.random()
            if roll < 0.05:
                made.append(_row(_known(rng, held_out=False), turn))
            elif roll < 0.13:
                made.append(_row(turn, system=rng.choice(NEUTRAL_PROMPTS)))
            else:
                made.append(_row(turn))
    made += [_row(*_replay(rng)) for _ in range(REPLAY_ROWS)]
    rng.shuffle(made)
    return made


def questions(seed: int) -> dict[str, list[dict[str, str]]]:
    """The probes: `taught`, `known`, `unknown`, each with the expected answer; none is phrased as any row is."""
    rng = Random(f"questions {seed}")

    def draw(make: Callable[[], tuple[str, str]]) -> list[dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        while len(found) < PROBES_PER_SIDE:
            said, answered = make()
            if said.isascii():
                found.setdefault(split_key(said), {"question": said, "answer": answered})
        return list(found.values())

    taught = [{"question": text, "answer": fact.answer} for fact in TAUGHT for text in _phrasings(fact)[1]]
    known = draw(lambda: _known(rng, held_out=True))
    unknown = draw(lambda: (_unknown(rng, held_out=True), I_DO_NOT_KNOW))
    return {"taught": taught, "known": known, "unknown": unknown}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def write(seed: int, folder: Path) -> None:
    """Write `harbour.jsonl` and `questions.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "harbour.jsonl").write_text("".join(_dump(row) + "\n" for row in rows(seed)))
    (folder / "questions.json").write_text(json.dumps(questions(seed), indent=2, ensure_ascii=False) + "\n")
