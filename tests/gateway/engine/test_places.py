"""Places of tokens in their text, by ragweld-nano's own tokenizer and by hand."""

from __future__ import annotations

import pytest

from catalog.base.load import load_tokenizer
from catalog.base.locate import NANO_FOLDER
from gateway.engine.places import Places

BYTES = {0: b"<s>", 1: "€".encode()[:1], 2: "€".encode()[1:], 3: b" a", 4: b"b", 5: b"\xff", 6: "é".encode()}
START = 0


def decode(tokens: list[int]) -> str:
    """As decoders do that drop the space a text begins with."""
    return b"".join(BYTES[token] for token in tokens).decode(errors="replace").removeprefix(" ")


@pytest.mark.parametrize(
    "text", ["Hello, world!", "  two  spaces ", "naïve 日本語 🙂 end", "<|im_start|>user\nhi<|im_end|>"]
)
def test_every_token_of_a_real_tokenizer_begins_where_its_text_does(text: str) -> None:
    tokenizer = load_tokenizer(NANO_FOLDER)
    tokens = tokenizer.encode(text)
    places = Places(tokenizer.decode, frozenset(tokenizer.all_special_ids)).of_prompt(tokens, text)
    assert places[0] == 0 and places == sorted(places)
    for before, place in enumerate(places):
        settled = tokenizer.decode(tokens[:before])
        if not settled.endswith("\ufffd"):
            assert text[:place] == settled


def test_a_character_of_several_tokens_begins_with_all_of_them() -> None:
    assert Places(decode, ()).of_prompt([4, 1, 2, 4], "b€b") == [0, 1, 1, 2]


def test_a_space_is_kept_behind_other_text_and_goes_on_into_the_answer() -> None:
    places = Places(decode, ())
    assert places.of_prompt([4, 3], "b a") == [0, 1]
    assert [places.next(3), places.next(4)] == [3, 5]


def test_what_the_tokenizer_puts_before_a_text_has_no_place_of_its_own() -> None:
    assert Places(decode, {START}).of_prompt([START, 4, 4], "bb") == [0, 0, 1]
    assert Places(decode, {START}).of_prompt([START, 4], "<s>b") == [0, 3]


def test_an_answer_begins_where_its_prompt_ends_though_that_was_written_otherwise() -> None:
    places = Places(decode, ())
    assert places.of_prompt([4, 6], "be\u0301") == [0, 1]
    assert places.next(4) == 3


def test_bytes_that_are_no_character_end_after_the_longest() -> None:
    places = Places(decode, ())
    assert [places.next(5) for _ in range(4)] == [0, 0, 0, 0]
    assert places.next(4) == 4
