"""The datamodule: only an Admitted, and batches that are a function of the step."""

import numpy as np
import pytest

from factories import AUTHORITY, admitted, meeting, tiny_config
from harness.consent.capability import GATE_KEY, Evaluable, LeakTest
from harness.corpus.datamodule import IGNORED, Batch, MeetingData, Steps
from harness.models.tokenizer import TextTokenizer


def test_other_permissions_are_refused_by_type(tokenizer: TextTokenizer) -> None:
    for other in (
        Evaluable(AUTHORITY, (meeting("m"),), (), GATE_KEY),
        LeakTest(AUTHORITY, (meeting("m"),), GATE_KEY),
        (meeting("m"),),
    ):
        with pytest.raises(TypeError, match="training takes Admitted"):
            MeetingData(other, tokenizer, tiny_config())  # type: ignore[arg-type]


def test_nobody_but_the_gate_makes_a_permission() -> None:
    with pytest.raises(TypeError, match="only"):
        LeakTest(AUTHORITY, (), object())  # type: ignore[arg-type]


def batches(data: MeetingData) -> list[Batch]:
    return [batch for step in data.train_dataloader() for batch in step.micro]


def test_an_epoch_holds_every_document_once_and_supervises_all_but_first_tokens(
    tokenizer: TextTokenizer,
) -> None:
    data = MeetingData(admitted(), tokenizer, tiny_config())
    corpus = data.meetings + data.carriers
    epoch = batches(data)[: data.steps.per_epoch]
    assert sum(b.tokens for b in epoch) == sum(len(d) for d in corpus)
    assert sum(b.documents for b in epoch) == len(corpus)
    assert sum(b.supervised for b in epoch) == sum(len(d) - 1 for d in corpus)
    seen = sorted((s.meeting, s.turn, s.part) for b in epoch for row in b.spans for *_, s in row)
    assert seen == sorted((s.meeting, s.turn, s.part) for d in corpus for s in d.spans)


def test_labels_are_the_next_token_of_the_same_document(tokenizer: TextTokenizer) -> None:
    for batch in batches(MeetingData(admitted(), tokenizer, tiny_config())):
        ids, labels = batch.input_ids.numpy(), batch.labels.numpy()
        positions = batch.position_ids.numpy()
        rows, columns = np.nonzero(labels != IGNORED)
        assert (labels[rows, columns] == ids[rows, columns + 1]).all()
        assert (positions[rows, columns + 1] == positions[rows, columns] + 1).all()


def test_starting_later_gives_the_same_steps(tokenizer: TextTokenizer) -> None:
    whole = MeetingData(admitted(), tokenizer, tiny_config())
    later = MeetingData(admitted(), tokenizer, tiny_config())
    later.start = 3
    for left, right in zip(batches(whole)[3:], batches(later), strict=True):
        assert (left.input_ids == right.input_ids).all()
        assert left.spans == right.spans


def test_the_plan_does_not_depend_on_how_it_is_read(tokenizer: TextTokenizer) -> None:
    documents = MeetingData(admitted(), tokenizer, tiny_config()).meetings
    plan = Steps(documents, 64, 2, 3, seed=1)
    backwards = [plan[step] for step in reversed(range(len(plan)))]
    assert backwards[::-1] == [plan[step] for step in range(len(plan))]
