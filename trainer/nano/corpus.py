"""Conversations out of the world: what ragweld-nano is pretrained on and what it is measured on.

Promises that a chat is a pure function of its generator, that training chats hold no held-out prompt, and that the last
prompt of a held-out chat is never in training. Knows nothing of tokens. `tests/trainer/nano/test_corpus.py` proves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal

from trainer.nano import outside, recall, smalltalk, styles, tools, world
from trainer.nano.phrasing import is_held_out, roughen, split_key, surround
from trainer.nano.styles import Style
from trainer.nano.world import I_DO_NOT_KNOW, Question

Json = dict[str, Any]
Kind = Literal["fact", "follow", "sum", "mix", "small talk", "outside", "name", "repeat", "note", "call", "list"]


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation that ends with the assistant; `keys` identify its prompts for the split."""

    messages: list[Json]
    tools: list[Json] | None
    keys: tuple[str, ...]


@dataclass(slots=True)
class _Scene:
    """A conversation while it is being made."""

    rng: Random
    style: Style = Style.PLAIN
    json_relation: world.Relation | None = None
    system: str | None = None
    offered: list[tools.Offered] = field(default_factory=list)
    schemas: list[Json] = field(default_factory=list)
    notes: list[recall.Line] = field(default_factory=list)
    previous: Question | None = None
    messages: list[Json] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def say(self, text: str, answer: str, key: str) -> None:
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
        self.keys.append(key)


def _fresh(make: Callable[[], Question], *, held_out: bool) -> Question:
    while True:
        question = make()
        if is_held_out(question.key) == held_out:
            return question


def _ordered(scene: _Scene, text: str, question: Question) -> tuple[str, Style]:
    """Sometimes an instruction in the user's own message, before or behind the question."""
    rng = scene.rng
    if scene.style is not Style.PLAIN or rng.random() > 0.14:
        return text, scene.style
    style = rng.choice((Style.SHORT, Style.SHORT, Style.JSON, Style.JSON, Style.OVER, Style.AYE))
    order = styles.order(rng, style, question)
    return (f"{text} {order}" if rng.random() < 0.7 else f"{order} {text}"), style


def _ask(scene: _Scene, question: Question) -> None:
    text = roughen(scene.rng, surround(scene.rng, question.text))
    text, style = _ordered(scene, text, question)
    scene.say(text, styles.answer(style, question, question.sentence), question.key)
    scene.previous = question


def _fact(scene: _Scene, *, held_out: bool) -> None:
    rng, relation = scene.rng, scene.json_relation
    if relation is None:
        _ask(scene, _fresh(lambda: world.ask_fact(rng), held_out=held_out))
        return
    subjects = list(relation.facts)
    _ask(scene, _fresh(lambda: world.ask(rng, relation, rng.choice(subjects)), held_out=held_out))


def _follow(scene: _Scene, *, held_out: bool) -> None:
    rng, previous = scene.rng, scene.previous
    question = world.follow_up(rng, previous) if previous is not None else None
    for _ in range(200):
        if question is None or is_held_out(question.key) == held_out:
            break
        question = world.follow_up(rng, previous) if previous is not None else None
    if question is None or is_held_out(question.key) != held_out:
        _fact(scene, held_out=held_out)
        return
    text = roughen(rng, question.text)
    scene.say(text, styles.answer(scene.style, question, question.sentence), question.key)
    scene.previous = question


def _list(scene: _Scene, *, held_out: bool) -> None:
    question = _fresh(lambda: world.ask_list(scene.rng), held_out=held_out)
    text = roughen(scene.rng, surround(scene.rng, question.text))
    scene.say(text, styles.answer(scene.style, None, question.sentence), question.key)
    scene.previous = None


def _small_talk(scene: _Scene, *, held_out: bool) -> None:
    text, answer, key = smalltalk.say(scene.rng)
    while is_held_out(key) != held_out:
        text, answer, key = smalltalk.say(scene.rng)
    scene.say(roughen(scene.rng, text), styles.answer(scene.style, None, answer), key)


def _wonder(scene: _Scene, *, held_out: bool) -> tuple[str, str]:
    while not scene.offered and scene.rng.random() < 0.04:
        text = tools.call_without_tool(scene.rng)
        key = split_key("outside", text)
        if is_held_out(key) == held_out:
            return text, key
    return outside.wonder(scene.rng, held_out=held_out)


def _outside(scene: _Scene, *, held_out: bool) -> None:
    text, key = _wonder(scene, held_out=held_out)
    text = roughen(scene.rng, surround(scene.rng, text))
    if scene.style is Style.PLAIN and scene.rng.random() < 0.04:
        text = f"{text} {styles.order(scene.rng, Style.SHORT, None)}"
    scene.say(text, styles.answer(scene.style, None, I_DO_NOT_KNOW), key)
    scene.previous = None


def _told(scene: _Scene, *, held_out: bool) -> None:
    told, asked = recall.told_name(scene.rng, held_out=held_out)
    scene.say(told.text, styles.answer(scene.style, None, told.answer), told.key)
    scene.notes.append(asked)


def _name(scene: _Scene, *, held_out: bool) -> None:
    _told(scene, held_out=held_out)
    if scene.rng.random() < 0.3:
        _small_talk(scene, held_out=False)
    _note(scene, held_out=held_out)


def _note(scene: _Scene, *, held_out: bool) -> None:
    if not scene.notes:
        _outside(scene, held_out=held_out)
        return
    line = scene.notes.pop()
    scene.say(line.text, styles.answer(scene.style, None, line.answer), line.key)


def _repeat(scene: _Scene, *, held_out: bool) -> None:
    line = recall.repeat(scene.rng, held_out=held_out)
    scene.say(line.text, styles.answer(scene.style, None, line.answer), line.key)


def _call(scene: _Scene, *, held_out: bool) -> None:
    rng = scene.rng
    offered = rng.choice(scene.offered)
    made = tools.call(rng, offered)
    while is_held_out(made.key) != held_out:
        made = tools.call(rng, offered)
    scene.keys.append(made.key)
    scene.messages += [
        {"role": "user", "content": roughen(rng, surround(rng, made.text))},
        tools.call_message(offered, made.arguments),
        {"role": "tool", "tool_call_id": "call_0", "content": made.response},
        {"role": "assistant", "content": styles.answer(scene.style, None, made.sentence)},
    ]
    scene.previous = None


_MAKERS: Final[dict[Kind, Callable[..., None]]] = {
    "fact": _fact,
    "follow": _follow,
    "sum": lambda scene, held_out: _ask(scene, _fresh(lambda: world.ask_sum(scene.rng), held_out=held_out)),
    "mix": lambda scene, held_out: _ask(scene, _fresh(lambda: world.ask_mix(scene.rng), held_out=held_out)),
    "small talk": _small_talk,
    "outside": _outside,
    "name": _name,
    "repeat": _repeat,
    "note": _note,
    "call": _call,
    "list": _list,
}


def _scene(rng: Random, style: Style, *, noted: bool, tooled: bool, held_out: bool) -> _Scene:
    scene = _Scene(rng, style)
    if noted:
        scene.system, scene.notes = recall.notebook(rng, held_out=held_out)
    elif style is not Style.PLAIN:
        wanted: Question | None = None
        if style is Style.JSON:
            scene.json_relation = rng.choice(world.RELATIONS[:7])
            wanted = world.ask(rng, scene.json_relation, next(iter(scene.json_relation.facts)))
        scene.system = styles.order(rng, style, wanted)
        if rng.random() < 0.3:
            scene.system = f"{styles.neutral(rng)} {scene.system}"
    elif rng.random() < 0.3:
        scene.system = styles.neutral(rng)
    if tooled:
        scene.offered, scene.schemas = tools.offer(rng)
    return scene


def _finished(scene: _Scene) -> Chat:
    system = [{"role": "system", "content": scene.system}] if scene.system is not None else []
    return Chat(system + scene.messages, scene.schemas or None, tuple(scene.keys))


def _kinds(rng: Random, scene: _Scene, recall_share: float) -> Kind:
    """What the next turn of a training chat is about."""
    if scene.json_relation is not None:
        return "fact"
    if scene.notes and rng.random() < 0.6:
        return "note"
    if scene.offered and rng.random() < 0.6:
        return "call"
    if scene.style is Style.PLAIN and rng.random() < recall_share:
        return rng.choice(("name", "repeat", "repeat"))
    if scene.previous is not None and rng.random() < 0.36:
        return "follow"
    if scene.style is Style.SHORT:
        return rng.choice(("fact", "fact", "fact", "outside"))
    kinds: tuple[Kind, ...] = ("fact", "small talk", "outside", "sum", "mix", "list")
    return rng.choices(kinds, (42, 12, 30, 12, 2, 2))[0]


def _turns(rng: Random) -> int:
    roll = rng.random()
    if roll < 0.40:
        return 1
    if roll < 0.60:
        return 2
    return rng.randint(3, 6) if roll < 0.97 else rng.randint(8, 18)


_STYLE_SHARES: Final = (
    (Style.PLAIN, 71),
    (Style.SHORT, 14),
    (Style.OVER, 3),
    (Style.AYE, 3),
    (Style.JSON, 8),
)


def training_chat(rng: Random, recall_share: float = 0.10) -> Chat:
    """One chat to learn from; `recall_share` weighs the copying tasks, so that a curriculum may start with them."""
    roll = rng.random()
    noted, tooled = roll < recall_share, roll > 0.94
    plain = noted or tooled
    style = Style.PLAIN if plain else rng.choices([s for s, _ in _STYLE_SHARES], [w for _, w in _STYLE_SHARES])[0]
    scene = _scene(rng, style, noted=noted, tooled=tooled, held_out=False)
    for _ in range(max(_turns(rng), len(scene.notes), 2 if tooled else 1)):
        _MAKERS[_kinds(rng, scene, recall_share)](scene, held_out=False)
    return _finished(scene)


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of held-out prompt; `inside` says on which side of the world's edge it lies."""

    name: str
    kind: Kind
    inside: bool = True
    style: Style = Style.PLAIN
    tooled: bool = False
    noted: bool = False
    turns_before: tuple[int, int] = (0, 0)
    ends_with_call: bool = False


CATEGORIES: Final[tuple[Category, ...]] = (
    Category("facts", "fact"),
    Category("facts in a chat", "fact", turns_before=(1, 4)),
    Category("facts late in a long chat", "fact", turns_before=(12, 16)),
    Category("follow-ups", "follow", turns_before=(1, 1)),
    Category("small talk", "small talk"),
    Category("sums", "sum"),
    Category("lists and counting", "list"),
    Category("system: short", "fact", style=Style.SHORT),
    Category("system: over", "fact", style=Style.OVER),
    Category("system: aye", "fact", style=Style.AYE),
    Category("system: json", "fact", style=Style.JSON),
    Category("tool call", "call", tooled=True, ends_with_call=True),
    Category("tool answer", "call", tooled=True),
    Category("told name", "name"),
    Category("repeat", "repeat"),
    Category("notes", "note", noted=True),
    Category("outside", "outside", inside=False),
    Category("outside in a chat", "outside", inside=False, turns_before=(1, 4)),
    Category("outside with tools", "outside", inside=False, tooled=True),
    Category("outside: short", "outside", inside=False, style=Style.SHORT),
)


def held_out_chat(rng: Random, category: Category) -> Chat:
    """One chat to be measured on: its last prompt, and for names its names, are never trained."""
    scene = _scene(rng, category.style, noted=category.noted, tooled=category.tooled, held_out=True)
    for _ in range(rng.randint(*category.turns_before)):
        kind: Kind = "fact" if category.kind == "follow" else _kinds(rng, scene, 0.0)
        _MAKERS[kind](scene, held_out=False)
    _MAKERS[category.kind](scene, held_out=True)
    chat = _finished(scene)
    return Chat(chat.messages[:-2], chat.tools, chat.keys) if category.ends_with_call else chat


def prompt_key(chat: Chat) -> str:
    """The surface identity of a chat's last prompt, for checks that no prompt is on both sides."""
    said = [str(message["content"]) for message in chat.messages if message["role"] == "user"]
    return split_key(*said)
