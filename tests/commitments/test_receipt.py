"""The receipt is equal exactly when nothing but what was admitted went in."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import admitted, meeting, tiny_config
from harness.commitments.receipt import Committer, Observer, Span, arm_leaves, receipt, secret
from harness.consent.capability import GatedTurn
from harness.corpus.canaries import WORDS
from harness.corpus.datamodule import Batch, MeetingData
from harness.models.tokenizer import TextTokenizer, tiny_tokenizer
from harness.rundir import RunDir

TOKENIZER = TextTokenizer(tiny_tokenizer(WORDS))
COMMITTER = Committer(b"k" * 32)


def made(change: Callable[[Batch], Batch] = lambda batch: batch, skip: int = 0) -> dict[str, Any]:
    data = MeetingData(admitted(), TOKENIZER, tiny_config(epochs=1))
    observer = Observer(COMMITTER, TOKENIZER.bos_id, TOKENIZER.pad_id)
    for number, batch in enumerate(b for step in data.train_dataloader() for b in step.micro):
        if number >= skip:
            passed = change(batch) if number == skip else batch
            observer.observe(passed.input_ids.numpy(), passed.spans)
    return receipt(COMMITTER, arm_leaves(COMMITTER, data.meetings, {}), data.carriers, observer)


def test_undisturbed_training_is_equal_and_counts_its_tokens() -> None:
    data = MeetingData(admitted(), TOKENIZER, tiny_config(epochs=1))
    corpus = data.meetings + data.carriers
    assert made()["equal"] is True
    assert made()["tokens"] == sum(len(document) for document in corpus)


def test_a_turn_left_out_makes_it_unequal() -> None:
    assert made(skip=1)["equal"] is False


def overwrite(batch: Batch) -> Batch:
    """Another turn's tokens under an admitted turn's name."""
    ids = batch.input_ids.clone()
    start, end, _ = batch.spans[0][0]
    ids[0, start:end] = TOKENIZER.encode("x")[0]
    return replace(batch, input_ids=ids)


def unnamed(batch: Batch) -> Batch:
    """Tokens that the spans do not mention."""
    return replace(batch, spans=(batch.spans[0][1:], *batch.spans[1:]))


def misnamed(batch: Batch) -> Batch:
    """An admitted turn under the name of a denied one."""
    start, end, span = batch.spans[0][0]
    other = (start, end, replace(span, meeting="denied"))
    return replace(batch, spans=((other, *batch.spans[0][1:]), *batch.spans[1:]))


def behind_the_padding(batch: Batch) -> Batch:
    """Stray tokens where padding should be."""
    ids = np.concatenate([batch.input_ids.numpy(), np.full((len(batch.spans), 3), 99)], axis=1)
    return replace(batch, input_ids=type(batch.input_ids)(ids))


def in_place_of_the_start(batch: Batch) -> Batch:
    """A stray token where a document begins."""
    ids = batch.input_ids.clone()
    ids[0, 0] = 99
    return replace(batch, input_ids=ids)


@pytest.mark.parametrize(
    "change", [overwrite, unnamed, misnamed, behind_the_padding, in_place_of_the_start]
)
def test_anything_slipped_in_makes_it_unequal(change: Callable[[Batch], Batch]) -> None:
    assert made(change)["equal"] is False


def test_a_leaf_depends_on_identity_tokens_and_key() -> None:
    span = Span("m", "transcript", 3, 0, 2)
    leaves = {
        COMMITTER.turn(span, [1, 2]),
        COMMITTER.turn(span, [2, 1]),
        COMMITTER.turn(replace(span, turn=4), [1, 2]),
        COMMITTER.turn(replace(span, part=1), [1, 2]),
        COMMITTER.turn(replace(span, modality="chat_public"), [1, 2]),
        COMMITTER.turn(replace(span, meeting="n"), [1, 2]),
        Committer(b"j" * 32).turn(span, [1, 2]),
    }
    assert len(leaves) == 7
    assert COMMITTER.turn(replace(span, start=7, end=9), [1, 2]) in leaves


def test_roots_of_unopened_arms_change_with_their_content_digest() -> None:
    data = MeetingData(admitted((meeting("m1"),)), TOKENIZER, tiny_config(epochs=1))
    observer = Observer(COMMITTER, TOKENIZER.bos_id, TOKENIZER.pad_id)
    roots = {
        receipt(
            COMMITTER,
            arm_leaves(COMMITTER, data.meetings, {"heldout": (("h1", digest),)}),
            [],
            observer,
        )["heldout_root"]
        for digest in ("a", "b")
    }
    assert len(roots) == 2


def prompted(skip: int = -1) -> dict[str, Any]:
    """Receipt of a training on pairs; one kind of span is left out of what is observed."""
    pairs = tuple(GatedTurn("summary_ai", i, -1, "an answer", "a query") for i in range(2))
    train = tuple(replace(m, turns=(*m.turns, *pairs)) for m in map(meeting, ("m1", "m2")))
    config = tiny_config(epochs=1)
    config.corpus.task, config.corpus.row_tokens = "sft", 256
    data = MeetingData(admitted(train), TOKENIZER, config)
    observer = Observer(COMMITTER, TOKENIZER.bos_id, TOKENIZER.pad_id)
    for batch in (b for step in data.train_dataloader() for b in step.micro):
        spans = tuple(
            tuple(s for s in row if (s[2].modality, s[2].turn) != ("template", skip))
            for row in batch.spans
        )
        observer.observe(batch.input_ids.numpy(), spans)
    return receipt(COMMITTER, arm_leaves(COMMITTER, data.meetings, {}), data.carriers, observer)


def test_a_template_is_admitted_and_counted_under_a_root_of_its_own() -> None:
    found = prompted()
    assert found["equal"] is True
    assert found["leaves"]["template"] == 4
    assert found["leaves"]["observed"] == sum(
        found["leaves"][arm] for arm in ("train", "canary", "template")
    )
    assert len({found[f"{arm}_root"] for arm in ("train", "canary", "template")}) == 3
    assert made()["leaves"]["template"] == 0


@pytest.mark.parametrize("part", range(1, 4))
def test_no_part_of_a_template_enters_unexplained(part: int) -> None:
    assert prompted(skip=part)["equal"] is False


def test_processes_that_ask_at_once_get_one_secret(tmp_path: Path) -> None:
    run = RunDir(tmp_path, tiny_config())
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: secret(run, "noise.key"), range(64)))
    assert len(found) == 1
    assert [path.name for path in run.file("private").iterdir()] == ["noise.key"]
    assert run.file("private", "noise.key").stat().st_mode & 0o777 == 0o600
