"""Numbers and addresses as they are said: "four one five …", "ada dot example at gmail dot com".

Transcripts spell out what people say. Runs of number words become digits, and a spoken address its
written form, each with the place in the text that it stands for; patterns then look at these.
"""

import re
from typing import NamedTuple

_DIGITS = {
    "zero": "0", "oh": "0", "o": "0", "one": "1", "two": "2", "three": "3", "four": "4",
    "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_TEENS = {
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
}  # fmt: skip
_TENS = {
    "twenty": "2", "thirty": "3", "forty": "4", "fifty": "5", "sixty": "6", "seventy": "7",
    "eighty": "8", "ninety": "9",
}  # fmt: skip
_TIMES = {"double": 2, "triple": 3}
_FEWEST = 5
_NUMBER = "|".join([*_DIGITS, *_TEENS, *_TENS, *_TIMES, "hundred", r"\d{1,4}"])
_RUN = re.compile(
    rf"\b(?:plus[ ,-]+)?(?:{_NUMBER})(?:[ ,.-]+(?:{_NUMBER}))" + f"{{{_FEWEST - 1},}}" + r"\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]+|\d+")
_SIGNS = {"dot": ".", "period": ".", "point": ".", "dash": "-", "hyphen": "-", "minus": "-",
          "underscore": "_", "plus": "+"}  # fmt: skip
_SIGN = "|".join(_SIGNS)
_PART = r"[A-Za-z0-9_+.-]{1,64}"
_ADDRESS = re.compile(
    rf"\b{_PART}(?: (?:{_SIGN}) {_PART})* at {_PART}(?: (?:dash|hyphen|minus) {_PART})*"
    rf"(?: (?:dot|point|period) [A-Za-z0-9-]+)* (?:dot|point|period) [A-Za-z]{{2,}}\b",
    re.IGNORECASE,
)
_ENDS = frozenset(
    re.findall(
        r"\w+",
        "com org net edu gov mil int info biz io ai co dev app cloud online tech example test "
        "ac ae ar at au be bg br ca ch cl cn cz de dk ee eg es eu fi fr gr hk hr hu id ie il in ir "
        "is it jp ke kr li lt lu lv ma me mx my ng nl no nz pe ph pk pl pt ro rs ru sa se sg si sk "
        "th tr tw ua uk us uy ve vn za",
    )
)
"""Top-level domains that are said, generic and of countries."""
_NO_HOST = frozenset(["the", "a", "an", "this", "that", "my", "your", "our", "their"])
_SPOKEN_SIGN = re.compile(rf" (at|{_SIGN}) ", re.IGNORECASE)
_HINT = re.compile(r" at ", re.IGNORECASE)


class Spoken(NamedTuple):
    """Something that was said in words.

    Attributes:
        start, end: its characters in the text, the end exclusive.
        written: as it would be written.
    """

    start: int
    end: int
    written: str


def numbers(text: str) -> list[Spoken]:
    """Runs of number words as digits, with ``+`` in front where "plus" was said.

    Args:
        text: of a turn. A run has at least five words, at least one of which is no digit.
    """
    found = []
    for match in _RUN.finditer(text):
        digits = _digits(match[0])
        if digits and not match[0].replace(" ", "").isdigit():
            found.append(Spoken(match.start(), match.end(), digits))
    return found


def addresses(text: str) -> list[Spoken]:
    """Spoken e-mail addresses in their written form."""
    if not _HINT.search(text):
        return []
    found = (
        Spoken(m.start(), m.end(), _SPOKEN_SIGN.sub(_sign, m[0])) for m in _ADDRESS.finditer(text)
    )
    return [spoken for spoken in found if _is_address(spoken.written.lower())]


def _is_address(written: str) -> bool:
    host = written.rpartition("@")[2].split(".")
    return host[-1] in _ENDS and host[0] not in _NO_HOST


def _sign(match: re.Match[str]) -> str:
    return "@" if match[1].lower() == "at" else _SIGNS[match[1].lower()]


def _digits(run: str) -> str:
    """The digits of a run: tens take a following unit, "double" repeats, "hundred" is two zeros."""
    words, found, place = [word.lower() for word in _WORD.findall(run)], "", 0
    if words[0] == "plus":
        found, place = "+", 1
    while place < len(words):
        word, following = words[place], words[place + 1] if place + 1 < len(words) else ""
        if word in _TIMES and following in _DIGITS:
            found += _DIGITS[following] * _TIMES[word]
            place += 1
        elif word in _TENS and following in _DIGITS and following not in ("oh", "o", "zero"):
            found += _TENS[word] + _DIGITS[following]
            place += 1
        elif word in _TENS:
            found += f"{_TENS[word]}0"
        elif word == "hundred":
            found += "00"
        elif word not in _TIMES:
            found += _DIGITS.get(word) or _TEENS.get(word) or word
        place += 1
    return found
