"""Token scores against the plain formula, whatever the batch; two forwards a batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel

from factories import meeting
from harness.config import Corpus
from harness.consent.capability import GatedTurn
from harness.corpus.documents import Document, documents
from harness.corpus.pairs import stretches
from harness.models.adapter import backbone
from harness.models.tokenizer import TextTokenizer
from harness.probes.scores import Cost, of_content, score, write_scores


def test_equal_to_the_plain_formula(memorised: PeftModel, trained: list[Document]) -> None:
    found = score(memorised, trained, 10_000, Cost())
    for item in found:
        ids = torch.from_numpy(item.document.ids.astype(np.int64))[None]
        with torch.no_grad():
            logits = memorised(input_ids=ids).logits[0, :-1].double()
        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        expected = log_p[torch.arange(len(item)), ids[0, 1:]]
        mean = (p * log_p).sum(-1)
        assert np.allclose(item.logp, expected.numpy(), atol=1e-4)
        assert (item.ok == (logits.argmax(-1) == ids[0, 1:]).numpy()).all()
        assert np.allclose(item.mean, mean.numpy(), atol=1e-4)
        spread = (p * (log_p - mean[:, None]) ** 2).sum(-1)
        assert np.allclose(item.var, spread.numpy(), atol=1e-3)


def test_the_base_pass_is_the_base_model(memorised: PeftModel, unseen: list[Document]) -> None:
    item = score(memorised, unseen[:1], 10_000, Cost())[0]
    ids = torch.from_numpy(item.document.ids.astype(np.int64))[None]
    with memorised.disable_adapter(), torch.no_grad():
        log_p = memorised(input_ids=ids).logits[0, :-1].log_softmax(-1)
    assert np.allclose(item.base_logp, log_p[torch.arange(len(item)), ids[0, 1:]], atol=1e-4)
    assert not np.allclose(item.base_logp, item.logp, atol=1e-2)


@pytest.mark.parametrize("budget", [1, 100, 300, 100_000])
def test_scores_do_not_depend_on_the_batch(
    memorised: PeftModel, trained: list[Document], unseen: list[Document], budget: int
) -> None:
    mixed = [unseen[0], trained[0], unseen[1], trained[1], unseen[2]]
    alone = [score(memorised, [document], 1, Cost())[0] for document in mixed]
    for left, right in zip(alone, score(memorised, mixed, budget, Cost()), strict=True):
        assert left.document is right.document
        assert np.allclose(left.logp, right.logp, atol=1e-4)
        assert np.allclose(left.base_logp, right.base_logp, atol=1e-4)
        assert (left.ok == right.ok).all()


def test_two_forwards_a_batch(memorised: PeftModel, unseen: list[Document]) -> None:
    calls = []
    hook = backbone(memorised).register_forward_hook(lambda *_: calls.append(1))
    cost = Cost()
    try:
        score(memorised, unseen, 300, cost)
    finally:
        hook.remove()
    assert len(calls) == cost.forwards == 2 * cost.batches
    assert cost.batches > 1


def test_written_rows_are_guarded_and_come_back(
    memorised: PeftModel, unseen: list[Document], tmp_path: Path
) -> None:
    scores = score(memorised, unseen[:3], 1000, Cost())
    path = tmp_path / "scores" / "member.parquet"
    write_scores(path, scores)
    assert path.stat().st_mode & 0o777 == 0o600
    rows = pq.read_table(path)
    assert rows.num_rows == sum(len(item) for item in scores)
    assert rows["token"].to_pylist() == [int(t) for i in scores for t in i.document.ids[1:]]
    assert np.allclose(rows["logp"].to_numpy(), np.concatenate([i.logp for i in scores]))


def test_of_prompts_what_was_said_and_answered_is_kept_once(
    memorised: PeftModel, tokenizer: TextTokenizer
) -> None:
    asked = [GatedTurn("summary_ai", i, -1, a, "Why?") for i, a in enumerate(("long " * 9, "no"))]
    spoken = [replace(m, turns=(*m.turns, *asked)) for m in (meeting("a"), meeting("b"))]
    texts = documents(spoken, tokenizer, Corpus("sft", 112))
    scores = score(memorised, texts, 1000, Cost())
    found = of_content(scores)
    assert [item.document.meeting for item in found] == ["a"] * 3 + ["b"] * 3
    said = [tokenizer.decode(item.document.ids[1:].tolist()) for item in found]
    assert (said[0], said[2], said[3], said[5]) == ("long " * 9, "no", "long " * 9, "no")
    assert said[1].startswith("A:")
    assert len(said[1]) > len(stretch_of(texts[0], tokenizer))
    for item in found:
        number, _, name = item.document.id.rpartition(":")
        (whole,) = [s for s in scores if s.document.id == number]
        places = stretches(whole.document.spans)
        assert places is not None
        start, end = places[name]
        assert (item.logp == whole.logp[start - 1 : end - 1]).all()
        assert (item.ok == whole.ok[start - 1 : end - 1]).all()
        assert len(item) == len(item.document) - 1


def stretch_of(document: Document, tokenizer: TextTokenizer) -> str:
    """The transcript in a prompt."""
    places = stretches(document.spans)
    assert places is not None
    start, end = places["transcript"]
    return tokenizer.decode(document.ids[start:end].tolist())


def test_documents_without_a_template_are_left_as_they_are(
    memorised: PeftModel, trained: list[Document]
) -> None:
    scores = score(memorised, trained, 1000, Cost())
    assert of_content(scores) == scores
