"""Zoom's saved chat: four dialects in one file, private messages apart, heads in doubt refused."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.model import Modality
from harness.meetings.readers import zoom_saved_chat
from meetings.readers.files import fixture

PUBLIC, PRIVATE = Modality.CHAT_PUBLIC, Modality.CHAT_PRIVATE


def read(text: str, *known: str) -> list[tuple[Modality, str, str]]:
    found = zoom_saved_chat.read(io.BytesIO(text.encode()), known)
    return [(kind, turn.speaker, turn.text) for kind, turn in found]


def test_the_fixture_has_all_dialects() -> None:
    data = fixture("zoom_saved_chat_types.txt")
    assert zoom_saved_chat.looks(data.decode())
    assert read(data.decode()) == [
        (PUBLIC, "Ada Example", "old single line"),
        (PRIVATE, "Ada Example", "private old style"),
        (PUBLIC, "Ada Example", "type3\ncontinued"),
        (PUBLIC, "Ada Example", "new style line 1\nline 2"),
        (PRIVATE, "Ada Example", "secret dm"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_kind_of_message_is_numbered_from_0(end: str) -> None:
    text = end.join(["09:00:00 From A to Everyone:", "\tx", "09:00:01 From A to B(Direct Message):",
                     "\ty", "09:00:02 From B to Everyone:", "\tz", ""])  # fmt: skip
    turns = [*zoom_saved_chat.read(io.BytesIO(text.encode()))]
    assert [(kind, turn.index) for kind, turn in turns] == [(PUBLIC, 0), (PRIVATE, 0), (PUBLIC, 1)]
    assert turns[1][1].seconds == 9 * 3600 + 1


AMBIGUOUS = [
    "09:00:00\t From  Ada : Smith : hello\n",
    "09:00:00\t From  Ada  to  Bo  to  Cy(Privately) : hello\n",
]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_a_head_in_doubt_is_refused_unless_one_name_is_known(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read("09:00:00 From A to Everyone:\n\tx\n" + text)
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", "line 3")
    assert "hello" not in str(refused.value)


def test_known_names_decide() -> None:
    assert read(AMBIGUOUS[0], "Ada", "Bo") == [(PUBLIC, "Ada", "Smith : hello")]
    assert read(AMBIGUOUS[0], "Ada : Smith") == [(PUBLIC, "Ada : Smith", "hello")]
    assert read(AMBIGUOUS[1], "Ada  to  Bo", "Cy") == [(PRIVATE, "Ada  to  Bo", "hello")]
    with pytest.raises(Refused):
        read(AMBIGUOUS[0], "Ada", "Ada : Smith")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hello\n", 1),
        ("09:00:00 From A to Everyone:\nno tab\n", 1),
        ("09:00:00 From A to Everyone:\n\t \n", 1),
        ("09:00:00\t From  A  to  B : not said to be private\n", 1),
        ("09:00:00 From A to B(Direktnachricht):\n\tnot known to be private\n", 1),
        ("09:00:00 From A to B:\n\tnot said to be private\n", 1),
        ("09:00:00\t From  A  an  B(privat) : in another language\n", 1),
        ("09:00:00\t From  A : x\n09:00:01\tFrom  B : y\n", 2),
        ("09:00:00\t From  A : x\n9:00:01\t From  B : y", 2),
        ("09:00:00 From A to Everyone:\n\tx\n09:61:00 From A to Everyone:\n\ty\n", 3),
    ],
)
def test_other_lines_are_refused(text: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        read(text)
    assert refused.value.where == f"line {line}"


LABELS = ["Ada Example", "Bo | Org", "Cy (Guest)", "李 明", "Dr. O'Neil", "a.b@c.example"]
LINE = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9),
    min_size=1, max_size=3,
).map(" ".join)  # fmt: skip
MESSAGE = st.tuples(
    st.integers(0, 24 * 3600 - 1), st.sampled_from(LABELS), st.sampled_from(["", *LABELS]),
    st.lists(LINE, min_size=1, max_size=3), st.booleans(),
).filter(lambda message: " : " not in " ".join(message[3]))  # fmt: skip


def rendered(second: int, name: str, to: str, lines: list[str], is_old: bool) -> str:
    """A message in one of the four dialects; ``to`` is empty for one to everybody."""
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    if is_old:
        whom = f"  to  {to}(Privately)" if to else ""
        return f"{clock}\t From  {name}{whom} : " + "\n".join(lines) + "\n"
    whom = f"{to}(Direct Message)" if to else "Everyone"
    return f"{clock} From {name} to {whom}:\n" + "".join(f"\t{line}\n" for line in lines)


@given(st.lists(MESSAGE, min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_what_is_rendered_in_any_dialect_is_read(messages: list[Any], end: str) -> None:
    text = "".join(rendered(*message) for message in messages).replace("\n", end)
    found = [*zoom_saved_chat.read(io.BytesIO(text.encode()), LABELS)]
    assert [(kind, t.speaker, t.text, t.seconds) for kind, t in found] == [
        (PRIVATE if to else PUBLIC, name, "\n".join(lines), float(second))
        for second, name, to, lines, _ in messages
    ]
    for kind in (PUBLIC, PRIVATE):
        numbers = [turn.index for modality, turn in found if modality is kind]
        assert numbers == [*range(len(numbers))]
