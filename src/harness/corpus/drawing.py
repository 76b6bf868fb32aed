"""Which documents a step of a private training draws (Poisson sampling)."""

import numpy as np

from harness.errors import UsageError


def drawn(documents: int, rate: float, step: int, seed: int) -> list[int]:
    """Numbers of the documents that a step draws: each with probability ``rate``, independently.

    A pure function of seed and step. The bound on epsilon counts on nobody knowing who was drawn;
    whoever knows the seed does. Philox is no cryptographic generator.

    Args:
        documents: in the corpus.
        rate: probability of each; 1 draws all.
        step: from 0.
        seed: from 0.

    Returns:
        Ascending numbers; none of them in some steps, which are noised and counted like others.

    Raises:
        UsageError: ``PRIVACY_VALUE`` for a rate that is no probability above 0.
    """
    if not 0 < rate <= 1:
        raise UsageError("PRIVACY_VALUE", f"{rate} is not above 0 and at most 1", "rate",
                         "correct it")  # fmt: skip
    # the high word of the counter keeps these numbers apart from packing.epoch_order's
    bits = np.random.Philox(key=[seed, step], counter=[0, 0, 0, 1])
    return [int(i) for i in np.flatnonzero(np.random.Generator(bits).random(documents) < rate)]
