"""Labels compare as docs/gate.md says; the short way for ASCII is the long way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import oracle
from harness.consent.labels import _folded, is_confusable, label_key

LABELS = st.text(
    st.sampled_from("aAb\u00c4\u0410 \t|@'\u2019\u02bc\u200b\u202e\u212a\ufb01\u00df1.")
)


@given(LABELS)
def test_the_key_is_that_of_the_page(label: str) -> None:
    assert label_key(label) == oracle.label_key(label)


@given(LABELS)
def test_a_key_is_its_own_key(label: str) -> None:
    assert label_key(label_key(label)) == label_key(label)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_folds_to_lower_case(label: str) -> None:
    assert _folded(label) == label.lower()


@pytest.mark.parametrize(
    ("label", "confusable"),
    [("Ada", False), ("\u0410da", True), ("\u0410\u043d\u043d\u0430", False), ("Zo\u00eb", False),
     ("\u5f20\u4f1f Wei", False), ("P\u03b1ul", True)],
)  # fmt: skip
def test_mixed_scripts_are_confusable(label: str, confusable: bool) -> None:
    assert is_confusable(label) is confusable
