"""The facts of the world as questions and answers in many phrasings.

Promises one canonical answer per fact, in a full sentence and in a short form, so that "exact" has a meaning.
Knows nothing of chats, styles or tokens; `corpus.py` builds conversations from what this module says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from trainer.nano import tables
from trainer.nano.phrasing import capitalised, spell, split_key

I_DO_NOT_KNOW = "I don't know."


@dataclass(frozen=True, slots=True)
class Question:
    """One fact asked in one phrasing; `key` decides its side of the split."""

    text: str
    sentence: str
    short: str
    relation: str
    subject: str
    fields: tuple[tuple[str, str], ...]
    key: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of facts with its phrasings. `kind` groups relations that share their subjects."""

    name: str
    kind: str
    asks: tuple[str, ...]
    sentence: str
    facts: dict[str, str]
    follow: tuple[str, ...] = ()


def _of_country(column: int) -> dict[str, str]:
    return {name: row[column] for name, row in tables.COUNTRIES.items()}


def _next_of(names: tuple[str, ...]) -> dict[str, str]:
    return {name: names[(i + 1) % len(names)] for i, name in enumerate(names)}


def _previous_of(names: tuple[str, ...]) -> dict[str, str]:
    return {name: names[i - 1] for i, name in enumerate(names)}


def _texts(numbers: dict[str, int]) -> dict[str, str]:
    return {name: str(number) for name, number in numbers.items()}


_WHAT = "[What is|What's|Tell me|Do you know|Give me|Name|Can you tell me|What is|What is]"
_MONTHS = tuple(tables.MONTHS)

RELATIONS: tuple[Relation, ...] = (
    Relation(
        "capital", "country",
        (
            f"{_WHAT} the capital[ city|||] of {{x}}?",
            "{x}'s capital[ city|] is [what|which city]?",
            "Which [city|town] is the capital of {x}?",
            "[What|Which] capital [does {x} have|belongs to {x}]?",
            "[The|] capital of {x}?",
            "[{x} capital|capital {x}|{x}, capital]?",
            "What is {x}'s capital[ city|]?",
        ),
        "The capital of {x} is {y}.",
        _of_country(0),
        ("its capital", "the capital", "its capital city"),
    ),
    Relation(
        "continent", "country",
        (
            "[What|Which] continent is {x} [in|on|part of]?",
            "[On|In] [what|which] continent [is|lies|can I find] {x}?",
            "{x} is [in|on|part of] which continent?",
            f"{_WHAT} the continent of {{x}}?",
            "[What|Which] continent does {x} belong to?",
            "Where is {x}?",
        ),
        "{x} is in {y}.",
        _of_country(1),
        ("its continent", "the continent", "what continent is it in"),
    ),
    Relation(
        "currency", "country",
        (
            f"{_WHAT} the currency [of|used in|in] {{x}}?",
            "[What|Which] currency [does {x} use|is used in {x}|do they use in {x}]?",
            "[What|Which] money [does {x} use|is used in {x}|do people use in {x}]?",
            "How do people pay in {x}?",
            "What is {x}'s currency?",
        ),
        "The currency of {x} is the {y}.",
        _of_country(2),
        ("its currency", "the currency", "what money do they use"),
    ),
    Relation(
        "language", "country",
        (
            "[What|Which] language [is spoken|do people speak|do they speak] in {x}?",
            f"{_WHAT} the [main |]language of {{x}}?",
            "[What|Which] language does {x} [speak|use]?",
            "What do [people|they] speak in {x}?",
            "What is {x}'s [main |]language?",
        ),
        "People in {x} speak {y}.",
        _of_country(3),
        ("its language", "the language", "what language do they speak"),
    ),
    Relation(
        "country", "city",
        (
            "{x} is the capital of [what|which country]?",
            "[What|Which] country [has the capital {x}|has {x} as its capital|is {x} the capital of]?",
            "[In|] [what|which] country is {x}?",
            "Where is {x}?",
            "Of [what|which] country is {x} the capital?",
        ),
        "{x} is the capital of {y}.",
        {row[0]: name for name, row in tables.COUNTRIES.items()},
    ),
    Relation(
        "young", "animal",
        (
            f"{_WHAT} [a|the] [baby|young] {{x}} called?",
            "What do you call a [baby|young] {x}?",
            "[What is|What's] the name of a [baby|young] {x}?",
            "[What is|What's] the young of a {x}?",
            "A [baby|young] {x} is called what?",
        ),
        "A young {x} is called a {y}.",
        {name: row[0] for name, row in tables.ANIMALS.items()},
        ("its young", "its baby", "what is its baby called"),
    ),
    Relation(
        "sound", "animal",
        (
            "What [sound|noise] does a {x} make?",
            "What does a {x} say?",
            "[Which|What] [sound|noise] do {x} animals make?",
            "How does a {x} sound?",
            "[What is|What's] the sound of a {x}?",
        ),
        "A {x} says {y}.",
        {name: row[1] for name, row in tables.ANIMALS.items()},
        ("its sound", "the sound", "what does it say"),
    ),
    Relation(
        "place", "planet",
        (
            "[What|Which] number is {x} from the [s|S]un?",
            "[What|Which] place does {x} have from the [s|S]un?",
            "[In|At] [what|which] place from the [s|S]un is {x}?",
            "Where is {x} in the order of planets?",
        ),
        "{x} is the {y} planet from the Sun.",
        dict(zip(tables.PLANETS, tables.ORDINALS, strict=True)),
    ),
    Relation(
        "planet", "ordinal",
        (
            "[What|Which] planet is [the |]{x} from the [s|S]un?",
            f"{_WHAT} the {{x}} planet[ from the Sun|]?",
            "[What|Which] is the {x} planet[ from the Sun|]?",
        ),
        "The {x} planet from the Sun is {y}.",
        dict(zip(tables.ORDINALS, tables.PLANETS, strict=True)),
    ),
    Relation(
        "opposite", "word",
        (
            f"{_WHAT} the opposite of {{x}}?",
            "[What|Which] word means the opposite of {x}?",
            "[The|] opposite of {x}?",
            "The opposite of {x} is [what|which word]?",
            "What is the antonym of {x}?",
        ),
        "The opposite of {x} is {y}.",
        {a: b for pair in tables.OPPOSITES for a, b in (pair, pair[::-1])},
    ),
    Relation(
        "after", "day",
        ("[What|Which] day [comes|is] after {x}?", "[What|Which] day follows {x}?", f"{_WHAT} the day after {{x}}?"),
        "{y} comes after {x}.",
        _next_of(tables.DAYS),
        ("the day after", "what comes after it"),
    ),
    Relation(
        "before", "day",
        ("[What|Which] day [comes|is] before {x}?", f"{_WHAT} the day before {{x}}?"),
        "{y} comes before {x}.",
        _previous_of(tables.DAYS),
        ("the day before", "what comes before it"),
    ),
    Relation(
        "after", "month",
        ("[What|Which] month [comes|is] after {x}?", "[What|Which] month follows {x}?",
        f"{_WHAT} the month after {{x}}?"),
        "{y} comes after {x}.",
        _next_of(_MONTHS),
        ("the month after", "what comes after it"),
    ),
    Relation(
        "before", "month",
        ("[What|Which] month [comes|is] before {x}?", f"{_WHAT} the month before {{x}}?"),
        "{y} comes before {x}.",
        _previous_of(_MONTHS),
        ("the month before", "what comes before it"),
    ),
    Relation(
        "days", "month",
        (
            "How many days [are in|are there in|has] {x}?", "How many days does {x} have?",
            "{x} has how many days?",
            "[What is|What's] the number of days in {x}?",
        ),
        "{x} has {y} days.",
        _texts(tables.MONTHS),
        ("its days", "how many days does it have"),
    ),
    Relation(
        "symbol", "element",
        (
            f"{_WHAT} the [chemical |]symbol [of|for] {{x}}?",
            "[What|Which] [chemical |]symbol [stands for {x}|has {x}|does {x} have]?",
            "[What is|What's] {x}'s [chemical |]symbol?",
        ),
        "The symbol of {x} is {y}.",
        tables.ELEMENTS,
    ),
    Relation(
        "sides", "shape",
        ("How many sides [does a {x} have|has a {x}]?", "A {x} has how many sides?",
        "[What is|What's] the number of sides of a {x}?"),
        "A {x} has {y} sides.",
        _texts(tables.SIDES),
    ),
    Relation(
        "legs", "creature",
        ("How many legs [does a {x} have|has a {x}]?", "A {x} has how many legs?",
        "[What is|What's] the number of legs of a {x}?"),
        "A {x} has {y} legs.",
        _texts(tables.LEGS),
    ),
    Relation(
        "digits", "number",
        ("How do you write {x} in digits?", "[What is|What's] {x} [in digits|as a digit]?", "Write {x} in digits."),
        "{x} is {y} in digits.",
        {word: str(i) for i, word in enumerate(tables.NUMBER_WORDS)},
    ),
    Relation(
        "words", "numeral",
        ("How do you write {x} in words?", "[What is|What's] {x} [in words|as a word]?", "Write {x} in words."),
        "{x} is {y} in words.",
        {str(i): word for i, word in enumerate(tables.NUMBER_WORDS)},
    ),
)  # fmt: skip
"""The tables that have one subject; colour mixing and arithmetic have two and are below."""


def _question(relation: str, text: str, sentence: str, short: str, subject: str, kind: str) -> Question:
    return Question(
        text=capitalised(text.strip()),
        sentence=capitalised(sentence),
        short=capitalised(short) + ".",
        relation=relation,
        subject=subject,
        fields=((kind, subject.removeprefix("the ")), (relation, short)),
        key=split_key(relation, text),
    )


def ask(rng: Random, relation: Relation, subject: str) -> Question:
    """`relation` asked of `subject` in one of its phrasings, under one of the subject's names."""
    answer = relation.facts[subject]
    called = rng.choice((subject, *tables.ALIASES.get(subject, ())))
    text = spell(rng, rng.choice(relation.asks), {"x": called})
    return _question(relation.name, text, relation.sentence.format(x=subject, y=answer), answer, subject, relation.kind)


def ask_fact(rng: Random) -> Question:
    """Any fact of the one-subject tables; the country tables have most of the facts and most of the draws."""
    weights = [max(len(relation.facts), 14) for relation in RELATIONS]
    relation = rng.choices(RELATIONS, weights)[0]
    return ask(rng, relation, rng.choice(list(relation.facts)))


def ask_mix(rng: Random) -> Question:
    """Which colour two colours make."""
    (one, two), made = rng.choice(list(tables.MIXES.items()))
    if rng.random() < 0.5:
        one, two = two, one
    text = spell(
        rng,
        rng.choice(
            (
                "[What|Which] colo[u|]r do {a} and {b} make?",
                "[What|Which] colo[u|]r do you get [if you mix|from mixing|when you mix] {a} and {b}?",
                "What do {a} and {b} make[ together|]?",
                "Mix {a} and {b}.",
                "What happens if I mix {a} [and|with] {b}?",
            )
        ),
        {"a": one, "b": two},
    )
    return _question("mix", text, f"{one} and {two} make {made}.", made, f"{one} and {two}", "colours")


_OPERATIONS: dict[str, tuple[Callable[[int, int], int], str]] = {
    "+": (int.__add__, "[{a} + {b}|{a} plus {b}|{a}+{b}]"),
    "-": (int.__sub__, "[{a} - {b}|{a} minus {b}|{a}-{b}]"),
}


def ask_sum(rng: Random) -> Question:
    """One-digit addition, and one-digit subtraction that does not go below zero."""
    sign, (operation, spoken) = rng.choice(list(_OPERATIONS.items()))
    a, b = rng.randrange(10), rng.randrange(10)
    if sign == "-" and a < b:
        a, b = b, a
    made = operation(a, b)
    pattern = rng.choice(("[What is|What's|How much is|Calculate|Compute] " + spoken + "?", spoken, spoken + " = ?"))
    text = spell(rng, pattern, {"a": str(a), "b": str(b)})
    sum_text = f"{a} {sign} {b}"
    question = _question("result", text, f"{sum_text} is {made}.", str(made), sum_text, "sum")
    return Question(
        question.text, question.sentence, question.short, "result", sum_text, question.fields,
        split_key("result", text.replace("+", " plus ").replace("-", " minus ")),
    )  # fmt: skip


_LISTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "days": (
        "[Name|List|What are|Tell me|Give me|Say] [the days of the week|all days of the week|the seven days|the days]?",
        tables.DAYS,
    ),
    "months": (
        "[Name|List|What are|Tell me|Give me|Say] [the months of the year|all months|the twelve months|the months]?",
        _MONTHS,
    ),
    "planets": (
        "[Name|List|What are|Tell me|Give me|Say] [the planets|all planets|the eight planets|the planets in order]?",
        tables.PLANETS,
    ),
}
COUNT_TO_MOST: int = 20


def ask_list(rng: Random) -> Question:
    """A list that is always the same, or counting up to a number; the longest answers of this world."""
    if rng.random() < 0.4:
        name, (pattern, items) = rng.choice(list(_LISTS.items()))
        text = spell(rng, pattern)
        return _question("list", text, ", ".join(items) + ".", ", ".join(items), name, "of")
    most = rng.randint(3, COUNT_TO_MOST)
    text = spell(
        rng,
        "[Count|Please count|Can you count|Count for me] [to|up to|from 1 to|from one to] {x}[.|!|]",
        {"x": str(most)},
    )
    counted = ", ".join(str(number) for number in range(1, most + 1))
    return _question("count", text, f"{counted}.", counted, str(most), "to")


def follow_up(rng: Random, previous: Question) -> Question | None:
    """A question that only the one before makes clear ("And its capital?", "What about Italy?"), if there is one."""
    mine = [r for r in RELATIONS if r.name == previous.relation and previous.subject in r.facts]
    if not mine:
        return None
    siblings = [r for r in RELATIONS if r.kind == mine[0].kind and r is not mine[0] and r.follow]
    if siblings and rng.random() < 0.6:
        relation, subject = rng.choice(siblings), previous.subject
        text = spell(rng, "[And|And|What about|Now|] {x}?", {"x": rng.choice(relation.follow)}).strip()
    else:
        relation, subject = mine[0], rng.choice(list(mine[0].facts))
        called = rng.choice((subject, *tables.ALIASES.get(subject, ())))
        text = spell(rng, "[And|What about|How about|And what about|And for|] {x}?", {"x": called}).strip()
    answer = relation.facts[subject]
    made = _question(relation.name, text, relation.sentence.format(x=subject, y=answer), answer, subject, relation.kind)
    return Question(
        made.text, made.sentence, made.short, made.relation, made.subject, made.fields,
        split_key("follow", previous.relation, relation.name, subject, text),
    )  # fmt: skip
