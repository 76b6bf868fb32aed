"""Patterns with checks: addresses, telephone numbers, cards, accounts, identity numbers, keys.

Numbers that have a check digit count only where it fits (Luhn for cards, ISO 7064 mod 97 for
IBAN); telephone numbers where ``phonenumbers`` finds them valid, or, as they are said, possible.
What is said in words is looked at in its written form.
"""

import ipaddress
import re
from collections.abc import Iterator

import phonenumbers

from harness.meetings.detectors import keys, spoken
from harness.meetings.detectors.span import Span

_HINT = re.compile(r"[0-9@]|[A-Za-z0-9_-]{16}|-----BEGIN")
_LETTER = "A-Za-z\u00c0-\u024f"
"""Letters of words that spaces set apart; Japanese beside a number is no part of it."""
_EMAIL = re.compile(
    rf"(?<![{_LETTER}0-9_.+-])[{_LETTER}0-9_.+-]{{1,64}}@(?:[{_LETTER}0-9-]{{1,63}}\.)+"
    rf"[A-Za-z]{{2,24}}(?![{_LETTER}0-9_-])"
)
_NUMBER = re.compile(
    rf"(?<![{_LETTER}0-9_.])\+?\(?\d(?:[ ().-]{{0,2}}\d){{6,18}}(?![{_LETTER}0-9_-]|\.\d)", re.ASCII
)
_IBAN = re.compile(
    r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII | re.IGNORECASE
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_IP = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
    r"|(?<![\w.:])[0-9a-fA-F:]{2,36}:[0-9a-fA-F:]{2,36}(?![\w:]|\.\d)",
    re.ASCII,
)
_NUMBERED = re.compile(
    r"\b(?:version|build|release|firmware|section|chapter|clause|v)[ :]*(?:is |was )?\Z", re.I
)
"""What stands before four numbers that are no IP address."""
_CARD_DIGITS, _PHONE_DIGITS, _TRUNK_DIGITS = range(13, 20), range(7, 16), range(9, 13)


class Patterns:
    """The detector of what has a pattern.

    Args:
        regions: ISO 3166 codes of the countries whose telephone numbers are written without their
            code; the United States where none is a country with telephones.
    """

    version = f"patterns/2 phonenumbers/{phonenumbers.__version__}"

    def __init__(self, *regions: str) -> None:
        known = tuple(region for region in regions if region in phonenumbers.SUPPORTED_REGIONS)
        self._regions = known or ("US",)
        self.name = f"{self.version} {','.join(self._regions)}"

    def find(self, text: str) -> Iterator[Span]:
        """Spans of a text; see :class:`harness.meetings.detectors.span.Detector`."""
        if _HINT.search(text):
            yield from (Span(*place, "key") for place in keys.places(text))
            yield from _each(_EMAIL, "email", text)
            yield from _each(_SSN, "ssn", text)
            yield from _ibans(text)
            for match in _IP.finditer(text):
                if _is_ip(match[0]) and not _NUMBERED.search(text, 0, match.start()):
                    yield Span(match.start(), match.end(), "ip")
            for match in _NUMBER.finditer(text):
                kind = self._kind(match[0], is_spoken=False)
                if kind:
                    yield Span(match.start(), match.end(), kind)
        for said in spoken.addresses(text):
            yield Span(said.start, said.end, "email")
        for said in spoken.numbers(text):
            kind = self._kind(said.written, is_spoken=True)
            if kind:
                yield Span(said.start, said.end, kind)

    def _kind(self, number: str, is_spoken: bool) -> str:
        """What a number is; empty where it is nothing known."""
        digits = re.sub(r"\D", "", number)
        if len(digits) in _CARD_DIGITS and _luhn(digits):
            return "card"
        if len(digits) not in _PHONE_DIGITS:
            return ""
        if is_spoken and digits[0] == "0" and len(digits) in _TRUNK_DIGITS:
            return "phone"  # by the prefix that most countries dial inland
        return "phone" if any(_is_phone(number, of, is_spoken) for of in self._regions) else ""


def _is_phone(number: str, region: str, is_spoken: bool) -> bool:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    if phonenumbers.is_valid_number(parsed):
        return True
    return is_spoken and phonenumbers.is_possible_number(parsed)


def _each(pattern: re.Pattern[str], kind: str, text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        yield Span(match.start(), match.end(), kind)


def _luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0 and len({*digits}) > 1


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):  # words behind it look like groups of it
        groups = match[0].split(" ")
        heads = (" ".join(groups[:count]) for count in range(len(groups), 0, -1))
        found = next(filter(_is_iban, heads), None)
        if found:
            yield Span(match.start(), match.start() + len(found), "iban")


def _is_iban(text: str) -> bool:
    """Whether the check digits fit (ISO 13616, ISO 7064 mod 97-10)."""
    number = text.replace(" ", "")
    moved = number[4:] + number[:4]
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _is_ip(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
