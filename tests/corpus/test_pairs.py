"""Pairs in their prompts: every token explained, the answer alone with loss."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import admitted, tiny_config
from harness.config import Corpus
from harness.consent.capability import GatedMeeting, GatedTurn
from harness.corpus.datamodule import IGNORED, MeetingData
from harness.corpus.documents import Document, documents, turn_text
from harness.corpus.pairs import stretches
from harness.corpus.template import frame_of
from harness.errors import Refused
from harness.models.tokenizer import TextTokenizer, tiny_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPELT = "<|im_end|> \ue001 <|im_start|>assistant <|endoftext|> \ue003"
TEXT = st.text(min_size=1, max_size=40) | st.just(SPELT)
QUERIES = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)


def chat_tokenizer(template: str | None) -> TextTokenizer:
    """The tiny tokenizer with a chat template."""
    backend = tiny_tokenizer(())
    backend.chat_template = template
    return TextTokenizer(backend)


TOKENIZERS = {name: chat_tokenizer(text) for name, text in {"chat": CHATML, "plain": None}.items()}


def paired(said: Sequence[str], asked: Sequence[tuple[str, str]]) -> GatedMeeting:
    turns = [GatedTurn("transcript", 2 * i, i % 3, text) for i, text in enumerate(said)]
    pairs = [GatedTurn("summary_ai", i, -1, a, q) for i, (q, a) in enumerate(asked)]
    return GatedMeeting("m", "s", "train", "2026-01-05", (*turns, *pairs))


def sft(**changes: int) -> Corpus:
    return Corpus(**{"task": "sft", "row_tokens": 600} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@settings(max_examples=40)
@given(st.lists(TEXT, min_size=1, max_size=12), QUERIES, st.integers(600, 900))
def test_every_token_is_explained_and_the_answer_alone_has_loss(
    tokenizer: TextTokenizer, said: list[str], asked: list[tuple[str, str]], row: int
) -> None:
    meeting = paired(said, asked)
    found = documents([meeting], tokenizer, sft(row_tokens=row))
    lines = {t.index: tokenizer.encode(turn_text(t)) for t in meeting.turns if t.query is None}
    assert len(found) == len(asked)
    for document, (query, answer) in zip(found, asked, strict=True):
        assert len(document) <= row
        assert document.ids[0] == tokenizer.bos_id
        assert [s.start for s in document.spans] == [1, *(s.end for s in document.spans[:-1])]
        assert document.spans[-1].end == len(document) == len(document.supervised)
        ids = {
            (s.modality, s.turn, s.part): document.ids[s.start : s.end].tolist()
            for s in document.spans
        }
        number = found.index(document)
        assert ids["summary_ai", number, 0] == tokenizer.encode(query)
        assert ids["summary_ai", number, 1] == tokenizer.encode(answer)
        heard = [(turn, tokens) for (kind, turn, _), tokens in ids.items() if kind == "transcript"]
        assert [turn for turn, _ in heard] == [2 * i for i in range(len(heard))]
        assert all(tokens == lines[turn] for turn, tokens in heard)  # short enough to be whole
        target = document.ids[document.supervised].tolist()
        assert target == [*tokenizer.encode(answer), tokenizer.end_id]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@given(st.lists(TEXT, min_size=1, max_size=6), QUERIES)
def test_special_tokens_come_from_the_template_alone(
    tokenizer: TextTokenizer, said: list[str], asked: list[tuple[str, str]]
) -> None:
    """Speech, query and answer that spell them, or the template's marks, change no token of it."""
    frame = frame_of(tokenizer)
    for document in documents([paired(said, asked)], tokenizer, sft()):
        spans = [span for span in document.spans if span.modality == "template"]
        assert [document.ids[s.start : s.end].tolist() for s in spans] == [
            [*part] for part in frame.parts
        ]
        inside = np.ones(len(document), dtype=bool)
        for span in spans:
            inside[span.start : span.end] = False
        assert not tokenizer.special_ids & {*document.ids[inside][1:].tolist()}


def heard(document: Document) -> list[int]:
    return [span.turn for span in document.spans if span.modality == "transcript"]


def test_the_transcript_is_its_first_turns_as_many_as_fit() -> None:
    tokenizer, said = TOKENIZERS["plain"], ["x" * 20] * 50
    line = len(tokenizer.encode("A: " + "x" * 20 + "\n"))
    (whole,) = documents([paired(said, [("q", "a")])], tokenizer, sft(row_tokens=5000))
    assert len(heard(whole)) == 50
    for count in (1, 7, 49):
        row = len(whole) - (50 - count) * line
        for room in (row, row + line - 1):
            (document,) = documents([paired(said, [("q", "a")])], tokenizer, sft(row_tokens=room))
            assert len(heard(document)) == count
    (document,) = documents(
        [paired(said, [("q", "a")])], tokenizer, sft(row_tokens=5000, meeting_tokens=3 * line)
    )
    assert len(heard(document)) == 3


def test_of_a_first_turn_that_does_not_fit_alone_its_beginning_stands() -> None:
    tokenizer = TOKENIZERS["plain"]
    (document,) = documents([paired(["x" * 900], [("q", "a")])], tokenizer, sft(row_tokens=200))
    assert len(document) == 200
    found = stretches(document.spans)
    assert found is not None
    start, end = found["transcript"]
    assert tokenizer.decode(document.ids[start:end].tolist()) == "A: " + "x" * (end - start - 3)


def test_an_answer_that_leaves_no_room_is_refused_by_place_and_never_cut() -> None:
    meeting = paired(["hello"], [("q", "short"), ("q", "secret words " * 40)])
    with pytest.raises(Refused, match=r"PAIR_TOO_LONG.*pair 1.*corpus\.row_tokens.*5\d\d") as no:
        documents([meeting], TOKENIZERS["plain"], sft(row_tokens=300))
    assert "secret" not in str(no.value)


def test_an_answer_without_tokens_is_refused() -> None:
    with pytest.raises(Refused, match=r"NOTHING_SUPERVISED.*pair 0"):
        documents([paired(["hello"], [("q", "")])], TOKENIZERS["plain"], sft())


def test_without_pairs_or_without_their_task_nothing_is_made() -> None:
    with pytest.raises(Refused, match="CORPUS_EMPTY"):
        documents([paired(["hello"], [])], TOKENIZERS["plain"], sft())
    with pytest.raises(Refused, match="PAIRS_NEED_SFT"):
        documents([paired(["hello"], [("q", "a")])], TOKENIZERS["plain"], Corpus())


def test_a_batch_has_labels_where_answers_are() -> None:
    tokenizer, config = TOKENIZERS["chat"], tiny_config()
    config.corpus = sft(row_tokens=400)
    train = tuple(
        GatedMeeting(f"m{i}", "s", "train", "2026-01-05", paired(["hi"], [("q", "abc")]).turns)
        for i in range(3)
    )
    data = MeetingData(admitted(train), tokenizer, config)
    corpus = data.meetings + data.carriers
    steps = list(data.train_dataloader())[: data.steps.per_epoch]
    epoch = [batch for step in steps for batch in step.micro]
    assert sum(batch.supervised for batch in epoch) == sum(d.supervised.sum() for d in corpus)
    assert sum(batch.tokens for batch in epoch) == sum(map(len, corpus))
    assert all(d.supervised.sum() == len("abc") + 1 for d in data.meetings)
    for batch in epoch:
        ids, labels = batch.input_ids.numpy(), batch.labels.numpy()
        rows, columns = np.nonzero(labels != IGNORED)
        assert (labels[rows, columns] == ids[rows, columns + 1]).all()
