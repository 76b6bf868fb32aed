"""E-mail addresses as exports and records have them: what is one, and when two are the same."""

import re
import unicodedata

_ADDRESS = re.compile(r"[^\s@]{1,64}@[^\s@.]+(?:\.[^\s@.]+)+")


def address(text: str) -> str:
    """An address in lower case.

    Raises:
        ValueError: for what is none, or has spaces or other forms of its characters.
    """
    if not _ADDRESS.fullmatch(text) or not unicodedata.is_normalized("NFC", text):
        raise ValueError("no address")
    if not text.isprintable():
        raise ValueError("an address with characters that are not seen")
    return text.lower()


def is_address(text: str) -> bool:
    """Whether a text has the form of an address."""
    return _ADDRESS.fullmatch(text) is not None


def domain(email: str) -> str:
    """The organisation's domain of an address, in ASCII.

    Raises:
        ValueError: for a domain that has no such form.
    """
    return email.rpartition("@")[2].encode("idna").decode()
