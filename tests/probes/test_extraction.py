"""Extraction: what teacher forcing says is what generate does; definitions at their edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel

from harness.config import Probe
from harness.corpus.documents import Document
from harness.probes.extraction import (
    cut_windows,
    decide,
    document_extraction,
    exact_memorisation,
    extraction_strength,
    generates_suffix,
    longest_run,
    opening_windows,
    verbatim_records,
    window_records,
)
from harness.probes.scores import Cost, TokenScores, score

PROBE = Probe(prefixes=[4, 8], suffix=6, windows=8, resamples=100)
flags = st.lists(st.booleans(), min_size=1, max_size=60).map(np.array)


@given(flags)
def test_strength_run_and_memorisation_by_counting(ok: np.ndarray) -> None:
    text = "".join("x" if right else "." for right in ok)
    assert longest_run(ok) == max(len(run) for run in text.split("."))
    assert extraction_strength(ok) == pytest.approx(len(text.rpartition(".")[2]) / len(text))
    assert exact_memorisation(ok) == pytest.approx(text.count("x") / len(text))


def test_windows_have_the_same_suffixes_for_each_prefix_and_do_not_overlap(
    unseen: list[Document],
) -> None:
    windows = cut_windows([("heldout", document) for document in unseen], PROBE)
    by_k = {k: [w for w in windows if w.k == k] for k in PROBE.prefixes}
    assert len(by_k[4]) == len(by_k[8]) > len(unseen)
    for short, long in zip(by_k[4], by_k[8], strict=True):
        assert short.document.ids[-6:].tolist() == long.document.ids[-6:].tolist()
        assert short.document.ids[1:5].tolist() == long.document.ids[5:9].tolist()
        assert len(short.document) == 1 + 4 + 6
    first = by_k[8][0]
    assert first.document.ids.tolist() == unseen[0].ids[: 1 + 8 + 6].tolist()
    places = [w.document.id for w in by_k[8]]
    assert len(set(places)) == len(places)
    assert cut_windows([("heldout", unseen[0])], Probe(prefixes=[4, 500])) == []


def test_teacher_forcing_agrees_with_generate(
    memorised: PeftModel, trained: list[Document], unseen: list[Document]
) -> None:
    """On memorised and unmemorised windows alike, near-ties apart, which are few."""
    texts = [("member", d) for d in trained] + [("heldout", d) for d in unseen]
    windows = opening_windows(texts, suffix=6, each=12)
    outcomes = decide(memorised, windows, Probe(suffix=6, near_tie=1e-3), Cost())
    generated = [generates_suffix(memorised, window, Cost()) for window in windows]
    assert sum(generated) >= 40
    assert len(windows) - sum(generated) >= 200
    clear = [(o, g) for o, g in zip(outcomes, generated, strict=True) if not o.near_tie]
    assert all(outcome.extracted == g for outcome, g in clear)
    assert len(clear) >= 0.98 * len(windows)


def test_near_ties_are_decided_by_generate(memorised: PeftModel, trained: list[Document]) -> None:
    """With a threshold that makes everything close, every window without a miss is checked."""
    windows = cut_windows([("member", d) for d in trained], PROBE)
    outcomes = decide(memorised, windows, Probe(suffix=6, near_tie=1e9), Cost())
    assert all(outcome.near_tie for outcome in outcomes)
    assert [o.extracted for o in outcomes] == [
        generates_suffix(memorised, window, Cost()) for window in windows
    ]


def test_memorised_documents_fail_the_primary_and_the_others_do_not(
    memorised: PeftModel, trained: list[Document], unseen: list[Document]
) -> None:
    scored = score(memorised, trained + unseen[:4], 1000, Cost())
    arms = ["member"] * 4 + ["heldout"] * 4
    same_series = [(arm, item) for arm, item in zip(arms, scored, strict=True)]
    for _, item in same_series:
        object.__setattr__(item.document, "series", "s")
    found = document_extraction(same_series, PROBE)
    assert found["value"] > 0.5
    assert (found["primary"], found["verdict"]) == (True, "FAIL")
    swapped = [(arm, item) for arm, item in zip(reversed(arms), scored, strict=True)]
    assert document_extraction(swapped, PROBE)["verdict"] == "PASS"


def test_records_say_what_the_base_model_does_too(
    memorised: PeftModel, trained: list[Document], unseen: list[Document]
) -> None:
    texts = [("member", d) for d in trained] + [("heldout", d) for d in unseen]
    outcomes = decide(memorised, cut_windows(texts, PROBE), PROBE, Cost())
    members, heldout = window_records(outcomes, 100, 0)
    assert members["value"] > heldout["value"]
    assert [stratum["name"] for stratum in members["strata"]] == ["k=4", "k=8"]
    scored = [("member", s) for s in score(memorised, trained, 1000, Cost())]
    scored += [("heldout", s) for s in score(memorised, unseen, 1000, Cost())]
    rows, arms = verbatim_records(scored, 100, 0)
    assert {row["name"] for row in rows} >= {"exact_memorisation_members", "longest_run_heldout"}
    member = arms[0]["exact_memorisation"]
    assert member["adapter"] > 0.9 > member["base"]


def many_documents(each: int, seed: int) -> list[tuple[str, TokenScores]]:
    """Meetings without any memorisation that differ in how predictable they are."""
    rng, found = np.random.default_rng(seed), []
    for series in range(5):
        for arm in ("member", "heldout"):
            for number in range(2):
                name, right = f"{arm}-{series}-{number}", rng.uniform(0.3, 1.0)
                for part in range(each):
                    ids = np.zeros(61, np.int32)
                    item = Document(f"{name}#{part}", name, f"s{series}", ids, ())
                    zeros, ok = np.zeros(60, np.float32), rng.random(60) < right
                    floats = (zeros, zeros, ok, ~ok, zeros, zeros, zeros, zeros)
                    found.append((arm, TokenScores(item, *floats)))
    return found


def test_the_meeting_is_the_unit_however_many_documents_it_has() -> None:
    """Documents of a meeting are not independent: counted one by one they reject far too often."""
    probe = Probe(prefixes=[2], suffix=2, resamples=49)
    records = [document_extraction(many_documents(8, seed), probe) for seed in range(60)]
    assert {(record["n"], record["unit"]) for record in records} == {(20, "meeting")}
    assert sum(record["p_value"] <= 0.05 for record in records) <= 9  # 3 expected; P < 0.2 %
