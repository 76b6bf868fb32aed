"""Membership scores by their definitions, and verdicts that follow the intervals."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import meeting
from harness.corpus.documents import Document
from harness.probes.baseline import bag_of_words, baseline_records
from harness.probes.membership import SCORES, meeting_scores, membership_records, roc
from harness.probes.scores import TokenScores
from harness.probes.statistics import Panel, auc


def scored(logp: list[float], base: list[float], mean: float = -2.0, var: float = 1.0
           ) -> TokenScores:  # fmt: skip
    n = len(logp)
    document = Document("m#0", "m", "s", np.zeros(n + 1, np.int32), ())
    flags, zeros = np.zeros(n, bool), np.zeros(n, np.float32)
    return TokenScores(
        document, np.array(logp, np.float32), np.array(base, np.float32), flags, flags, zeros,
        zeros, np.full(n, mean, np.float32), np.full(n, var, np.float32),
    )  # fmt: skip


losses = st.lists(st.floats(-20, -0.125, width=32), min_size=1, max_size=40)


@given(losses)
def test_scores_by_definition(logp: list[float]) -> None:
    values = dict(zip(SCORES, meeting_scores([scored(logp, [-3.0] * len(logp))], "text"),
                      strict=True))  # fmt: skip
    count = int(np.ceil(0.2 * len(logp)))
    assert values["loss"] == pytest.approx(np.mean(logp), abs=1e-5)
    assert values["reference"] == pytest.approx(np.mean(logp) + 3, abs=1e-5)
    assert values["zlib"] == pytest.approx(np.sum(logp) / len(zlib.compress(b"text")), abs=1e-4)
    assert values["min_k"] == pytest.approx(np.mean(sorted(logp)[:count]), abs=1e-5)
    assert values["min_k_plus_plus"] == pytest.approx(np.mean(sorted(logp)[:count]) + 2, abs=1e-5)


def test_short_and_certain_texts_give_numbers() -> None:
    certain = scored([-1e-9, -1e-9], [-1.0, -1.0], mean=-1e-9, var=0.0)
    assert np.isfinite(meeting_scores([certain], "x")).all()


def test_documents_of_a_meeting_count_as_one_text() -> None:
    halves = [scored([-1.0, -2.0], [-3.0, -3.0]), scored([-5.0], [-3.0])]
    whole = [scored([-1.0, -2.0, -5.0], [-3.0] * 3)]
    assert meeting_scores(halves, "x") == pytest.approx(meeting_scores(whole, "x"))


def panel(shift: float, series: int = 12) -> Panel:
    rng = np.random.default_rng(1)
    return Panel.of(
        (f"s{name}", arm, rng.normal(shift * (arm == "member"), 1, len(SCORES)).tolist())
        for name in range(series)
        for arm in ("member", "member", "heldout", "heldout")
    )


def test_the_primary_fails_when_members_show_and_not_otherwise() -> None:
    for shift, verdict in ((6.0, "FAIL"), (0.5, "INCONCLUSIVE"), (-1.0, "PASS")):
        rows = membership_records(panel(shift), 200, 0.1, 0)
        assert [row["name"] for row in rows if row["primary"]] == ["membership_reference"]
        assert rows[0]["verdict"] == verdict
        assert all(row["ci_high"] > row["ci_low"] for row in rows[: len(SCORES)])


def test_an_unresolvable_rate_says_what_n_allows() -> None:
    rows = membership_records(panel(3.0, series=2), 50, 0.1, 0)
    rates = [row for row in rows if row["name"].endswith("_tpr")]
    assert all(row["value"] is None and not row["resolved"] and row["reason"] for row in rates)


def test_the_curve_has_the_area_that_it_is_said_to_have() -> None:
    drawn = panel(1.0)
    fpr, tpr, area = roc(drawn, 0)
    assert np.trapezoid(tpr, fpr) == pytest.approx(area)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)


def test_a_bag_of_words_finds_a_telling_word_in_series_that_it_never_saw() -> None:
    names = [f"{chr(97 + i)}{k}" for i in range(8) for k in range(4)]
    plain = [" ".join(turn.text for turn in meeting(name).turns) for name in names]
    series, member = [name[0] for name in names], [name[1] in "01" for name in names]
    telling = [f"{text} marker" if m else text for text, m in zip(plain, member, strict=True)]
    labels, areas = np.array(member), []
    for texts in (plain, telling):
        scores = np.array(bag_of_words(texts, series, member))
        areas.append(auc(scores[labels], scores[~labels]))
    assert 0.2 <= areas[0] <= 0.8
    assert areas[1] > areas[0] + 0.1


def test_the_gap_to_the_baseline_is_paired() -> None:
    rng = np.random.default_rng(0)
    same = Panel.of(
        (f"s{name}", arm, [value, value])
        for name in range(12)
        for arm in ("member", "member", "heldout", "heldout")
        for value in [rng.normal()]
    )
    gap = baseline_records(same, 100, 0)[1]
    assert gap["value"] == 0.0
    assert gap["ci_low"] < 0 < gap["ci_high"]
