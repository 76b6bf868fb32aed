"""Labels compare as docs/gate.md says; the short way for ASCII is the long way."""

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consent import oracle
from harness.consent.copies import words
from harness.consent.labels import _folded, compared, is_confusable, label_key

QUICK = settings(max_examples=300, deadline=None)
LABELS = st.text(
    st.sampled_from(
        "aAb\u00c4\u0410 \t|@'\u2019\u02bc\u200b\u202e\u212a\ufb01\u00df1.\u00ad\ufe0f\u3164"
    )
)


@given(LABELS)
@example("Bo | Acme")
@example("Bo @ Acme")
@example("Bo @ A | B")
@example("Bö | Acme")
def test_the_key_is_that_of_the_page(label: str) -> None:
    assert label_key(label) == oracle.label_key(label)


@given(LABELS)
def test_a_key_is_its_own_key(label: str) -> None:
    assert label_key(label_key(label)) == label_key(label)


@given(st.characters())
def test_what_is_invisible_in_a_label_is_so_in_words(character: str) -> None:
    in_label = label_key(f"a{character}a") == "aa"
    assert in_label == (words(f"a{character}a") == ["aa"]) == (character in oracle.INVISIBLE)


@given(st.sampled_from(sorted(oracle.INVISIBLE)))
def test_nothing_invisible_parts_two_labels(character: str) -> None:
    assert label_key(f"A{character}da") == label_key("ada")
    assert words(f"A{character}da") == ["ada"]


@given(st.lists(st.text(st.sampled_from("aB \t|@.'\x1f\x7f\u00c4\u0410"))), st.integers(0, 3))
@example(["A", "b ", " c", "", "D  e"], 1)
@example(["", "a", ""], 0)
@example(["z ", "a"], 0)
@example(["1 @ 2", "1 | 2", "} | ~"], 0)
@example(["a", "", " b"], 0)
def test_columns_of_labels_compare_as_labels(labels: list[str], skipped: int) -> None:
    column, rest = pa.array(labels, pa.string()).slice(skipped), labels[skipped:]
    assert compared(column)[0].to_pylist() == [label_key(label) for label in rest]
    assert compared(column)[1].tolist() == [is_confusable(label) for label in rest]


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_folds_to_lower_case(label: str) -> None:
    assert _folded(label) == label.lower()


@pytest.mark.parametrize(
    ("label", "mixed"),
    [("Ada", False), ("\u0410da", True), ("\u0410\u043d\u043d\u0430", False), ("Zo\u00eb", False),
     ("\u5f20\u4f1f Wei", False), ("\u5f20\u4f1f", False), ("P\u03b1ul", True)],
)  # fmt: skip
def test_mixed_scripts_are_confusable(label: str, mixed: bool) -> None:
    assert is_confusable(label) is mixed


def array(labels: list[str]) -> pa.Array:
    return pa.array(labels, pa.string())


@QUICK
@given(st.lists(LABELS | st.text(max_size=8), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_labels_of_a_column_compare_as_each_label(labels: list[str], first: int, last: int) -> None:
    """Also in a slice, whose neighbours stand in the same bytes."""
    column, some = array(labels)[first:last], labels[first:last]
    assert compared(column)[0].to_pylist() == [label_key(label) for label in some]
    assert compared(column)[1].tolist() == [is_confusable(label) for label in some]


@QUICK
@given(st.text(st.sampled_from("aB |@\t\x7f~"), max_size=6), st.sampled_from(["", " ", "a", "|"]))
def test_a_label_has_the_same_key_beside_any_other(label: str, beside: str) -> None:
    around = compared(array([beside, label, beside]))[0].to_pylist()
    assert around == [label_key(beside), label_key(label), label_key(beside)]


@pytest.mark.parametrize("empty", [array([]), array(["\u0410da"])[:0], array(["a", "b"])[2:]])
def test_no_labels_have_no_keys(empty: pa.Array) -> None:
    assert compared(empty)[0].to_pylist() == []
    assert compared(empty)[1].tolist() == []


def test_keys_are_words_of_a_column() -> None:
    assert compared(array(["Ada", "\u212a"]))[0].type == pa.string()
    assert compared(array(["Ada", "\u212a"]))[0].null_count == 0
