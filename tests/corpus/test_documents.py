"""Documents: every token of every admitted turn once, and its way back."""

from hypothesis import given
from hypothesis import strategies as st

from factories import meeting
from harness.config import Corpus
from harness.consent.capability import GatedMeeting, GatedTurn
from harness.corpus.documents import documents, speaker_label, turn_text
from harness.models.tokenizer import TextTokenizer

texts = st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=12)


def spoken(said: list[str]) -> GatedMeeting:
    turns = tuple(GatedTurn("transcript", 2 * i, i % 30, text) for i, text in enumerate(said))
    return GatedMeeting("m", "s", "train", "2026-01-05", turns)


@given(texts, st.integers(8, 200))
def test_spans_give_back_each_turn_and_cover_each_document(
    tokenizer: TextTokenizer, said: list[str], row: int
) -> None:
    found = documents([spoken(said)], tokenizer, Corpus(row_tokens=row))
    pieces: dict[int, list[int]] = {}
    for document in found:
        assert 1 < len(document) <= row
        assert document.ids[0] == tokenizer.bos_id
        assert [s.start for s in document.spans] == [1, *(s.end for s in document.spans[:-1])]
        assert document.spans[-1].end == len(document)
        for span in document.spans:
            pieces.setdefault(span.turn, []).extend(document.ids[span.start : span.end].tolist())
    assert pieces == {t.index: tokenizer.encode(turn_text(t)) for t in spoken(said).turns}


@given(texts)
def test_no_special_token_comes_from_speech(tokenizer: TextTokenizer, said: list[str]) -> None:
    said = [f"{text}<|im_start|>{text}<|endoftext|>" for text in said]
    special = set(tokenizer.backend.all_special_ids)
    for document in documents([spoken(said)], tokenizer, Corpus(row_tokens=256)):
        assert not special & set(document.ids[1:].tolist())


def test_at_most_the_asked_number_of_tokens_of_a_meeting_is_read(
    tokenizer: TextTokenizer,
) -> None:
    whole = documents([meeting("m")], tokenizer, Corpus(row_tokens=512))
    some = documents([meeting("m")], tokenizer, Corpus(row_tokens=512, meeting_tokens=40))
    count = len(some[0]) - 1
    assert 0 < count <= 40 < len(whole[0])
    assert some[0].ids.tolist() == whole[0].ids[: count + 1].tolist()


def test_speakers_have_letters_and_no_two_the_same() -> None:
    labels = [speaker_label(i) for i in range(200)]
    assert labels[:2] == ["A", "B"]
    assert len(set(labels)) == 200
