"""NXT words and segments: every word is of one segment, or the files are refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.readers import nxt
from harness.meetings.readers.nxt import Segment

ROOT = '<nite:root nite:id="r" xmlns:nite="http://nite.sourceforge.net/">{}</nite:root>'
WORD = '<w nite:id="w{}" starttime="1.0" endtime="1.5">{}</w>'
SEGMENT = (
    '<segment nite:id="s{0}" transcriber_start="{1}" participant="{2}">'
    '<nite:child href="X.words.xml#id(w{3})..id(w{4})"/></segment>'
)
HELLO = ROOT.format(
    WORD.format(0, "Hello") + WORD.format(1, ",") + WORD.format(2, "caf\u00e9")
    + '<vocalsound nite:id="w3" type="laugh"/>'
)  # fmt: skip


def test_words_are_joined_and_sounds_left_out() -> None:
    segments = ROOT.format(SEGMENT.format(0, 1.25, "me011", 0, 3)).encode()
    header = '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>\n'
    words = (header + HELLO).encode("iso-8859-1")
    assert nxt.looks(words.decode("utf-8", "replace"))
    assert nxt.read(words, segments) == [Segment(1.25, "me011", "Hello, café")]


@given(st.lists(st.lists(st.sampled_from(["so", "I", "think"]), min_size=1, max_size=4)))
def test_every_segment_has_its_words(said: list[list[str]]) -> None:
    words, segments, place = "", "", 0
    for number, tokens in enumerate(said):
        words += "".join(WORD.format(place + n, token) for n, token in enumerate(tokens))
        segments += SEGMENT.format(number, number, "", place, place + len(tokens) - 1)
        place += len(tokens)
    found = nxt.read(ROOT.format(words).encode(), ROOT.format(segments).encode())
    assert found == [Segment(float(n), "", " ".join(tokens)) for n, tokens in enumerate(said)]


@pytest.mark.parametrize(
    ("words", "segments"),
    [
        (HELLO, SEGMENT.format(0, 1, "", 0, 1)),
        (HELLO, SEGMENT.format(0, 1, "", 0, 3) + SEGMENT.format(1, 2, "", 2, 2)),
        (HELLO, SEGMENT.format(0, 1, "", 0, 9)),
        (HELLO, SEGMENT.format(0, 1, "", 3, 0)),
        (HELLO, SEGMENT.format(0, -1, "", 0, 3)),
        (HELLO, "<other/>"),
        (ROOT.format(WORD.format(0, "a") + WORD.format(0, "b")), ""),
        (ROOT.format('<noise nite:id="w0">bang</noise>'), SEGMENT.format(0, 1, "", 0, 0)),
        (ROOT.format('<gap nite:id="w0">secret</gap>'), SEGMENT.format(0, 1, "", 0, 0)),
        ("<w>", ""),
        ("<!DOCTYPE x>" + HELLO, ""),
    ],
)
def test_files_that_do_not_fit_are_refused(words: str, segments: str) -> None:
    with pytest.raises(Refused) as refused:
        nxt.read(words.encode(), ROOT.format(segments).encode())
    assert refused.value.code == "PARSE_REFUSED"
    assert "secret" not in str(refused.value)


TOKENS = st.lists(
    st.sampled_from([("w", "so"), ("w", "I'd"), ("w", "R&D"), ("w", "café"), ("w", ","), ("w", "."),
                     ("vocalsound", ""), ("pause", ""), ("gap", "")]), min_size=1, max_size=6,
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 10**6), TOKENS), max_size=5),
       st.sampled_from(["utf-8", "iso-8859-1", "utf-16"]))  # fmt: skip
def test_what_is_rendered_is_read_in_any_encoding(
    said: list[tuple[int, list[tuple[str, str]]]], encoding: str
) -> None:
    words, segments, place = "", "", 0
    for number, (thousandths, tokens) in enumerate(said):
        for kind, text in tokens:
            words += f'<{kind} nite:id="w{place}">{text.replace("&", "&amp;")}</{kind}>'
            place += 1
        first, last = place - len(tokens), place - 1
        segments += SEGMENT.format(number, thousandths / 1000, f"p{number}", first, last)
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    files = [(head + ROOT.format(part)).encode(encoding) for part in (words, segments)]
    spoken = [(n, t, [text for _, text in tokens if text]) for n, (t, tokens) in enumerate(said)]
    assert nxt.read(*files) == [
        Segment(t / 1000, f"p{n}", re.sub(r" (?=[.,])", "", " ".join(texts)))
        for n, t, texts in spoken if texts
    ]  # fmt: skip
