"""Teams' transcripts: voices, entities, several lines, and what is refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.readers import teams_transcript
from meetings.readers.files import turns_of

TIMES = "00:00:05.000 --> 00:00:08.000"


def said(*cues: str) -> list[tuple[str, str]]:
    text = "WEBVTT\n\n" + "\n\n".join(f"{TIMES}\n{cue}" for cue in cues) + "\n"
    return [(t.speaker, t.text) for t in turns_of(teams_transcript, text.encode())]


@pytest.mark.parametrize(
    ("cue", "wanted"),
    [
        ("<v Ada>hi</v>", [("Ada", "hi")]),
        ("<v Ada>hi", [("Ada", "hi")]),
        ("<v Ada>one\ntwo</v>", [("Ada", "one\ntwo")]),
        ("<v O&apos;Neil>R&amp;D &lt;x&gt; &#39;y&#39;</v>", [("O'Neil", "R&D <x> 'y'")]),
        ("<v Ada>AT&T &copy &unknown;</v>", [("Ada", "AT&T &copy &unknown;")]),
        ("<v.loud Mary>Two</v><v Bob>voices</v>", [("Mary", "Two"), ("Bob", "voices")]),
        ("<v Mary>Two</v>\n<v Bob>voices</v>", [("Mary", "Two"), ("Bob", "voices")]),
        ("nobody's words", [("", "nobody's words")]),
        ("<v >x</v>", [("", "x")]),
        ("<v Ada>a --> b</v>", [("Ada", "a --> b")]),
    ],
)
def test_what_a_cue_says(cue: str, wanted: list[tuple[str, str]]) -> None:
    assert said(cue) == wanted


@pytest.mark.parametrize(
    ("cue", "line"),
    [
        ("<v Ada <b>>x</v>", 4),
        ("<v Ada>one</v> and <v Bo>two</v>", 4),
        ("<v Ada>one<v Bo>two</v>", 4),
        ("<v Ada>one</v>\n<i>two</i>", 5),
        ("<v Ada></v>", 4),
        ("<v Ada>one</v></v>", 4),
        ("<v Ada>one</v>\n00:00:06.000 --> 00:00:07.000\n<v Bo>two</v>", 5),
    ],
)
def test_what_is_in_doubt_is_refused_at_its_line(cue: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        said(cue)
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {line}")
    assert "two" not in str(refused.value)


WORDS = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="<&"), min_size=1),
    min_size=1, max_size=4,
).map(" ".join).filter(lambda text: "-->" not in text)  # fmt: skip


@given(st.lists(WORDS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_an_unattributed_transcript_is_nobodys(said: list[str], end: str) -> None:
    text = "WEBVTT\n\n" + "\n\n".join(f"{TIMES}\n\n{words}" for words in said) + "\n"
    stream = io.BytesIO(text.replace("\n", end).encode())
    found = [*teams_transcript.read_unattributed(stream)]
    assert [(t.index, t.speaker, t.text, t.seconds) for t in found] == [
        (n, "", words, 5.0) for n, words in enumerate(said)
    ]
