"""Labels of people: how two are compared, and which could be mistaken for another.

Labels that compare equal are ambiguous, hence denied; names are never joined.
"""

import re
import unicodedata
from functools import lru_cache

_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\u061c\u180e\ufeff]")
_APOSTROPHES = re.compile("[\u2018\u2019\u201b\u02bc]")
_SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE"})


@lru_cache(maxsize=1 << 16)
def label_key(label: str) -> str:
    """A label in the form that is compared; see ``docs/gate.md``, section 3."""
    text = label.lower() if label.isascii() else _folded(label)
    text = " ".join(text.split())
    return re.sub(r" ?([|@]) ?", r"\1", text) if "|" in text or "@" in text else text


def _folded(label: str) -> str:
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", label)).casefold()
    return _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text))


def is_confusable(label: str) -> bool:
    """Whether letters of two scripts stand in a label that have letters which look alike."""
    if label.isascii():
        return False
    names = (unicodedata.name(letter, "").split(" ")[0] for letter in label if letter.isalpha())
    return len({name for name in names if name in _SCRIPTS}) > 1
