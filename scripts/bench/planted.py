"""Sentences with planted sensitive spans, and near misses, for the detectors.

A seed gives a set; values and sentences are drawn by it. Near misses look like what is planted and
are not: numbers whose check digit does not fit, versions, times, prices, years, "at" and "dot".
"""

import random
import string
from collections.abc import Callable
from typing import NamedTuple

NAMES = ["Ada", "Bo", "Priya", "Wiktor", "Zoë", "Miguel", "Hana", "Olu", "Ingrid", "Kenji"]
SURNAMES = ["Haddad", "Sample", "Okafor", "Lindqvist", "Moreau", "Tanaka", "O'Neil", "Schäfer"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
BEFORE = ["so", "okay", "well", "right", "and then", "I think", "you can", "please", "just"]
AFTER = ["please", "if that works", "for the record", "by Friday", "and let me know", "okay"]
TALK = [
    "we moved the review to {n} o'clock on the {d}th",
    "the build is {a}.{b}.{c}.{d} since Monday",
    "it costs {n}{n}0 dollars a month, say {p} in total",
    "in 20{d} we had {n} people at the office",
    "look at the dot on the map at the corner",
    "one or two of the three options, maybe four",
    "ticket {t} is about the {n} second timeout",
    "between {a}:{c}0 and {b}:{c}5 on channel {n}",
    "order {o} was shipped",
    "point seven at most, dash it all",
]


class Planted(NamedTuple):
    """A sentence and its spans, each with its class."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def planted(seed: int, count: int) -> list[Planted]:
    """So many sentences of a seed, about half of which hold a span."""
    rng = random.Random(f"planted {seed}")
    return [_sentence(rng) for _ in range(count)]


def _sentence(rng: random.Random) -> Planted:
    if rng.random() < 0.5:
        return Planted(_talk(rng), ())
    kind = rng.choice([*KINDS])
    lead, value = KINDS[kind](rng)
    begin = f"{rng.choice(BEFORE)} {lead} "
    text = f"{begin}{value} {rng.choice(AFTER)}"
    return Planted(text, ((len(begin), len(begin) + len(value), kind.partition(" ")[0]),))


def _talk(rng: random.Random) -> str:
    digits = {key: rng.randint(1, 9) for key in "abcn"}
    return f"{rng.choice(BEFORE)} " + rng.choice(TALK).format(
        **digits, d=rng.randint(10, 28), p=f"{rng.randint(2, 99)},{rng.randint(100, 999)}",
        t=f"ABC-{rng.randint(1000, 99999)}", o=_wrong_card(rng),
    )  # fmt: skip


def _number(rng: random.Random, size: int) -> str:
    return "".join(rng.choices(string.digits, k=size))


def _luhn(number: str) -> str:
    total = sum(
        value - 9 * (value > 9)
        for value in (int(c) * (2 - n % 2) for n, c in enumerate(reversed(number)))
    )
    return str(-total % 10)


def _card_number(rng: random.Random) -> str:
    number = rng.choice(["4", "51", "55", "37"]) + _number(rng, 13)
    return number[:15] + _luhn(number[:15])


def _wrong_card(rng: random.Random) -> str:
    number = _card_number(rng)
    return number[:-1] + str((int(number[-1]) + rng.randint(1, 9)) % 10)


def _phone(rng: random.Random) -> str:
    area = rng.choice(["212", "415", "617", "312", "206", "512"])
    return area + rng.choice("23456789") + _number(rng, 2).replace("1", "2") + _number(rng, 4)


def _written_phone(rng: random.Random) -> tuple[str, str]:
    n = _phone(rng)
    form = rng.choice(["{0}-{1}-{2}", "({0}) {1}-{2}", "+1 {0} {1} {2}", "{0}.{1}.{2}"])
    return rng.choice(["call", "my number is"]), form.format(n[:3], n[3:6], n[6:])


def _spoken_phone(rng: random.Random) -> tuple[str, str]:
    return "call", " ".join(
        rng.choice(["oh", "zero"]) if c == "0" else WORDS[int(c)] for c in _phone(rng)
    )


def _email_parts(rng: random.Random) -> tuple[str, str, str]:
    first, last = rng.choice(NAMES[:4]).lower(), rng.choice(SURNAMES[:3]).lower()
    return first, last, rng.choice(["gmail.com", "acme-labs.org", "mail.example.net", "uni.edu"])


def _written_email(rng: random.Random) -> tuple[str, str]:
    first, last, domain = _email_parts(rng)
    return "mail", f"{first}{rng.choice('._-')}{last}{rng.choice(['', '7'])}@{domain}"


def _spoken_email(rng: random.Random) -> tuple[str, str]:
    first, last, domain = _email_parts(rng)
    said = domain.replace(".", " dot ").replace("-", " dash ")
    return "mail", f"{first} {rng.choice(['dot', 'underscore'])} {last} at {said}"


def _card(rng: random.Random) -> tuple[str, str]:
    n = _card_number(rng)
    return "the card is", rng.choice([n, f"{n[:4]} {n[4:8]} {n[8:12]} {n[12:]}"])


def _spoken_card(rng: random.Random) -> tuple[str, str]:
    return "the card is", " ".join(WORDS[int(c)] for c in _card_number(rng))


def _iban(rng: random.Random) -> tuple[str, str]:
    country, size = rng.choice([("DE", 18), ("NL", 14), ("FR", 23), ("ES", 20)])
    body = _number(rng, size)
    moved = "".join(str(int(c, 36)) for c in f"{body}{country}00")
    text = f"{country}{98 - int(moved) % 97:02d}{body}"
    spaced = " ".join(text[n : n + 4] for n in range(0, len(text), 4))
    return "wire it to", rng.choice([text, spaced])


def _ssn(rng: random.Random) -> tuple[str, str]:
    return (
        "the social is",
        f"{rng.randint(101, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}",
    )


def _ip(rng: random.Random) -> tuple[str, str]:
    four = ".".join(str(rng.randint(1, 254)) for _ in range(4))
    return "the host is", rng.choice([four, f"2001:db8::{rng.randint(16, 65535):x}"])


def _key(rng: random.Random) -> tuple[str, str]:
    letters = string.ascii_letters + string.digits
    body = "".join(rng.choices(letters, k=40))
    return "the token is", rng.choice(
        [f"ghp_{body[:36]}", f"AKIA{body[:16].upper()}", f"sk-{body}", f"xoxb-{body[:24]}"]
    )


def _name(rng: random.Random) -> tuple[str, str]:
    return "ask", rng.choice(NAMES)


KINDS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "phone": _written_phone, "phone spoken": _spoken_phone, "email": _written_email,
    "email spoken": _spoken_email, "card": _card, "card spoken": _spoken_card, "iban": _iban,
    "ssn": _ssn, "ip": _ip, "key": _key, "name": _name,
}  # fmt: skip
"""What is planted; the first word is the class."""
