"""What is masked in the turns that stay when somebody is left out, and how that is written down."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Config
from harness.consent.masking import MaskedText, Masking
from harness.consent.records import Alias, ParticipantRow
from harness.consent.turns import Person, Voices
from harness.errors import UsageError
from harness.meetings.detectors.presidio import Presidio
from harness.meetings.detectors.span import Span

World = Any
MASK = "[name]"


@pytest.fixture
def people(shared_world: World) -> list[ParticipantRow]:
    """Ada and Bo."""
    return list(shared_world.draft.tables.participants[:2])


def masked(voices: Voices, *texts: str) -> list[str]:
    return [found.text for found in Masking().mask(texts, voices)]


def without(*left_out: ParticipantRow) -> Voices:
    return Voices([Person(person, True) for person in left_out], ())


@pytest.mark.parametrize(
    ("label", "text", "wanted"),
    [
        ("Bo O'Neil (she/her)", "thanks, bo! O'NEIL said Bob is late",
         f"thanks, {MASK}! {MASK} said Bob is late"),
        ("Wei\u00df", "frag Wei\u00df, WEISS, weiss", f"frag {MASK}, {MASK}, {MASK}"),
        ("\u7530\u4e2d", "\u7530\u4e2d\u3055\u3093", f"{MASK}\u3055\u3093"),
        ("Jos\u00e9", "ask Jose\u0301 now", f"ask {MASK} now"),
        ("Nguye\u0302\u0303n", "Nguy\u1ec5n, Nguye\u0302\u0303n", f"{MASK}, {MASK}"),
        ("\ud55c\uad6d", "\u1112\u1161\u11ab\u1100\u116e\u11a8\uc774", f"{MASK}\uc774"),
        ("Bo", "Bob is not Bo", f"Bob is not {MASK}"),
        ("Bo", "B\u200bo, Bo\ufe0f cafe\u0301", f"{MASK}, {MASK} cafe\u0301"),
        ("Bo_Smith", "bo2 and Bo_Smith", f"{MASK}2 and {MASK}_{MASK}"),
        ("Weiss", "Wei\u00df", MASK),
        ("Zo\u00eb", "zoe, ZOE\u0308", f"{MASK}, {MASK}"),
        ("Ada", "\uff21\uff44\uff41", MASK),
        ("\u0930\u093e\u0939\u0941\u0932", "\u0930\u093e\u0939\u0941\u0932 ji", f"{MASK} ji"),
        ("\u1ecc\u0300\u1e63un", "ask \u1ecc\u0300\u1e63un", f"ask {MASK}"),
        ("\u674e \u660e", "\u674e\u660e\u3055\u3093", f"{MASK}\u3055\u3093"),
        ("Xi'an", "an ox, Xi\u2019an", f"an ox, {MASK}"),
        ("Ada and Bo", "Ada and Bo", f"{MASK} and {MASK}"),
        ("(no list of who came)", "no list of who came", "no list of who came"),
        ("Bo", "her number is 415-836-0137", "her number is [phone]"),
        ("Bo", "ask bo.smith@acme.example", "ask [email]"),
    ],
)  # fmt: skip
def test_names_are_masked_however_they_are_written_and_numbers_too(
    label: str, text: str, wanted: str, people: list[ParticipantRow]
) -> None:
    assert masked(without(replace(people[1], label=label)), text) == [wanted]


def test_numbers_are_read_as_the_left_out_persons_country_writes_them(
    people: list[ParticipantRow],
) -> None:
    text = "ring 030 90172345"
    assert masked(without(replace(people[1], jurisdictions=("US",))), text) == [text]
    assert masked(without(replace(people[1], jurisdictions=("DE-BE",))), text) == ["ring [phone]"]


def test_of_two_names_the_longer_is_masked_first(people: list[ParticipantRow]) -> None:
    both = [replace(people[0], label="\u7530\u4e2d"),
            replace(people[1], label="\u7530\u4e2d\u89d2\u6804")]  # fmt: skip
    assert masked(without(*both), "\u7530\u4e2d\u89d2\u6804\u3055\u3093") == [f"{MASK}\u3055\u3093"]


def test_an_excluded_label_that_only_an_alias_names_is_masked(
    people: list[ParticipantRow],
) -> None:
    alias = Alias("s", "Robert", (str(people[1].subject_key),))
    voices = Voices([Person(person, False) for person in people], [alias], ["ROBERT "])
    assert masked(voices, "Rob, ROBERT") == [f"Rob, {MASK}"]


@given(st.lists(st.text(max_size=40)))
def test_where_nobody_is_left_out_nothing_is_masked(texts: list[str]) -> None:
    assert Masking().mask(texts, Voices([], ())) == [MaskedText(text, ()) for text in texts]


@given(
    st.text(
        st.sampled_from("Jose\u0301 e\u0302\u0323,o\u1112\u1161\u11ab\u09c7\u09beBo"), max_size=40
    )
)
def test_what_is_not_masked_stands_as_it_stood(text: str) -> None:
    row = ParticipantRow("m", None, "Jos\u00e9 Bo", *([None] * 6))  # type: ignore[arg-type]
    row = replace(row, jurisdictions=(), domain="none")
    (found,) = Masking().mask([text], without(row))
    pieces, place = [], 0
    for span in found.spans:
        pieces.append(text[place : span.start])
        place = span.end
    assert found.text == MASK.join([*pieces, text[place:]])


def test_a_detector_of_ones_own_adds_to_the_others(people: list[ParticipantRow]) -> None:
    class Digits:
        name = "digits/1"

        def find(self, text: str) -> list[Span]:
            return [Span(n, n + 1, "digit") for n, sign in enumerate(text) if sign.isdigit()]

    masking = Masking([Digits()])
    (found,) = masking.mask(["Bo 7"], without(people[1]))
    assert found == MaskedText("[name] [digit]", (Span(0, 2, "name"), Span(3, 4, "digit")))
    assert masking.detectors[-1] == "digits/1"
    assert masking.detectors[0].startswith("roster/")


def test_a_detector_that_there_is_not_is_refused(config: Config) -> None:
    config.job.more_detectors = ["guess"]
    with pytest.raises(UsageError, match=r"CONFIG_VALUE.*job\.more_detectors"):
        Masking.of(config)


def test_presidio_finds_more_and_asks_nobody(
    config: Config, people: list[ParticipantRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("presidio_analyzer", reason="the extra `presidio` is not installed")

    def no_network(*_: Any) -> None:
        raise AssertionError("it asks somebody")

    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    config.job.more_detectors = ["presidio"]
    masking = Masking.of(config)
    (found,) = masking.mask(["Bo: see a@b.com, https://b.com/x"], without(people[1]))
    assert found.text == "[name]: see [email], [url]"
    assert "presidio/" in masking.detectors[-1]
    with pytest.raises(OSError, match="no_such_model"):
        Presidio("no_such_model")
