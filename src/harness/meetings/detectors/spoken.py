"""Numbers and addresses as they are said: "four one five …", "ada dot example at gmail dot com".

Transcripts spell out what people say. Runs of number words become digits, and a spoken address its
written form, each with the place in the text that it stands for; patterns then look at these.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_DIGITS = {
    "zero": "0", "oh": "0", "o": "0", "nought": "0", "naught": "0", "nil": "0", "one": "1",
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9",
}  # fmt: skip
_TEENS = {
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
}  # fmt: skip
_TENS = {
    "twenty": "2", "thirty": "3", "forty": "4", "fifty": "5", "sixty": "6", "seventy": "7",
    "eighty": "8", "ninety": "9",
}  # fmt: skip
_TIMES = {"double": 2, "triple": 3, "treble": 3}
_FEWEST = 5
_NUMBER = "|".join([*_DIGITS, *_TEENS, *_TENS, *_TIMES, "hundred", r"\d{1,4}"])
_PAUSES = frozenset(["uh", "um", "er", "erm", "and", "then"])
_BETWEEN = rf"[ ,.…–-]+(?:(?:{'|'.join(sorted(_PAUSES))})[ ,.…–-]+){{0,2}}"
"""What may stand between two words of a number: pauses, and what is said in them."""
_RUN = re.compile(
    rf"\b(?:plus[ ,-]+)?(?:{_NUMBER})(?:{_BETWEEN}(?:{_NUMBER})){{{_FEWEST - 1},}}\b",
    re.IGNORECASE | re.ASCII,
)
_WORD = re.compile(r"[A-Za-z]+|\d+")
_PIECE = re.compile(
    rf"\b(?:plus[ -]+)?(?:{_NUMBER})(?:[ -]+(?:{_NUMBER}))*\b", re.IGNORECASE | re.ASCII
)
"""What is said between two pauses."""
_SIGNS = {"dot": ".", "period": ".", "point": ".", "dash": "-", "hyphen": "-", "minus": "-",
          "underscore": "_", "plus": "+"}  # fmt: skip
_PART, _SPELLED = r"[A-Za-z0-9_+.-]{1,64}", r"(?:[A-Za-z0-9][ ,-]{1,3}){2,20}"


def _said(words: str) -> str:
    """A pattern for a word between spaces, or in brackets."""
    return rf"(?: (?:{words}) | ?[\[(](?:{words})[\])] ?)"


_AT, _SIGN, _DOT = _said("at"), _said("|".join(_SIGNS)), _said("dot|point|period")
_DASH = _said("dash|hyphen|minus")
_ADDRESS = re.compile(
    rf"(?<![\w+.-])(?=((?:{_SPELLED})?{_PART}(?:{_SIGN}{_PART}){{0,6}}{_AT}{_PART}(?:{_DASH}{_PART}){{0,6}}"
    rf"(?:{_DOT}[A-Za-z0-9-]{{1,63}}){{0,4}}{_DOT}[A-Za-z]{{2,24}}\b"
    rf"|[A-Za-z0-9_+-]{{0,64}}[0-9_.+][A-Za-z0-9_.+-]{{0,64}}{_AT}(?:[A-Za-z0-9-]{{1,63}}\.){{1,4}}[A-Za-z]{{2,24}}\b))",
    re.IGNORECASE | re.ASCII,
)
"""With all signs said, or with those of the local part and the host written, and "at" said."""
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
_SPOKEN_SIGN = re.compile(rf" ?[\[(]?\b(at|{'|'.join(_SIGNS)})\b[\])]? ?", re.IGNORECASE | re.ASCII)
_HINT = re.compile(_AT, re.IGNORECASE | re.ASCII)


class Spoken(NamedTuple):
    """Something that was said in words.

    Attributes:
        start, end: its characters in the text, the end exclusive.
        written: as it would be written.
    """

    start: int
    end: int
    written: str


def numbers(text: str) -> list[list[Spoken]]:
    """Runs of number words as digits, cut at pauses, with ``+`` where "plus" was said before.

    Args:
        text: of a turn. A run has at least five words, at least one of which is no digit.
    """
    found = []
    for match in _RUN.finditer(text):
        words = [w for w in _WORD.findall(match[0].lower()) if w not in _PAUSES]
        if not all(map(str.isdecimal, words)) and _is_said_digit_by_digit(words):
            found.append([_piece(part) for part in _PIECE.finditer(text, *match.span())])
    return found


def _is_said_digit_by_digit(words: Sequence[str]) -> bool:
    """Whether it is no counting: ten, fifteen, twenty."""
    said = [word for word in words if word in _DIGITS or word in _TIMES or word.isdecimal()]
    return 2 * len(said) >= len(words) or words[0] == "plus"


def _piece(match: re.Match[str]) -> Spoken:
    return Spoken(match.start(), match.end(), _digits(_WORD.findall(match[0].lower())))


def addresses(text: str) -> list[Spoken]:
    """Spoken e-mail addresses in their written form."""
    if not _HINT.search(text):
        return []
    found: list[Spoken] = []
    for match in _ADDRESS.finditer(text):  # from each word, as "me at ada dot x at" begins twice
        said = Spoken(*match.span(1), _SPOKEN_SIGN.sub(_sign, match[1]))
        if _is_address(said.written.lower()) and (not found or said.start >= found[-1].end):
            found.append(said)
    return found


def _is_address(written: str) -> bool:
    host = written.rpartition("@")[2].split(".")
    return host[-1] in _ENDS and host[0] not in _NO_HOST


def _sign(match: re.Match[str]) -> str:
    return "@" if match[1].lower() == "at" else _SIGNS[match[1].lower()]


def _digits(words: Sequence[str]) -> str:
    """The digits of a run: tens take a following unit, "double" repeats, "hundred" is two zeros."""
    found, place = "", 0
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
