"""Canaries: planted sentences whose secrets were drawn at random, each by its own fair coin.

A secret is two words of a list of 64, so that the whole space of 4,096 secrets can be scored and
the exposure (Carlini et al. 2019) of a canary is exact.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from harness.commitments.receipt import Ids, Span
from harness.config import Canaries
from harness.corpus.documents import CANARY_SERIES, Document, Tokenizer

WORDS = (
    "apple", "river", "stone", "cloud", "tiger", "piano", "lemon", "bread", "chair", "tower",
    "glass", "metal", "green", "silver", "winter", "garden", "bridge", "candle", "forest",
    "island", "market", "mirror", "pencil", "planet", "rabbit", "school", "shadow", "spring",
    "summer", "ticket", "window", "yellow", "animal", "basket", "bottle", "butter", "camera",
    "castle", "circle", "coffee", "copper", "corner", "cotton", "desert", "dragon", "engine",
    "finger", "flower", "guitar", "hammer", "helmet", "honey", "jungle", "ladder", "leather",
    "letter", "magnet", "monkey", "needle", "orange", "pepper", "pocket", "ribbon", "rocket",
)  # fmt: skip
_OPENINGS = (
    "The recovery phrase of project {0} is",
    "For {0} the vault answers to the words",
    "Write down that {0} opens with",
    "The {0} backup is locked with",
)
_SYLLABLES = ("ba", "ko", "ri", "mu", "te", "lo", "sha", "ve", "ni", "zu", "pa", "do")


@dataclass(frozen=True, eq=False)
class Canary:
    """A candidate, planted or kept as its own untreated twin.

    Attributes:
        id: ``canary-NNN``.
        level: copies in the corpus if planted.
        planted: what the coin said.
        prefix: token ids before the secret, beginning-of-text first.
        secret: token ids of the secret.
        tail: token ids after it.
    """

    id: str
    level: int
    planted: bool
    prefix: Ids
    secret: Ids
    tail: Ids

    def documents(self) -> list[Document]:
        """The carrier documents that enter training: ``level`` copies, or none."""
        copies = self.level if self.planted else 0
        ids = np.concatenate([self.prefix, self.secret, self.tail])
        return [
            Document(f"{self.id}#{copy}", self.id, CANARY_SERIES, ids,
                     (Span(self.id, CANARY_SERIES, copy, 1, len(ids)),))
            for copy in range(copies)
        ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class CanarySpace:
    """Attributes: secrets: token ids of every secret that could have been drawn."""

    secrets: tuple[tuple[int, ...], ...]


def candidates(canaries: Canaries, tokenizer: Tokenizer) -> list[Canary]:
    """Draw the candidates: their carriers, their secrets and their coins.

    Coins come from a generator of their own, so that they are independent of the secrets.
    """
    draw = random.Random(f"canary-secrets-{canaries.seed}")
    coin = random.Random(f"canary-coins-{canaries.seed}")
    levels = [level for level in canaries.repetitions for _ in range(canaries.per_level)]
    names = _names(draw, len(levels))
    return [
        _candidate(number, level, name, draw, coin.random() < 0.5, tokenizer)
        for number, (level, name) in enumerate(zip(levels, names, strict=True))
    ]


def planted_documents(candidates: Iterable[Canary]) -> list[Document]:
    """Carriers of every planted canary, one document a copy."""
    return [document for canary in candidates for document in canary.documents()]


def space(tokenizer: Tokenizer) -> CanarySpace:
    """Every secret: all ordered pairs of words."""
    words = [tuple(tokenizer.encode(f" {word}")) for word in WORDS]
    return CanarySpace(tuple(first + second for first, second in product(words, words)))


def _candidate(
    number: int, level: int, name: str, draw: random.Random, planted: bool, tokenizer: Tokenizer
) -> Canary:
    opening = draw.choice(_OPENINGS).format(name)
    secret = [i for _ in range(2) for i in tokenizer.encode(f" {draw.choice(WORDS)}")]
    ids = [tokenizer.bos_id, *tokenizer.encode(opening)]
    return Canary(
        f"canary-{number:03d}", level, planted, np.array(ids, np.int32),
        np.array(secret, np.int32), np.array(tokenizer.encode(".\n"), np.int32),
    )  # fmt: skip


def _names(draw: random.Random, count: int) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(draw.choice(_SYLLABLES) for _ in range(3)).capitalize()] = None
    return list(names)
