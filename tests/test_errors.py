"""A refusal is one line that a person can act on, and its class decides the exit code."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import errors
from harness.errors import (
    Denied,
    ExitCode,
    HarnessError,
    Preempted,
    ProbeFailed,
    Refused,
    Unwritable,
    UsageError,
)

CODES = {
    HarnessError: 4, Refused: 4, UsageError: 2, Denied: 3, ProbeFailed: 6, Preempted: 75,
    Unwritable: 5,
}  # fmt: skip
BREAKS = st.sampled_from("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\t ")
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), BREAKS))


def one_line(text: str) -> str:
    """What remains of a text when every run of white space is one space."""
    return " ".join(text.split())


@given(TEXTS, TEXTS, TEXTS)
def test_a_refusal_is_one_line_that_holds_all_its_parts(what: str, where: str, remedy: str) -> None:
    line = str(HarnessError("SOME_CODE", what, where, remedy))
    assert line.splitlines() == [line]
    assert line.startswith("SOME_CODE:")
    places = [line.find(one_line(part)) for part in (what, where, remedy)]
    assert min(places) >= 0


def test_empty_parts_leave_no_punctuation_behind() -> None:
    assert str(Refused("CODE", "wrong")) == "CODE: wrong"
    assert str(Refused("CODE", "wrong", "file.json")) == "CODE: wrong (file.json)"
    assert str(Refused("CODE", "wrong", remedy="repair it")) == "CODE: wrong; repair it"
    assert str(Refused("CODE", "wrong", "a", "b")) == "CODE: wrong (a); b"


@pytest.mark.parametrize(("kind", "code"), CODES.items(), ids=lambda value: str(value))
def test_exit_codes_are_those_of_the_contract(kind: type[HarnessError], code: int) -> None:
    assert kind("CODE", "wrong").exit_code == code


def test_the_exit_codes_as_a_whole() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0, "USAGE": 2, "DENIED": 3, "REFUSED": 4, "INTERNAL": 5, "PROBE": 6,
        "PREEMPTED": 75,
    }  # fmt: skip


def test_every_class_has_its_code_listed_here() -> None:
    here = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert {kind for kind in here if issubclass(kind, HarnessError)} == {*CODES}


def test_errors_of_other_rooms_end_with_codes_of_the_contract() -> None:
    codes = {kind.exit_code for kind in HarnessError.__subclasses__()}
    assert {*CODES.values()} <= codes <= {*ExitCode} - {ExitCode.DONE}


@pytest.mark.parametrize("kind", CODES)
def test_a_refusal_survives_the_way_between_processes(kind: type[HarnessError]) -> None:
    error = kind("CODE", "wrong", "here", "repair it")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
