"""WebVTT of any source with names: cues, ids, comments, styles and short times."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.meetings.model import Turn
from harness.meetings.readers import named_vtt
from meetings.readers.files import turns_of

WORDS = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="<&"), min_size=1,
            max_size=8), min_size=1, max_size=4,
).map(" ".join).filter(lambda text: "-->" not in text)  # fmt: skip
LABEL = st.sampled_from(["Ada Example", "Bo | Org", "李 明", "Dr. O'Neil", ""])
CUE = st.tuples(
    LABEL, WORDS.filter(lambda text: ": " not in text), st.integers(0, 10**8),
    st.sampled_from(["", "x1", "7"]), st.sampled_from(["", "NOTE said by nobody", "NOTE\na\nb"]),
    st.booleans(),
)  # fmt: skip


def clock(ms: int, is_short: bool) -> str:
    """A time, without hours where it is to be short and has none."""
    hours, rest = divmod(ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    tail = f"{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
    return tail if is_short and not hours else f"{hours:02d}:{tail}"


@given(st.lists(CUE, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]),
       st.sampled_from(["", "\nSTYLE\n::cue { color: red }\n"]))  # fmt: skip
def test_what_is_rendered_is_read_without_comments_and_styles(
    cues: list[Any], end: str, style: str
) -> None:
    text = f"WEBVTT - made\n{style}"
    for label, words, ms, name, comment, is_short in cues:
        said = f"{label}: {words}" if label else words
        times = f"{clock(ms, is_short)} --> {clock(ms + 1500, is_short)}"
        text += f"\n{comment}\n" if comment else ""
        text += "\n" + (f"{name}\n" if name else "") + f"{times}\n{said}\n"
    assert turns_of(named_vtt, text.replace("\n", end).encode()) == [
        Turn(n, label, words, ms / 1000) for n, (label, words, ms, *_) in enumerate(cues)
    ]
