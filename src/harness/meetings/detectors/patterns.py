"""Patterns with checks: addresses, telephone numbers, cards, accounts, identity numbers, keys.

Numbers that have a check digit count only where it fits (Luhn for cards, ISO 7064 mod 97 for
IBAN); telephone numbers where ``phonenumbers`` finds them valid, or, as they are said, possible.
What is said in words is looked at in its written form.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence

import phonenumbers

from harness.meetings.detectors import keys, spoken
from harness.meetings.detectors.span import Span

_PLAIN = {
    **{0xFF01 + place: chr(0x21 + place) for place in range(94)},  # fullwidth forms
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-"),
    **dict.fromkeys([0xA0, 0x2007, 0x2009, 0x202F, 0x3000], " "),
}
"""Dashes, spaces and wide characters that stand for ASCII, one for one, so that places stay."""
_HINT = re.compile(r"[0-9@]|[A-Za-z0-9_-]{16}|-----BEGIN")
_LETTER = "A-Za-z\u00c0-\u024f"
"""Letters of words that spaces set apart; Japanese beside a number is no part of it."""
_EMAIL = re.compile(
    rf"(?<![{_LETTER}0-9_.+-])[{_LETTER}0-9_.+-]{{1,64}}@(?:[{_LETTER}0-9-]{{1,63}}\.)+"
    rf"[A-Za-z]{{2,24}}(?!-?[{_LETTER}0-9_])"
)
_RUN = re.compile(
    rf"(?<![{_LETTER}0-9_.])[+(]{{0,2}}\d(?:(?: ?[().,\-/] ?| )?[(+]?\d){{6,}}", re.ASCII
)
_GROUP = re.compile(r"[+(]{0,2}\d+", re.ASCII)
_MOST_PIECES = 19
"""Groups of digits, or what is said between pauses, in one number."""
_NO_PHONE = re.compile(
    r"\d{1,4}([./-])\d{1,2}\1\d{1,4}(?:[ T]\d{1,2})?|\d(?:[^+\d]+\d)*|.*,.*", re.ASCII
)
"""A date, perhaps with its hour; a row of single digits; what commas set apart."""
_BESIDE = re.compile(rf"-?[{_LETTER}0-9_]|[.,]\d")
_JOINS = ("-", ".", "/", ",")
"""What stands right before or behind a number that is part of something else."""
_IBAN = re.compile(
    r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b", re.ASCII | re.IGNORECASE
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?!-?\d)")
_IP = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
    r"|(?<![\w.:])[0-9a-fA-F:]{2,36}:[0-9a-fA-F:]{2,36}(?![\w:]|\.\d)",
    re.ASCII,
)
_NUMBERED = re.compile(
    r"\b(?:version|build|release|firmware|section|chapter|clause|v)[ :]*(?:is |was )?\Z", re.I
)
"""What stands before four numbers that are no IP address."""
_BEFORE = 24
_CARD_DIGITS, _PHONE_DIGITS, _TRUNK_DIGITS = range(13, 20), range(7, 16), range(9, 13)


class Patterns:
    """The detector of what has a pattern.

    Args:
        regions: ISO 3166 codes of the countries whose telephone numbers are written without their
            code; the United States where none is a country with telephones.
    """

    version = f"patterns/3 phonenumbers/{phonenumbers.__version__}"

    def __init__(self, *regions: str) -> None:
        known = tuple(region for region in regions if region in phonenumbers.SUPPORTED_REGIONS)
        self._regions = known or ("US",)
        self.name = f"{self.version} {','.join(self._regions)}"

    def find(self, text: str) -> Iterator[Span]:
        """Spans of a text; see :class:`harness.meetings.detectors.span.Detector`."""
        plain = text if text.isascii() else text.translate(_PLAIN)
        if _HINT.search(plain):
            yield from (Span(*place, "key") for place in keys.places(plain))
            yield from _each(_EMAIL, "email", plain)
            yield from _each(_SSN, "ssn", plain)
            yield from _ibans(plain)
            for match in _IP.finditer(plain):
                before = plain[max(0, match.start() - _BEFORE) : match.start()]
                if _is_ip(match[0]) and not _NUMBERED.search(before):
                    yield Span(match.start(), match.end(), "ip")
            for match in _RUN.finditer(plain):
                yield from self._written(plain, *match.span())
        for said in spoken.addresses(plain):
            yield Span(said.start, said.end, "email")
        for run in spoken.numbers(plain):
            yield from self._said(run)

    def _written(self, text: str, start: int, end: int) -> Iterator[Span]:
        """Numbers in a run of digits: of its groups the longest neighbours that are one."""

        def kind(first: int, last: int) -> str:
            is_part = text[first - 1 : first] in _JOINS or _BESIDE.match(text, last)
            return "" if is_part else self._kind(text[first:last], is_spoken=False)

        groups = [match.span() for match in _GROUP.finditer(text, start, end)]
        yield from _longest(groups, kind)

    def _said(self, run: Sequence[spoken.Spoken]) -> Iterator[Span]:
        """Numbers in a run of what was said between pauses."""
        starts = {piece.start: n for n, piece in enumerate(run)}
        ends = {piece.end: n for n, piece in enumerate(run)}

        def kind(first: int, last: int) -> str:
            pieces = run[starts[first] : ends[last] + 1]
            return self._kind("".join(piece.written for piece in pieces), is_spoken=True)

        yield from _longest([(piece.start, piece.end) for piece in run], kind)

    def _kind(self, number: str, is_spoken: bool) -> str:
        """What a number is; empty where it is nothing known."""
        digits = re.sub(r"\D", "", number)
        is_even = len({*re.findall(r"\D+", number)}) <= 1  # set apart in one way
        if len(digits) in _CARD_DIGITS and is_even and _luhn(digits):
            return "card"
        if len(digits) not in _PHONE_DIGITS or _NO_PHONE.fullmatch(number):
            return ""
        if is_spoken and digits[0] == "0" and len(digits) in _TRUNK_DIGITS:
            return "phone"  # by the prefix that most countries dial inland
        return "phone" if any(_is_phone(number, of, is_spoken) for of in self._regions) else ""


def _longest(
    pieces: Sequence[tuple[int, int]], kind_of: Callable[[int, int], str]
) -> Iterator[Span]:
    """From left to right, the longest runs of pieces that are of a kind."""
    first = 0
    while first < len(pieces):
        for last in range(min(len(pieces), first + _MOST_PIECES) - 1, first - 1, -1):
            kind = kind_of(pieces[first][0], pieces[last][1])
            if kind:
                yield Span(pieces[first][0], pieces[last][1], kind)
                first = last
                break
        first += 1


def _is_phone(number: str, region: str, is_spoken: bool) -> bool:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    if phonenumbers.is_valid_number(parsed):
        return True
    possible = phonenumbers.is_possible_number_with_reason(parsed)
    return is_spoken and possible == phonenumbers.ValidationResult.IS_POSSIBLE


def _each(pattern: re.Pattern[str], kind: str, text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        yield Span(match.start(), match.end(), kind)


def _luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1)."""
    if len({*digits}) == 1:
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):  # words behind it look like groups of it
        ends = [place.end() for place in re.finditer(r"[^ -]+", match[0])]
        found = next((end for end in reversed(ends) if _is_iban(match[0][:end])), None)
        if found:
            yield Span(match.start(), match.start() + found, "iban")


def _is_iban(text: str) -> bool:
    """Whether the check digits fit (ISO 13616, ISO 7064 mod 97-10)."""
    number = re.sub("[ -]", "", text)
    moved = number[4:] + number[:4]
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _is_ip(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
