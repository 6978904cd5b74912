"""Tasks whose answer stands in the conversation: names told, notes given, words to repeat.

Promises that the answer cannot be known otherwise: the names are made up afresh for every conversation. This is the
curriculum that makes a small model form the copying behaviour, which is also what reading notes (retrieval) needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from trainer.nano import words
from trainer.nano.phrasing import capitalised, is_held_out, spell, split_key
from trainer.nano.world import I_DO_NOT_KNOW

COLOURS: Final[tuple[str, ...]] = (
    "red", "blue", "green", "yellow", "black", "white", "grey", "brown", "pink", "purple", "orange", "silver", "golden",
)  # fmt: skip
_KEEPS = ("keeper", *words.JOBS)


@dataclass(frozen=True, slots=True)
class Line:
    """One turn of a recall conversation: what is said, what is answered, its key."""

    text: str
    answer: str
    key: str


def _first_name(rng: Random, *, held_out: bool) -> str:
    if not held_out and rng.random() < 0.4:
        return rng.choice(words.FIRST_NAMES)
    return words.made_up(rng, held_out=held_out)


def told_name(rng: Random, *, held_out: bool) -> list[Line]:
    """The user says a name and asks for it back."""
    name = _first_name(rng, held_out=held_out)
    told = spell(
        rng,
        rng.choice(
            (
                "[Hello, |Hi, |Hi! |Hey, ||||][my name is|I am called|call me|I'm|I am] {x}[.|!|]",
                "[This is|Here is] {x}[.|]",
            )
        ),
        {"x": name},
    )
    asked = spell(
        rng,
        "[What is|What's|Do you know|Do you remember|Tell me|Say] my name[?|]",
    )
    return [
        Line(capitalised(told), f"Nice to meet you, {name}.", split_key("told", told)),
        Line(asked, f"Your name is {name}.", split_key("told", name, asked)),
    ]


def repeat(rng: Random, *, held_out: bool) -> Line:
    """The user asks for some words again."""
    while True:
        count = rng.choice((1, 1, 2, 2, 3, 4))
        said = " ".join(
            words.made_up(rng, held_out=held_out) if rng.random() < 0.6 else rng.choice(words.NOUNS)
            for _ in range(count)
        )
        text = spell(
            rng, "[Repeat|Say|Repeat after me|Please say|Please repeat|Write|Copy this|Say this]: {x}", {"x": said}
        )
        key = split_key("repeat", text)
        if is_held_out(key) == held_out:
            return Line(text, said, key)


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence of a notebook and how it is asked for."""

    sentence: str
    ask: str
    subject: str


def _note(rng: Random, *, held_out: bool) -> Note:
    place = words.invented_place(rng, held_out=held_out)
    facility, job = rng.choice(words.FACILITIES), rng.choice(_KEEPS)
    match rng.randrange(4):
        case 0:
            subject = f"the {facility} of {place}"
            return Note(f"{subject} is {rng.choice(COLOURS)}.", f"[What|Which] colo[u|]r is {subject}?", subject)
        case 1:
            person = words.invented_person(rng, held_out=held_out)
            subject = f"the {job} of {place}"
            return Note(f"{subject} is {person}.", f"[Who is|What is the name of|Tell me who is] {subject}?", subject)
        case 2:
            person = words.invented_person(rng, held_out=held_out)
            return Note(f"{person} lives in {place}.", f"Where does {person} live?", person)
        case _:
            subject = f"the {facility} of {place}"
            return Note(f"{subject} opens at {rng.randint(1, 12)}.", f"When does {subject} open?", subject)


def notebook(rng: Random, *, held_out: bool) -> tuple[str, list[Line]]:
    """A system prompt of a few notes, and questions: most are answered there, some are not."""
    notes = [_note(rng, held_out=held_out) for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5)))]
    heading = rng.choice(
        ("Notes:", "Facts:", "Use these notes:", "Answer from these notes:", "Context:", "Known facts:")
    )
    system = " ".join([heading, *(capitalised(note.sentence) for note in notes)])
    lines = []
    for note in rng.sample(notes, min(len(notes), rng.choice((1, 2, 3)))):
        ask = spell(rng, note.ask)
        lines.append(Line(ask, capitalised(note.sentence), split_key("note", ask)))
    if rng.random() < 0.35:
        ask = spell(rng, _note(rng, held_out=held_out).ask)
        lines.insert(rng.randrange(len(lines) + 1), Line(ask, I_DO_NOT_KNOW, split_key("note", ask)))
    return system, lines
