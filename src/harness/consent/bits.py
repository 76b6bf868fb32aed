"""Sets of reason codes as the bits of one number for each row, so that they stay small."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from harness.consent.reasons import REASONS, About

Codes = npt.NDArray[np.uint64]
"""One set of codes a row; which code a bit stands for, its :class:`Alphabet` says."""
Mask = npt.NDArray[np.bool_]


class Alphabet:
    """The codes of one kind, each with its bit, in the order of their numbers.

    Args:
        about: kind of code.
    """

    def __init__(self, about: About) -> None:
        self.codes = [code for code, reason in REASONS.items() if reason.about is about]
        self._bits = {code: np.uint64(1 << place) for place, code in enumerate(self.codes)}

    def bit(self, code: str) -> np.uint64:
        """The number that stands for one code alone."""
        return self._bits[code]

    def of(self, codes: Iterable[str]) -> np.uint64:
        """The number that stands for some codes."""
        return np.uint64(sum({int(self.bit(code)) for code in codes}))

    def where(self, rows: int, found: Mapping[str, Mask | np.bool_ | bool]) -> Codes:
        """Codes of ``rows`` rows: each code where its condition holds."""
        bits = np.zeros(rows, np.uint64)
        for code, condition in found.items():
            if np.any(condition):
                bits |= np.asarray(condition).astype(np.uint64) * self.bit(code)
        return bits

    def names(self, number: int | np.uint64) -> tuple[str, ...]:
        """The codes that a number stands for."""
        value = int(number)
        return tuple(code for place, code in enumerate(self.codes) if value >> place & 1)


PERSON = Alphabet(About.PERSON)
MEETING = Alphabet(About.MEETING)
