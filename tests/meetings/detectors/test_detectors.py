"""Sensitive spans: what is found, by which class, and that masking leaves the rest alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.meetings.detectors import spoken
from harness.meetings.detectors.patterns import Patterns
from harness.meetings.detectors.roster import Roster
from harness.meetings.detectors.span import Detector, Span, masked, search

ROSTER = Roster(["Ada Example", "Bo | Org"], ["acme.example"])
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
        ("write to ada.x", "write to [name].x"),
        ("me at ada dot x at acme dot com", "me at [email]"),
        ("ada.x at acme.com or bo [at] acme [dot] com", "[email] or [email]"),
        ("spelled b o b at acme dot com", "spelled [email]"),
        ("ring oh two oh seven nine four six oh double one three", "ring [phone]"),
        (
            "four one one one, uh, one one one one one one one one, and then one one one one",
            "[card]",
        ),
        ("\u756a\u53f7\u306f+81 3-1234-5678\u3067\u3059", "\u756a\u53f7\u306f[phone]\u3067\u3059"),
        ("\u5b9b\u5148\u306fx.y@z.co.jp\u307e\u3067", "\u5b9b\u5148\u306f[email]\u307e\u3067"),
        ("de89 3704 0044 0532 0130 00 from ours", "[iban] from ours"),
        ("415-836-0137 20 times", "[phone] 20 times"),
        ("415 836 0137 415 836 0138", "[phone] [phone]"),
        ("415-836-0137- or ada@acme.com- now", "[phone]- or [email]- now"),
        ("card 4111 1111 1111 1111 12/27", "card [card] 12/27"),
        (
            "4111\u00a01111\u00a01111\u00a01111 or \uff14\uff11\uff15-\uff18\uff13\uff16-0137",
            "[card] or [phone]",
        ),
        ("ref AB12 or DE89-3704-0044-0532-0130-00", "ref AB12 or [iban]"),
        (
            "extension twenty, four one five eight three six oh one three seven",
            "extension twenty, [phone]",
        ),
        ("10.0.0.250: gateway, 172.16.4.4:8443 up", "[ip]: gateway, [ip]:8443 up"),
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
        "1111 1111 1111 1111", "12345", "ticket ABC-12345", "section 2.2.0.9", "look at acme.com",
        "201-84 and 574-66 and 12 and 13 and 14", "one two three four five six seven",
        "ten, fifteen, twenty, twenty five, thirty", "on 06/10/2026 18:01", "2024-05-17 14:05",
        "my da\u017fh x po\u0130nt y at a spot",
    ],
)  # fmt: skip
def test_near_misses_are_left_alone(text: str) -> None:
    assert search(EVERY, text) == []


@pytest.mark.parametrize(
    ("label", "text", "wanted"),
    [
        ("Ada Reyes-Whitlock", "Reyes-Whitlock and Whitlock", "[name] and [name]"),
        ("Don | iPhone", "don't take Don's iPhone", "don't take [name]'s iPhone"),
        ("Ada (She/Her)", "she asked her for Ada", "she asked her for [name]"),
        ("Cruz de la Vega", "la casa de Vega", "la casa de [name]"),
        ("He Ying", "He Ying, he said", "[name] [name], he said"),
        (
            "\uc774\ubbfc\ud638 (Minho)",
            "\ubbfc\ud638\uc528, \uc774\ubbfc\ud638",
            "[name]\uc528, [name]",
        ),
        ("Conference Room 5", "the room", "the room"),
    ],
)
def test_parts_of_a_label_are_names_where_they_are_no_device_or_pronoun(
    label: str, text: str, wanted: str
) -> None:
    assert masked(text, search([Roster([label])], text)) == wanted


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
        ("fifteen oh fifty oh five one", "15050051"),
        ("plus one two three four five", "+12345"),
    ],
)
def test_number_words_are_their_digits(text: str, digits: str) -> None:
    (pieces,) = spoken.numbers(text)
    assert (pieces[0].start, pieces[-1].end) == (0, len(text))
    assert "".join(piece.written for piece in pieces) == digits


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@given(st.lists(st.integers(0, 9), min_size=5, max_size=16), st.sampled_from([" ", ", ", "-"]))
def test_any_digits_that_are_said_one_by_one_are_read(digits: list[int], between: str) -> None:
    said = between.join(DIGITS[digit] for digit in digits)
    (pieces,) = spoken.numbers(f"so {said} then")
    assert (pieces[0].start, pieces[-1].end) == (3, 3 + len(said))
    assert "".join(piece.written for piece in pieces) == "".join(map(str, digits))


def test_what_overlaps_is_one_span_of_the_longers_class() -> None:
    class Both:
        name = "both"

        def find(self, text: str) -> list[Span]:
            return [Span(0, 2, "a"), Span(1, 5, "b"), Span(5, 6, "c")]

    assert search([Both()], "abcdef") == [Span(0, 5, "b"), Span(5, 6, "c")]


NEAR_MISSES = [
    "a ", "a-", "a dot ", "a at b dot c ", "one and then ", "a@", "1 ", "ab12 abcd", "DE89 ", "1:",
    "a [at] ", "a, ", "-", "x", "AKIA", "1.", "plus ", "eyJ.", "1.2.3.4 ", "$1,@a::DE89", "one, ",
]  # fmt: skip


@pytest.mark.parametrize("piece", NEAR_MISSES)
def test_a_long_text_of_near_misses_is_searched_to_its_end(piece: str) -> None:
    """In seconds, not hours: a pattern that looks back and forth would not come back."""
    text = f"{piece * (200_000 // len(piece))} at 4111 1111 1111 1111 or ada at acme dot com"
    kinds = [span.kind for span in search(EVERY, text)]
    assert kinds[-1:] == ["email"]


@pytest.mark.parametrize("text", ["ada da\u017fh x at acme dot com", "po\u0130nt a at b dot com"])
def test_letters_that_only_look_like_others_end_nothing(text: str) -> None:
    search(EVERY, text)


def test_a_detector_says_what_it_is() -> None:
    assert "phonenumbers/" in Patterns().name
    assert Roster([]).name == "roster/2"
    assert list(Roster([]).find("anybody")) == []
