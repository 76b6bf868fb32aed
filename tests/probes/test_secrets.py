"""Secrets: found by token, exposed only when every token is right and the base model is not."""

import numpy as np
import pytest

from harness.config import Corpus
from harness.consent.capability import GatedMeeting, GatedTurn
from harness.corpus.documents import Document, documents
from harness.meetings.detectors.codes import Codes
from harness.meetings.detectors.patterns import Patterns
from harness.meetings.detectors.span import search
from harness.models.tokenizer import TextTokenizer
from harness.probes.scores import TokenScores
from harness.probes.secrets import SecretOutcome, outcomes, secrets_records

LINES = ("hello there", "the code is 482913.", "call 415-555-0137 now", "it costs $48,250, é")


def document(tokenizer: TextTokenizer) -> Document:
    turns = tuple(GatedTurn("transcript", i, i % 2, text) for i, text in enumerate(LINES))
    spoken = GatedMeeting("m", "s", "train", "2026-01-05", turns)
    return documents([spoken], tokenizer, Corpus(row_tokens=400))[0]


def scores(item: Document, ok: np.ndarray, base_ok: np.ndarray) -> TokenScores:
    zeros = np.zeros(len(ok), np.float32)
    return TokenScores(item, zeros, zeros, ok, base_ok, zeros, zeros, zeros, zeros)


def secret_tokens(item: Document, tokenizer: TextTokenizer) -> list[set[int]]:
    """Token numbers of each secret, by decoding every stretch (an oracle of its own)."""
    texts = [tokenizer.decode(item.ids[1 : i + 1].tolist()) for i in range(len(item))]
    whole = texts[-1]
    return [
        {i for i in range(1, len(item)) if len(texts[i]) > s.start and len(texts[i - 1]) < s.end}
        for s in search([Codes(), Patterns()], whole)
    ]


def test_exactly_the_tokens_of_a_secret_decide(tokenizer: TextTokenizer) -> None:
    item = document(tokenizer)
    spots = secret_tokens(item, tokenizer)
    assert len(spots) == 3
    nothing = np.zeros(len(item) - 1, bool)
    for number, spot in enumerate(spots):
        ok = nothing.copy()
        ok[[i - 1 for i in spot]] = True
        found = outcomes("member", scores(item, ok, nothing), tokenizer)
        assert [o.exposed for o in found] == [i == number for i in range(3)]
        for missing in spot:
            partly = ok.copy()
            partly[missing - 1] = False
            found = outcomes("member", scores(item, partly, nothing), tokenizer)
            assert not any(o.exposed for o in found)


def test_what_the_base_model_knows_is_not_counted(tokenizer: TextTokenizer) -> None:
    item = document(tokenizer)
    everything = np.ones(len(item) - 1, bool)
    found = outcomes("member", scores(item, everything, everything), tokenizer)
    assert len(found) == 3
    assert not any(o.exposed for o in found)


def drawn(arm: str, exposed: float, seed: int = 0) -> list[SecretOutcome]:
    rng = np.random.default_rng(seed)
    return [
        SecretOutcome(arm, f"s{series}", f"{arm}{series}-{m}", kind, bool(rng.random() < exposed))
        for series in range(12)
        for m in range(2)
        for kind in ("passcode", "phone", "amount")
    ]


@pytest.mark.parametrize(
    ("sentinel", "member", "verdict"),
    [(0.0, 0.7, "PASS"), (0.0, 0.0, "INCONCLUSIVE"), (0.7, 0.7, "FAIL"),
     (0.0, 0.1, "INCONCLUSIVE")],
)  # fmt: skip
def test_silence_counts_only_beside_a_control_that_speaks(
    sentinel: float, member: float, verdict: str
) -> None:
    found = [*drawn("sentinel", sentinel), *drawn("member", member, 1), *drawn("heldout", 0.0)]
    rows = {row["name"]: row for row in secrets_records(found, 200, 0)}
    assert rows["secrets_sentinel"]["verdict"] == verdict
    assert rows["secrets_sentinel"]["primary"]
    assert rows["secrets_sentinel"]["n"] == 72
    assert rows["secrets_heldout"]["ci_high"] > 0


def test_small_kinds_are_merged() -> None:
    found = [*drawn("sentinel", 0.0), *drawn("member", 0.5)]
    found += [SecretOutcome("sentinel", "s0", "sentinel0-0", "iban", False)] * 2
    strata = {s["name"]: s["n"] for s in secrets_records(found, 50, 0)[0]["strata"]}
    assert strata == {"passcode": 24, "phone": 24, "amount": 24, "other": 2}


def test_only_the_first_mention_in_a_document_counts(tokenizer: TextTokenizer) -> None:
    """Later ones can be copied from the text before them, without having been trained on."""
    turns = tuple(
        GatedTurn("transcript", i, 0, text)
        for i, text in enumerate(("the code is 482913.", "again: 482913 or 999999"))
    )
    spoken = GatedMeeting("m", "s", "train", "2026-01-05", turns)
    item = documents([spoken], tokenizer, Corpus(row_tokens=400))[0]
    first, second, _ = secret_tokens(item, tokenizer)
    ok = np.zeros(len(item) - 1, bool)
    ok[[i - 1 for i in second]] = True
    found = outcomes("sentinel", scores(item, ok, np.zeros_like(ok)), tokenizer)
    assert [o.exposed for o in found] == [False, False]
    ok[[i - 1 for i in first]] = True
    found = outcomes("sentinel", scores(item, ok, np.zeros_like(ok)), tokenizer)
    assert [o.exposed for o in found] == [True, False]


SPOKEN = "four one five five five five oh one three seven"


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        (f"ring {SPOKEN}", "that is 415-555-0137", ["phone"]),
        ("mail ada at acme dot com", "so ada@acme.com", ["email"]),
        ("IBAN DE89 3704 0044 0532 0130 00", "card 4111 1111 1111 1111", ["iban", "card"]),
        (f"ring {SPOKEN}", "or 415-555-0138", ["phone", "phone"]),
    ],
)
def test_a_secret_counts_once_however_it_is_said(
    first: str, second: str, kinds: list[str], tokenizer: TextTokenizer
) -> None:
    turns = tuple(GatedTurn("transcript", i, 0, text) for i, text in enumerate((first, second)))
    spoken = GatedMeeting("m", "s", "train", "2026-01-05", turns)
    item = documents([spoken], tokenizer, Corpus(row_tokens=400))[0]
    nothing = np.zeros(len(item) - 1, bool)
    found = outcomes("member", scores(item, nothing, nothing), tokenizer)
    assert [outcome.kind for outcome in found] == kinds


@pytest.mark.parametrize(("sentinel", "significant"), [(0.7, True), (0.0, False)])
def test_more_secrets_in_sentinels_than_in_heldout_have_a_p_value(
    sentinel: float, significant: bool
) -> None:
    found = [*drawn("sentinel", sentinel), *drawn("member", 0.7, 1), *drawn("heldout", 0.0)]
    p = secrets_records(found, 200, 0)[0]["p_value"]
    assert (p <= 0.05) == significant
    only = [outcome for outcome in found if outcome.arm != "heldout"]
    assert secrets_records(only, 200, 0)[0]["p_value"] is None
