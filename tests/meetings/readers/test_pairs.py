"""Pairs of query and answer: our own format, and QMSum's lists."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.formats import PAIRS, READERS
from harness.meetings.model import Turn
from harness.meetings.readers import pairs
from meetings.readers.files import turns_of
from meetings.readers.test_qmsum import FOLDER

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(str.strip)


@given(st.lists(st.tuples(_TEXT, _TEXT), max_size=6))
def test_what_is_written_is_read(said: list[tuple[str, str]]) -> None:
    turns = [Turn(index, "", answer, None, query) for index, (query, answer) in enumerate(said)]
    assert READERS["pairs-jsonl"](pairs.write(turns)) == turns
    assert [turn.texts for turn in turns] == said


@pytest.mark.parametrize(
    "row",
    ['{"query": "q"}', '{"query": "q", "answer": " "}', '{"query": "", "answer": "a"}', "[]", "",
     '{"query": "q", "answer": 1}', '{"query": "q", "answer": "a", "extra": 1}',
     '{"query": "q", "answer": "a", "answer": "b"}', '{"speaker": "A", "text": "a"}'],
)  # fmt: skip
def test_broken_rows_are_refused_at_their_line(row: str) -> None:
    good = '{"query": "q", "answer": "a"}\n'
    with pytest.raises(Refused) as refused:
        turns_of(pairs, (good + row + "\n").encode())
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", "line 2")


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_no_file_is_imported_as_pairs_by_its_looks(name: str) -> None:
    assert name in READERS
    assert not pairs.looks('{"query": "q", "answer": "a"}')


def test_every_pair_at_hand_is_read() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no {FOLDER}")
    count = 0
    for path in sorted(FOLDER.glob("*.json")):
        raw = json.loads(path.read_bytes())
        entries = raw["general_query_list"] + raw["specific_query_list"]
        found = READERS["qmsum-pairs"](path.read_bytes())
        assert [turn.index for turn in found] == list(range(len(entries)))
        assert [turn.query for turn in found] == [" ".join(e["query"].split()) for e in entries]
        count += len(found)
    assert count == 949


@pytest.mark.parametrize(
    ("lists", "where"),
    [({"general_query_list": 1}, "general_query_list"),
     ({"general_query_list": [{"query": "q"}]}, "general_query_list[0]"),
     ({"specific_query_list": [{"query": "q", "answer": "a"}]}, "specific_query_list[0]"),
     ({"general_query_list": [{"query": "q", "answer": "{gap}"}]}, "general_query_list[0]"),
     ({"general_query_list": [{"query": None, "answer": "a"}]}, "general_query_list[0]")],
)  # fmt: skip
def test_other_lists_are_refused_where_they_are_wrong(lists: dict[str, object], where: str) -> None:
    with pytest.raises(Refused) as refused:
        READERS["qmsum-pairs"](json.dumps(lists).encode())
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", where)
