"""The tiny tokenizer."""

import pytest

from harness.corpus.canaries import WORDS
from harness.models.tokenizer import TextTokenizer, tiny_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    """Bytes, and the canary words as single tokens."""
    return TextTokenizer(tiny_tokenizer(WORDS))
