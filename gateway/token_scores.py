"""Logprobs in the form of OpenAI's older completions: four lists with an entry for each token, in the text's order.

A prompt's first token has none, which is null. `top_logprobs` holds the token itself besides the best ones, as OpenAI
says; of several tokens that look alike as text it holds the best. `tests/gateway/test_completions.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.engine.requests import TokenLogprob
from gateway.ports import Voice
from gateway.wire.completion import TokenLogprobs


class TokenScores:
    """The logprobs of one text, written as its tokens come. With `top` 0 no alternatives."""

    def __init__(self, voice: Voice, top: int) -> None:
        self._voice = voice
        self._top = top
        self._places = voice.places()

    def of_prompt(self, tokens: Sequence[int], text: str, scores: Sequence[TokenLogprob]) -> TokenLogprobs:
        """Of a prompt that is echoed as `text`; `scores` begin with its second token. Takes as long as it is long."""
        places = self._places.of_prompt(tokens, text)
        written = self._written(scores, places[1:])
        return TokenLogprobs(
            [self._voice.token_text(tokens[0]), *written.tokens],
            [None, *written.token_logprobs],
            None if written.top_logprobs is None else [None, *written.top_logprobs],
            places,
        )

    def of_answer(self, scores: Sequence[TokenLogprob]) -> TokenLogprobs:
        """Of the answer's next tokens."""
        return self._written(scores, [self._places.next(score.token_id) for score in scores])

    def _written(self, scores: Sequence[TokenLogprob], places: list[int]) -> TokenLogprobs:
        return TokenLogprobs(
            [self._voice.token_text(score.token_id) for score in scores],
            [score.logprob for score in scores],
            [self._alternatives(score) for score in scores] if self._top else None,
            places,
        )

    def _alternatives(self, score: TokenLogprob) -> dict[str, float]:
        found: dict[str, float] = {}
        for token, logprob in (*score.top, (score.token_id, score.logprob)):
            found.setdefault(self._voice.token_text(token), logprob)
        return found


def joined(first: TokenLogprobs, then: TokenLogprobs) -> TokenLogprobs:
    """One text's logprobs behind another's."""
    top = None if first.top_logprobs is None else [*first.top_logprobs, *(then.top_logprobs or ())]
    return TokenLogprobs(
        [*first.tokens, *then.tokens],
        [*first.token_logprobs, *then.token_logprobs],
        top,
        [*first.text_offset, *then.text_offset],
    )
