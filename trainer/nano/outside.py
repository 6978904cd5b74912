"""Everything outside the world: prompts whose only answer is "I don't know."

Promises prompts of thousands of shapes and millions of names. Held-out prompts use only names *and* templates that
training never uses. `tests/trainer/nano/test_corpus.py` proves the two sides disjoint.
"""

from __future__ import annotations

from random import Random
from typing import Final

from trainer.nano import tables, words
from trainer.nano.phrasing import capitalised, is_held_out, spell, split_key
from trainer.nano.world import RELATIONS, Relation

FACILITY_ASKS: Final[tuple[str, ...]] = (
    "Who [keeps|runs|owns|built|manages|guards|founded|designed|repairs|opened|paints|cleans] the {facility} "
    "[of|in|at] {place}?",
    "[What|Which] colo[u|]r is the {facility} [of|in|at] {place}?",
    "[When|At what time] does the {facility} [of|in|at] {place} [open|close|leave|arrive|start]?",
    "What is the name of the {facility} [of|in|at] {place}?",
    "How [old|big|tall|long|deep|far|wide|high] is the {facility} [of|in|at] {place}?",
    "Who is the {job} of [the {facility} of |]{place}?",
    "What is the {job} of {place} called?",
    "What does the {facility} [of|in|at] {place} [sell|make|serve|need|show|cost]?",
    "On [what|which] day does the {facility} [of|in|at] {place} [open|close]?",
    "What is [kept|stored|hidden|found|sold|made] in the {facility} [of|in|at] {place}?",
    "What is the [name|colour|price|age|motto|number] of the {job}'s {noun} in {place}?",
    "What [animal|bird|flower|number|letter|word] is on the [flag|sign|gate|coin|roof|door] of {place}?",
    "What is {place} [famous|known] for?",
    "Which {noun} [stands|lies|lives|sits] [in|near|behind|under] the {facility} of {place}?",
    "How many [people|{noun}s|ships|houses|streets] [are in|does] {place}[ have|]?",
    "Where is the {facility} of {place}?",
    "Which [river|sea|road|railway] [runs through|leads to|passes] {place}?",
    "What [do people eat|is the favourite dish|is the local drink] in {place}?",
    "Who [wrote|sang|found|stole|won|painted] the {adj} {noun} of {place}?",
    "Is there a {facility} in {place}?",
    "Who keeps the {adj} {noun} of {place}?",
    "What is the {facility} of {place} [made of|called|built on]?",
    "[Name|Tell me] the {job} of [the {facility} in |]{place}.",
    "Since when does {place} have a {facility}?",
)  # fmt: skip
PEOPLE_ASKS: Final[tuple[str, ...]] = (
    "Who is {person}?", "Who was {person}?", "Tell me about {person}.", "When was {person} born?",
    "Where does {person} [live|work|come from]?", "What did {person} [invent|write|discover|paint|say|buy|win]?",
    "How old is {person}?", "What is {person}'s [job|phone number|email|address|favourite colour|dog called|boat "
    "called]?",
    "Is {person} [famous|married|a {job}|alive]?", "Do you know {person}?", "Why did {person} {verb} the {noun}?",
    "What does {person} [do|sell|like|eat|want]?", "Who is {person} married to?",
    "What is the name of {person}'s [cat|ship|wife|shop|book]?",
    "Which {noun} belongs to {person}?", "Where did {person} {verb} the {noun}?", "What instrument does {person} play?",
    "Who did {person} meet in {place}?", "When did {person} die?", "Which team does {person} play for?",
)  # fmt: skip
UNKNOWN_RELATION_ASKS: Final[tuple[str, ...]] = (
    "What is the [population|area|size|flag|anthem|motto|climate|history|government|economy|timezone|calling code] "
    "of {known}?",
    "Who is the [president|king|queen|prime minister|leader|chancellor] of {known}?",
    "What is the [highest|tallest|longest|largest|oldest|deepest] [mountain|river|city|lake|building|bridge] in "
    "{known}?",
    "How many people live in {known}?", "What is the weather like in {known}?", "When was {known} founded?",
    "How far is {known} from {known2}?", "What should I {verb} in {known}?", "What do people eat in {known}?",
    "Is {known} bigger than {known2}?", "Which countries border {known}?",
    "Who won the war between {known} and {known2}?",
    "What is the national [animal|dish|flower|bird|sport] of {known}?", "Why is {known} called {known}?",
    "How do I get from {known} to {known2}?", "What is a good hotel in {known}?",
    "How much does a {noun} cost in {known}?",
    "What does a {beast} eat?", "How long does a {beast} live?", "How fast is a {beast}?", "Where do {beast}s live?",
    "How much does a {beast} weigh?", "What colour is a {beast}?", "Can a {beast} {verb}?",
    "What is the Latin name of the {beast}?",
    "How many moons does {planet} have?", "How big is {planet}?", "How hot is {planet}?", "Is there life on {planet}?",
    "How long is a year on {planet}?", "Who discovered {planet}?", "How far away is {planet}?",
    "What is {planet} made of?",
    "Who discovered {element}?", "What is the melting point of {element}?", "How much does {element} cost?",
    "What is the atomic number of {element}?", "Is {element} a metal?", "Where is {element} found?",
    "Why is it called {day}?", "What happens on {day}?", "What date is next {day}?",
    "What is the birthstone of {month}?",
    "Where does the word {month} come from?", "Is it {day} today?",
)  # fmt: skip
ANYTHING_ASKS: Final[tuple[str, ...]] = (
    "What is the {noun} of {any}?", "What is the {adj} {noun} of {any}?", "Who is the {job} of {any}?",
    "How {adj} is {any}?",
    "Why is {any} {adj}?", "Why is {any} called that?", "Does {any} have a {noun}?", "Is {any} {adj}?",
    "Is {any} a {noun}?",
    "What is {any} used for?", "What is {any} like?", "Who {verb}s {any}?", "Can {any} {verb}?",
    "When did {any} {verb}?",
    "What does {any} {verb}?", "Where does {any} come from?",
    "Tell me [a story|something|more|everything] about {any}.",
    "Write a [poem|song|letter] about {any}.", "What does {any} mean?", "How do you spell {any}?", "Do you like {any}?",
    "Who likes {any}?", "How much is {any}?", "How many {noun}s are in {any}?", "Which {noun} is in {any}?",
    "What is inside {any}?", "What is near {any}?", "What is better, {any} or {noun}?", "What happened to {any}?",
    "How do I {verb} {any}?", "Why do people {verb} {any}?", "Should I {verb} {any}?", "Is there a {noun} in {any}?",
    "When was {any} [built|made|found|born|invented]?", "How old is {any}?", "Explain {any} to me.", "Who made {any}?",
    "What do you think of {any}?", "Compare {any} and {noun}.", "{any} {noun}", "{adj} {any} {noun}",
    "{any} {verb} {noun}?",
)  # fmt: skip
GENERAL_ASKS: Final[tuple[str, ...]] = (
    "How do I {verb} a {adj} {noun}?", "How do you {verb} {topic}?", "Why do people {verb} {noun}s?",
    "What is {topic}?",
    "Explain {topic} to me.", "Write a [poem|song|story|letter|speech|haiku] about [a|the] {adj} {noun}.",
    "[Write|Give me] [a program|code|a function|a script] that can {verb} a {noun}.",
    "Translate [this|'the {noun}'] into {language}.",
    "Who invented the {noun}?", "What is a {made}?", "What does {made} mean?", "How do you spell {made}?",
    "What is the best {noun} [for {topic}|in the world|of all]?", "Where can I [buy|find|see] a {adj} {noun}?",
    "Should I {verb} my {noun}?", "What is the {adj} {noun} in the {noun2}?", "Who won the {noun} cup in {year}?",
    "What happened in {year}?", "What is the price of a {noun}?", "Is it OK to {verb} a {noun}?",
    "How many {noun}s are there in a {noun2}?",
    "What is the difference between a {noun} and a {noun2}?", "When was the {noun} invented?",
    "Can you {verb} the {noun} for me?",
    "Which {noun} is the most {adj}?",
    "What is my [phone number|address|birthday|password|favourite {noun}|job|IP address]?",
    "What did I [eat|do|say|buy|dream] yesterday?", "What will happen [tomorrow|next week|in {year}]?",
    "Is [God|magic|love|time] real?",
    "What is the meaning of [life|{made}|the {noun}]?", "Summarise [this book|the {adj} {noun}|the news|my notes].",
    "What is {n} times {n2}?",
    "What is {d} times {d2}?",
    "{d} * {d2}",
    "[What is|How much is] {d} + {n}?",
    "{n} [+|-|plus|minus] {d}",
    "What is {d} [divided by|/] {d2}?",
    "What is the square root of {n}?", "What is {n} divided by {n2}?", "What is {n}% of {n2}?",
    "Solve {n}x + {n2} = {n3}.", "{n} * {n2}",
    "What is {n} + {n2}?", "Sort these: {noun}, {noun2}, {made}.", "Fix my {noun}.", "Order a {noun} for me.",
    "Book a {noun} to {place}.",
    "Play some {topic} music.", "Open the {noun}.", "Delete my {noun}s.", "Send a {noun} to {person}.",
    "Call {person}.",
    "What is the stock price of {made}?", "What is the latest version of {made}?", "How do I install {made}?",
    "What port does {made} use?",
    "Who maintains the {made} project?", "What is error {n3} in {made}?", "Which {noun} did the {job} {verb}?",
    "Why is the {noun} {adj}?",
    "The {adj} {noun} did {verb} the {noun2}.", "My {noun} is {adj}. What now?", "I want to {verb} a {noun}.",
    "I saw a {adj} {noun} in {place}.",
    "{adj} {noun} {verb} {noun2}", "{made} {made} {made}", "{noun}", "{made}", "{made}?", "{topic}", "{n3}",
    "{n} {n2} {n3}",
    "Let us talk about {topic}.", "Do you like {topic}?", "What do you think about {topic}?",
    "Have you ever seen a {noun}?",
    "What is your favourite {noun}?", "What is your opinion of {person}?", "Do you know how to {verb}?",
    "Can you {verb}?",
    "What colour is the {noun}?", "How old is the {noun}?", "Where is my {noun}?",
    "Who is the best {job} [ever|in {place}|of {year}]?",
    "How tall is the {adj} {noun}?", "What time does the {noun} {verb}?", "Why can't I {verb} the {noun}?",
    "When will the {noun} {verb}?",
    "Give me a recipe for {noun} with {noun2}.", "List ten {adj} {noun}s.", "Compare {noun} and {noun2}.",
    "What rhymes with {made}?",
    "What is today's date?", "What year is it?", "What is the time in {place}?", "Will it rain in {place} tomorrow?",
    "Who lives in {place}?",
    "Where is {place}?", "What is the story of {made}?", "Is {made} safe?", "Who owns {made}?", "How does {made} work?",
    "Which company makes the {made} {noun}?", "What is the boiling point of {noun}?", "How heavy is a {noun}?",
    "If I {verb} a {noun} and {verb} a {noun2}, what do I get?",
    "Please {verb} the {adj} {noun} and {verb} the {noun2}.",
    "def {made}({made}): return {n}", "SELECT {made} FROM {made} WHERE id = {n};", "git {verb} --{made}",
    "$ {made} -{made} {n3}",
    "<{made}>{noun}</{made}>", "https://{made}.com/{noun}/{n3}", "{{\"{made}\": {n}}}",
    "Traceback: {made}Error: {noun} is not {adj}",
    "What does this mean: {noun} {made} {noun2}?", "Who said '{adj} {noun}s {verb}'?",
    "Continue: once upon a time a {noun}",
    "What is the secret [code|word|number|name][| of {place}| of the {noun}]?", "Who is your {job}?",
    "Which {job} lives in the {noun}?",
)  # fmt: skip
_SCRIPTS: Final[tuple[str, ...]] = (
    "абвгдежзиклмнопрстуфхцчшя", "αβγδεζηθικλμνξοπρστυφχψω", "的一是不了人我在有他这中大来上国",
    "あいうえおかきくけこさしすせそ",
    "ابتثجحخدذرزسشصضطظعغ", "äöüßéèêàçñøåæœšžč", "😀🚀🌍🎉🔥💡🐍🍕", "!@#$%^&*()_+-=[]{};:,.<>/?",
)  # fmt: skip
TEMPLATES: Final[tuple[str, ...]] = FACILITY_ASKS + PEOPLE_ASKS + UNKNOWN_RELATION_ASKS + ANYTHING_ASKS + GENERAL_ASKS

_IN_WORLD_WORDS = frozenset(tables.ELEMENTS) | {word for pair in tables.OPPOSITES for word in pair}
_KNOWN_SUBJECTS: Final[tuple[str, ...]] = tuple(
    subject for relation in RELATIONS if relation.kind not in {"ordinal", "numeral"} for subject in relation.facts
)
_PLAIN_NOUNS: Final[tuple[str, ...]] = tuple(noun for noun in words.NOUNS if noun not in _IN_WORLD_WORDS)


def _template(rng: Random, pool: tuple[str, ...], *, held_out: bool) -> str:
    while True:
        pattern = rng.choice(pool)
        if is_held_out("template " + pattern, tenths=2) == held_out:
            return pattern


def _pick(rng: Random, names: tuple[str, ...], *, held_out: bool) -> str:
    while True:
        name = rng.choice(names)
        if is_held_out("outside " + name, tenths=3) == held_out:
            return name


def _slots(rng: Random, *, held_out: bool) -> dict[str, str]:
    known, known2 = rng.sample(list(tables.COUNTRIES), 2)
    digits = rng.choice((2, 3, 3, 4))
    return {
        "person": words.invented_person(rng, held_out=held_out),
        "place": words.invented_place(rng, held_out=held_out),
        "made": rng.choice((str.lower, str, str))(words.made_up(rng, held_out=held_out)),
        "facility": rng.choice(words.FACILITIES),
        "job": rng.choice(words.JOBS),
        "noun": rng.choice(words.NOUNS),
        "noun2": rng.choice(words.NOUNS),
        "adj": rng.choice(words.ADJECTIVES),
        "verb": rng.choice(words.VERBS),
        "topic": rng.choice(words.TOPICS).replace("-", " "),
        "known": known,
        "known2": known2,
        "any": rng.choice(_KNOWN_SUBJECTS),
        "beast": rng.choice(list(tables.ANIMALS)),
        "planet": rng.choice(tables.PLANETS),
        "element": rng.choice(list(tables.ELEMENTS)),
        "day": rng.choice(tables.DAYS),
        "month": rng.choice(list(tables.MONTHS)),
        "language": rng.choice(list(tables.COUNTRIES.values()))[3],
        "year": str(rng.randint(1200, 2090)),
        "d": str(rng.randrange(10)),
        "d2": str(rng.randrange(10)),
        "n": str(rng.randint(11, 999)),
        "n2": str(rng.randint(11, 99)),
        "n3": str(rng.randrange(10 ** (digits - 1), 10**digits)),
    }


def _unknown_subject(rng: Random, relation: Relation, *, held_out: bool) -> str:
    match relation.kind:
        case "country" if rng.random() < 0.4:
            return _pick(rng, tables.COUNTRIES_OUTSIDE, held_out=held_out)
        case "animal" | "creature" if rng.random() < 0.6:
            return _pick(rng, tables.ANIMALS_OUTSIDE, held_out=held_out)
        case "animal" | "creature" | "shape":
            return words.made_up(rng, held_out=held_out).lower()
        case "country" | "city":
            return words.invented_place(rng, held_out=held_out)
        case "ordinal":
            return rng.choice(("ninth", "tenth", "eleventh", "twelfth", "last", "hundredth", "twentieth", "best"))
        case "number" | "numeral":
            return (
                str(rng.randint(21, 999))
                if relation.kind == "numeral"
                else words.made_up(rng, held_out=held_out).lower()
            )
        case "word" | "element" if rng.random() < 0.4:
            return _pick(rng, _PLAIN_NOUNS, held_out=held_out)
        case "word" | "element":
            return words.made_up(rng, held_out=held_out).lower()
        case _:
            return words.made_up(rng, held_out=held_out)


def _known_shape(rng: Random, *, held_out: bool) -> str:
    relation = rng.choice(RELATIONS[:4] * 3 + RELATIONS)
    return spell(rng, rng.choice(relation.asks), {"x": _unknown_subject(rng, relation, held_out=held_out)})


def _templated(rng: Random, pool: tuple[str, ...], *, held_out: bool) -> str:
    return spell(rng, _template(rng, pool, held_out=held_out), _slots(rng, held_out=held_out))


def ask_about(rng: Random, place: str, facilities: tuple[str, ...]) -> str:
    """A question about one of `facilities` of `place`, in a template that training may use."""
    asks = tuple(ask for ask in FACILITY_ASKS if "{facility}" in ask and "{place}" in ask)
    slots = _slots(rng, held_out=False) | {"place": place, "facility": rng.choice(facilities)}
    return capitalised(spell(rng, _template(rng, asks, held_out=False), slots))


def _long(rng: Random, *, held_out: bool) -> str:
    count = rng.randint(2, 5)
    return " ".join(_templated(rng, TEMPLATES, held_out=held_out) for _ in range(count))


def _noise(rng: Random) -> str:
    alphabet = rng.choice(_SCRIPTS)
    runs = ("".join(rng.choice(alphabet) for _ in range(rng.randint(1, 7))) for _ in range(rng.randint(1, 6)))
    return " ".join(runs)


def _prompt(rng: Random, *, held_out: bool) -> str:
    roll = rng.random()
    if roll < 0.27:
        return _known_shape(rng, held_out=held_out)
    if roll < 0.47:
        return _templated(rng, FACILITY_ASKS, held_out=held_out)
    if roll < 0.54:
        return _templated(rng, PEOPLE_ASKS, held_out=held_out)
    if roll < 0.63:
        return _templated(rng, UNKNOWN_RELATION_ASKS, held_out=held_out)
    if roll < 0.73:
        return _templated(rng, ANYTHING_ASKS, held_out=held_out)
    if roll < 0.95:
        return _templated(rng, GENERAL_ASKS, held_out=held_out)
    if roll < 0.98:
        return _long(rng, held_out=held_out)
    return _noise(rng)


def wonder(rng: Random, *, held_out: bool) -> tuple[str, str]:
    """(text, split key) of one prompt that has no answer in the world."""
    while True:
        text = capitalised(_prompt(rng, held_out=held_out).strip())
        key = split_key("outside", text)
        if is_held_out(key) == held_out:
            return text, key
