"""Teams' transcripts: voices, entities, several lines, and what is refused."""

import pytest

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
