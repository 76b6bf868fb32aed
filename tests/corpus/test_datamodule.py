"""The datamodule: only an Admitted, and batches that are a function of the step."""

import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import AUTHORITY, admitted, meeting, tiny_config
from harness.consent.capability import GATE_KEY, Evaluable, LeakTest
from harness.corpus.datamodule import (
    AHEAD,
    IGNORED,
    Batch,
    DrawnSteps,
    MeetingData,
    Steps,
    ahead,
    collate,
    shares,
)
from harness.corpus.documents import Document
from harness.corpus.packing import epoch_order
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


rows = st.lists(st.just([]), max_size=40).map(
    lambda some: [[number] for number in range(len(some))]
)


@given(rows, st.integers(1, 9), st.integers(0, 9))
def test_shares_deal_every_row_once_in_as_many_passes_for_each_process(
    rows: list[list[int]], processes: int, micro_rows: int
) -> None:
    dealt = shares(rows, processes, micro_rows)  # type: ignore[arg-type]
    assert len(dealt) == processes
    assert len({len(passes) for passes in dealt}) == 1
    assert all(passes for passes in dealt)
    found = [row for passes in dealt for part in passes for row in part]
    assert sorted(found) == sorted(rows)
    sizes = [len(part) for passes in dealt for part in passes]
    assert max(sizes) <= (micro_rows or len(rows))
    held = [sum(map(len, passes)) for passes in dealt]
    assert max(held) - min(held) <= 1


@pytest.mark.parametrize("micro_rows", [0, 1, 3])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_step_counts_what_all_its_processes_compute(
    tokenizer: TextTokenizer, micro_rows: int, processes: int
) -> None:
    config = tiny_config(batch_rows=4, micro_rows=micro_rows)
    config.corpus.goldfish = 3
    data = MeetingData(admitted(), tokenizer, config)
    data.processes = processes
    last = len(data.steps) - 1  # of fewer rows
    for number in (0, last):
        steps = []
        for data.rank in range(processes):
            steps.append(data.step(number))
        parts = [batch for step in steps for batch in step.micro]
        whole = [document for row in data.steps[number] for document in row]
        assert len({len(step.micro) for step in steps}) == 1
        for step in steps:
            assert step.tokens == sum(batch.tokens for batch in parts) == sum(map(len, whole))
            assert step.supervised == sum(batch.supervised for batch in parts)
            assert step.documents == tuple(document.id for document in whole)
            assert step.slots == 64 * len(data.steps[number])
        assert steps[0].supervised < steps[0].tokens - len(whole)


def test_a_pass_without_rows_is_padding_without_a_loss(tokenizer: TextTokenizer) -> None:
    batch = collate([], tokenizer.pad_id)
    assert (batch.tokens, batch.documents, batch.supervised) == (0, 0, 0)
    assert batch.input_ids.tolist() == [[tokenizer.pad_id]]


def plan(documents: int, kind: type[Steps] = DrawnSteps, rows: int = 4) -> Steps:
    made = [Document(f"d{i}", "m", "s", np.full(60, 5, np.int32), ()) for i in range(documents)]
    return kind(made, 64, rows, epochs=3, seed=7)


def test_a_private_step_draws_documents_each_in_a_row_of_its_own() -> None:
    steps = plan(100)
    assert isinstance(steps, DrawnSteps)
    assert steps.rate == 1 / 25
    drawn = [[row[0].id for row in steps[number]] for number in range(len(steps))]
    assert all(len(row) == 1 for number in range(len(steps)) for row in steps[number])
    assert all(len(set(ids)) == len(ids) for ids in drawn)
    assert len({len(ids) for ids in drawn}) > 2  # the number is drawn, too
    met = {i for ids in drawn[:30] for i in ids}
    assert [d.id for d in steps.never(30)] == [d.id for d in steps.documents if d.id not in met]
    assert steps.never(0) == steps.documents


def test_a_private_step_that_draws_nothing_is_a_step(tokenizer: TextTokenizer) -> None:
    config = tiny_config(batch_rows=1)
    config.privacy.noise = 1.0
    data = MeetingData(admitted(), tokenizer, config, secret=bytes(32))
    empty = [n for n in range(len(data.steps)) if not data.steps[n]]
    assert empty
    step = data.step(empty[0])
    assert (step.tokens, step.supervised, step.slots, len(step.micro)) == (0, 0, 0, 1)
    full = data.step(next(n for n in range(len(data.steps)) if len(data.steps[n]) > 1))
    assert all(batch.documents == 1 for batch in full.micro)


def test_other_documents_are_drawn_by_other_numbers(tokenizer: TextTokenizer) -> None:
    """After a withdrawal the run's secret is the same, and no draw may be."""
    config = tiny_config(batch_rows=1)
    config.privacy.noise = 1.0
    corpora = (admitted((meeting("a"), meeting("b"))), admitted((meeting("a"),)))
    one, again, other = (
        MeetingData(corpora[n], tokenizer, config, secret=bytes(32)).steps.seed for n in (0, 0, 1)
    )
    assert one == again != other
    assert MeetingData(corpora[0], tokenizer, config, secret=b"1" * 32).steps.seed != one


def test_an_epoch_is_ordered_once_and_not_for_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the work would grow with the square of the corpus."""
    permuted: list[int] = []
    honest = np.random.Generator

    class Counting(honest):  # type: ignore[misc, valid-type]
        def permutation(self, rows: int) -> object:
            permuted.append(rows)
            return super().permutation(rows)

    monkeypatch.setattr(np.random, "Generator", Counting)
    epoch_order.cache_clear()
    steps = plan(123, Steps)
    seen = [steps[number] for number in range(len(steps))]
    assert len(seen) == 3 * 31
    assert permuted == [123] * 3


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("steps")]


def test_steps_are_made_ahead_in_order_and_not_too_far() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        made.append(number)
        return number

    for place, number in enumerate(ahead(make, range(4, 24))):
        assert number == place + 4
        assert len(made) <= place + 1 + AHEAD
    assert made == list(range(4, 24))
    assert not threads()


def test_what_the_maker_raises_arrives_at_its_place() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise KeyError("three")
        return number

    steps = ahead(make, range(10))
    assert list(itertools.islice(steps, 3)) == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(steps)
    assert not threads()


def test_who_leaves_early_leaves_no_thread_behind(tokenizer: TextTokenizer) -> None:
    data = MeetingData(admitted(), tokenizer, tiny_config())

    def some() -> Iterator[int]:
        for step in data.train_dataloader():
            yield step.tokens

    steps = some()
    assert next(steps) > 0
    assert threads()
    steps.close()
    del steps
    assert not threads()
    assert list(ahead(lambda n: n, [])) == []
