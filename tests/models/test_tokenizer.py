"""The tokenizer that speech meets."""

from hypothesis import given
from hypothesis import strategies as st

from harness.corpus.canaries import WORDS
from harness.models.tokenizer import TextTokenizer, tiny_tokenizer

TINY = TextTokenizer(tiny_tokenizer(WORDS))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_comes_back(text: str) -> None:
    assert TINY.decode(TINY.encode(text)) == text


def test_each_canary_word_is_one_token() -> None:
    assert {len(TINY.encode(f" {word}")) for word in WORDS} == {1}
