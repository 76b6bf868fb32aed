"""Sensitive spans: what is found, by which class, and that masking leaves the rest alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.meetings.detectors import spoken
from harness.meetings.detectors.patterns import Patterns
from harness.meetings.detectors.roster import Roster
from harness.meetings.detectors.span import Detector, Span, masked, search

ROSTER = Roster(["Ada Example", "Bo | Org"], ["ada.x@acme.example"])
EVERY: list[Detector] = [ROSTER, Patterns()]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("call 415-836-0137 now", "call [phone] now"),
        ("call four one five eight three six oh one three seven now", "call [phone] now"),
        ("plus four nine thirty three twelve thirty four fifty six seven", "[phone]"),
        ("mail ada.x@gmail.com", "mail [email]"),
        ("mail ada dot x at gmail dot com", "mail [email]"),
        ("mail ada underscore x at acme dash labs dot co dot uk", "mail [email]"),
        ("card 4111 1111 1111 1111", "card [card]"),
        ("card four one one one one one one one one one one one one one one one", "card [card]"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [iban]"),
        ("social 123-45-6789", "social [ssn]"),
        ("host 192.168.0.1 and 2001:db8::1", "host [ip] and [ip]"),
        ("key AKIAIOSFODNN7EXAMPLE", "key [key]"),
        ("-----BEGIN RSA PRIVATE KEY-----", "[key]"),
        ("Ada asked Bo of acme.example", "[name] asked [name] of [domain]"),
        ("write to ada.x", "write to [name]"),
    ],
)
def test_what_is_sensitive_is_masked_by_its_class(text: str, wanted: str) -> None:
    assert masked(text, search(EVERY, text)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112", "IBAN DE88 3704 0044 0532 0130 00", "social 000-45-6789",
        "version 1.2.3.4", "1.2.3.4.5", "999.1.1.1", "one two three four", "in 2026 at 10:45",
        "look at the dot on the map", "it is at my dot com", "an adage, a bo tree, adamant",
        "1111 1111 1111 1111", "12345", "ticket ABC-12345",
    ],
)  # fmt: skip
def test_near_misses_are_left_alone(text: str) -> None:
    assert search(EVERY, text) == []


@given(st.text("01+ @.-abtwo\n", max_size=60))
def test_spans_lie_in_the_text_in_order_and_apart(text: str) -> None:
    spans = search(EVERY, text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))


@given(st.text(max_size=30), st.text(max_size=30))
def test_masking_changes_nothing_but_the_span(before: str, after: str) -> None:
    text = f"{before}\n4111111111111111\n{after}"
    start = len(before) + 1
    span = Span(start, start + 16, "card")
    assert masked(text, [span]) == f"{before}\n[card]\n{after}"
    assert masked(text, []) == text


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("four one five five five five", "415555"),
        ("double five oh one triple nine two", "55019992"),
        ("twenty one thirty five hundred six", "2135006"),
        ("fifteen fifty fifty oh five one", "155050051"),
        ("plus one two three four five", "+12345"),
    ],
)
def test_number_words_are_their_digits(text: str, digits: str) -> None:
    (found,) = spoken.numbers(text)
    assert (found.start, found.end, found.written) == (0, len(text), digits)


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@given(st.lists(st.integers(0, 9), min_size=5, max_size=16), st.sampled_from([" ", ", ", "-"]))
def test_any_digits_that_are_said_one_by_one_are_read(digits: list[int], between: str) -> None:
    said = between.join(DIGITS[digit] for digit in digits)
    (found,) = spoken.numbers(f"so {said} then")
    assert (found.start, found.end) == (3, 3 + len(said))
    assert found.written == "".join(map(str, digits))


def test_what_overlaps_is_one_span_of_the_longers_class() -> None:
    class Both:
        name = "both"

        def find(self, text: str) -> list[Span]:
            return [Span(0, 2, "a"), Span(1, 5, "b"), Span(5, 6, "c")]

    assert search([Both()], "abcdef") == [Span(0, 5, "b"), Span(5, 6, "c")]


def test_a_detector_says_what_it_is() -> None:
    assert "phonenumbers/" in Patterns().name
    assert Roster([]).name == "roster/2"
    assert list(Roster([]).find("anybody")) == []
