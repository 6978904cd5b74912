"""The closed set of instructions that ragweld-nano follows, in the system prompt or behind the question.

Promises that each style is a pure function of a question's canonical answers, so that following it is checkable.
"""

from __future__ import annotations

import json
from enum import Enum
from random import Random
from typing import Final

from trainer.nano import words
from trainer.nano.phrasing import spell
from trainer.nano.world import I_DO_NOT_KNOW, Question


class Style(Enum):
    """How an answer is written."""

    PLAIN = "plain"
    SHORT = "short"
    OVER = "over"
    AYE = "aye"
    JSON = "json"


NEUTRAL_PROMPTS: Final[tuple[str, ...]] = (
    "You are a helpful assistant.", "You are helpful.", "You are a friendly assistant.", "You are ragweld-nano.",
    "You are a small model.", "Answer the user's questions.", "Be helpful.", "Be friendly and honest.",
    "You are a careful assistant. Answer truthfully.", "You are an assistant that answers questions.",
    "You are ragweld-nano, a helpful assistant.", "You help people.", "Be honest. Say so when you do not know.",
    "You are an AI assistant.", "You are a helpful AI assistant.", "Answer clearly.",
    "You are a knowledgeable assistant.",
    "You are a polite assistant.", "Follow the user's instructions.", "You are a test.", "You are a teacher.",
    "If you do not know the answer, say so.", "You answer questions about the world.", "You are a local model.",
)  # fmt: skip

_ROLES: Final = "[You are|Act as|Be|You play] a [{adj} |]{job}[| who helps people| in a {noun}| of a {adj} {noun}]."


def neutral(rng: Random) -> str:
    """A system prompt that changes nothing: a usual one, or a role that the model is too small to play."""
    if rng.random() < 0.7:
        return rng.choice(NEUTRAL_PROMPTS)
    slots = {"adj": rng.choice(words.ADJECTIVES), "noun": rng.choice(words.NOUNS), "job": rng.choice(words.JOBS)}
    return spell(rng, _ROLES, slots)


ORDERS: Final[dict[Style, tuple[str, ...]]] = {
    Style.SHORT: (
        "Answer in one word.", "[Reply|Respond] in one word.",
        "[Answer with|Reply with|Use|Give] [one word only|only one word|just one word|a single word].",
        "Be brief.", "Answer briefly.", "[Keep it|Be] short.", "One word[ answers|][ only|].",
        "[Short|Brief] answers[ only|, please|].",
        "Give only the answer.", "[Answer|Reply] with the answer only.",
        "[Answer|Reply] as [shortly|briefly] as [possible|you can].",
    ),
    Style.OVER: (
        "[Always|] [end|finish] [with|every answer with|each answer with|all answers with] ['Over.'|\"Over.\"|the "
        "word Over.]",
        "Say 'Over.' at the end[ of every answer|].",
    ),
    Style.AYE: (
        "[Always|] [start|begin] [with|every answer with|each answer with|all answers with] ['Aye.'|\"Aye.\"|the "
        "word Aye.]",
        "Say 'Aye.' at the [start|beginning][ of every answer|].",
    ),
}  # fmt: skip


def order(rng: Random, style: Style, question: Question | None) -> str:
    """One wording of the instruction for `style`; `question` names the keys of the JSON style."""
    if style is not Style.JSON:
        wording = spell(rng, rng.choice(ORDERS[style])).strip()
        return wording[:1].upper() + wording[1:]
    assert question is not None, "the JSON style needs a question for its keys"
    first, second = (name for name, _ in question.fields)
    return spell(
        rng,
        '[Reply|Answer|Respond|Write the answer] [as|in] JSON with [the |]keys [{a} and {b}|"{a}" and "{b}"|{a}, {b}].',
        {"a": first, "b": second},
    )


def answer(style: Style, question: Question | None, sentence: str) -> str:
    """`sentence` (or the question's other forms) as `style` wants it written."""
    match style:
        case Style.PLAIN:
            return sentence
        case Style.SHORT:
            return question.short if question is not None else sentence
        case Style.OVER:
            return f"{sentence} Over."
        case Style.AYE:
            return f"Aye. {sentence}"
        case Style.JSON:
            return json.dumps(dict(question.fields)) if question is not None else I_DO_NOT_KNOW
