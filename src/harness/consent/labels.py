"""Labels of people: how two are compared, and which could be mistaken for another.

Labels that compare equal are ambiguous, hence denied; names are never joined.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import Mask
from harness.consent.columns import letters, rows_with
from harness.consent.invisible import visible

_APOSTROPHES = re.compile("[\u2018\u2019\u201b\u02bc]")
_SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE"})


@lru_cache(maxsize=1 << 16)
def label_key(label: str) -> str:
    """A label in the form that is compared; see ``docs/gate.md``, section 3."""
    text = label.lower() if label.isascii() else _folded(label)
    text = " ".join(text.split())
    return re.sub(r" ?([|@]) ?", r"\1", text) if "|" in text or "@" in text else text


def _folded(label: str) -> str:
    text = visible(unicodedata.normalize("NFKC", label)).casefold()
    return _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text))


def is_confusable(label: str) -> bool:
    """Whether letters of two scripts stand in a label that have letters which look alike."""
    if label.isascii():
        return False
    names = (unicodedata.name(letter, "").split(" ")[0] for letter in label if letter.isalpha())
    return len({name for name in names if name in _SCRIPTS}) > 1


def compared(labels: pa.Array) -> tuple[pa.Array, Mask]:
    """:func:`label_key` and :func:`is_confusable` of each label of a column."""
    odd = _is_odd(labels)
    lower, found = pc.ascii_lower(labels), np.zeros(len(labels), bool)
    if odd.any():
        keys = _each(label_key, labels, odd, pa.string())
        lower = pc.replace_with_mask(lower, pa.array(odd), keys)
        strange = _each(is_confusable, labels, odd, pa.bool_())
        found[odd] = strange.to_numpy(zero_copy_only=False)
    return lower, found


def _each(of: Callable[[str], Any], labels: pa.Array, rows: Mask, kind: pa.DataType) -> pa.Array:
    return pa.array([of(label) for label in labels.filter(pa.array(rows)).to_pylist()], kind)


def _is_odd(labels: pa.Array) -> Mask:
    """Where more than the case of ASCII letters may differ between a label and its key."""
    text, ends = letters(labels)
    space = text == ord(" ")
    strange = (text >= 0x7F) | (text < 0x20) | (text == ord("|")) | (text == ord("@"))
    strange[1:] |= space[1:] & space[:-1]
    found = rows_with(strange, ends)
    filled = np.flatnonzero(ends[1:] > ends[:-1])
    found[filled] |= space[ends[filled]] | space[ends[filled + 1] - 1]
    return found
