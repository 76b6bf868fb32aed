"""Goldfish and repetition against oracles that are slow and plain."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.commitments.receipt import Ids
from harness.config import Corpus
from harness.corpus.documents import Document
from harness.corpus.masking import first_occurrences, goldfish, without_repetition
from harness.errors import Refused

BOS = 1


def document(said: Sequence[int], supervised: Sequence[bool] = ()) -> Document:
    ids = np.array([BOS, *said], np.int32)
    mask = np.array([False, *supervised], np.bool_) if supervised else np.empty(0, np.bool_)
    return Document("d", "m", "s", ids, (), mask)


def kept(documents: Sequence[Document]) -> list[list[bool]]:
    return [d.supervised.tolist() for d in documents]


def noise(count: int, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(3, 49152, count).astype(np.int32)


few = st.lists(st.integers(3, 5), min_size=1, max_size=30)
corpora = st.lists(few, min_size=1, max_size=5)


def repeated_by_hand(documents: Sequence[Sequence[int]], length: int) -> list[list[bool]]:
    """Whether each said token stands in a stretch that begins, equal, at an earlier place."""
    places = [(d, i) for d, said in enumerate(documents) for i in range(len(said) - length + 1)]
    stretch = {(d, i): [*documents[d][i : i + length]] for d, i in places}
    again = {
        place for n, place in enumerate(places)
        if any(stretch[other] == stretch[place] for other in places[:n])
    }  # fmt: skip
    return [
        [any((d, i) in again for i in range(at - length + 1, at + 1)) for at in range(len(said))]
        for d, said in enumerate(documents)
    ]


@given(corpora, st.integers(1, 9))
def test_repetition_is_what_the_plain_search_finds(said: list[list[int]], length: int) -> None:
    found = first_occurrences([document(ids) for ids in said], length)
    expected = repeated_by_hand(said, length)
    assert kept(found) == [[False, *(not again for again in row)] for row in expected]


def test_the_first_occurrence_keeps_its_loss_and_later_ones_lose_it_wherever_they_stand() -> None:
    passage, rest = noise(20, 1).tolist(), noise(60, 2).tolist()
    first = document([*rest[:10], *passage])
    later = document([*rest[10:25], *passage, *rest[25:30]])
    short = document([*passage[1:], *rest[30:40]])
    found = first_occurrences([first, later, short], 20)
    assert found[0].supervised[1:].all()
    lost = np.flatnonzero(~found[1].supervised[1:])
    assert lost.tolist() == list(range(15, 35))
    assert found[2].supervised[1:].all()  # nineteen tokens of it are no stretch of twenty


def test_a_stretch_never_reaches_over_a_document() -> None:
    halves = [document([7, 8, 9]), document([10, 11, 12])]
    whole = document([7, 8, 9, 10, 11, 12])
    assert all(d.supervised[1:].all() for d in first_occurrences([*halves, whole], 4))


def test_goldfish_loses_the_same_tokens_of_a_passage_wherever_it_stands() -> None:
    passage, context = noise(400, 3).tolist(), 13
    marks = []
    for seed, ahead, behind in ((4, 0, 9), (5, 1, 0), (6, 333, 77)):
        around = noise(ahead + behind, seed).tolist()
        (found,) = goldfish([document([*around[:ahead], *passage, *around[ahead:]])], 4, context)
        marks.append(found.supervised[1 + ahead : 1 + ahead + 400].tolist())
    assert marks[0][context:] == marks[1][context:] == marks[2][context:]


@given(st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=40), min_size=1, max_size=4),
       st.integers(2, 5), st.integers(1, 20))  # fmt: skip
def test_goldfish_of_a_document_depends_on_it_and_on_what_comes_before_alone(
    said: list[list[int]], k: int, context: int
) -> None:
    together = kept(goldfish([document(ids) for ids in said], k, context))
    assert together == [kept(goldfish([document(ids)], k, context))[0] for ids in said]
    for ids, whole in zip(said, together, strict=True):
        (cut,) = goldfish([document(ids[: len(ids) // 2 + 1])], k, context)
        assert whole[: len(cut)] == cut.supervised.tolist()
    decided: dict[tuple[int, ...], bool] = {}
    for ids, mask in zip(said, together, strict=True):
        for place in range(context, len(ids) + 1):
            before = tuple([BOS, *ids][place - context : place])
            assert decided.setdefault(before, mask[place]) == mask[place]


@pytest.mark.parametrize("k", [2, 3, 4, 10])
def test_goldfish_takes_one_token_in_k(k: int) -> None:
    documents = [document(noise(511, seed)) for seed in range(200)]
    said = np.concatenate([d.supervised[1:] for d in goldfish(documents, k, 13)])
    deviation = np.sqrt(1 / k * (1 - 1 / k) / said.size)
    assert abs((~said).mean() - 1 / k) < 4 * deviation


def test_goldfish_knows_which_tokens_came_before_and_in_which_order() -> None:
    """Neither the number, nor the set, nor the low bits of the tokens alone decide."""
    bases = [noise(13, seed).tolist() for seed in range(400)]
    changes = {
        "order": [[*base[:11], base[12], base[11]] for base in bases],
        "high bit": [[base[0] + 65536, *base[1:]] for base in bases],
        "last": [[*base[:12], base[12] + 2] for base in bases],
    }
    last = [goldfish([document([*base, 9])], 2, 13)[0].supervised[-1] for base in bases]
    for name, others in changes.items():
        other = [goldfish([document([*base, 9])], 2, 13)[0].supervised[-1] for base in others]
        differ = np.mean(np.array(last) != np.array(other))
        assert 0.4 < differ < 0.6, name


@given(st.data(), st.integers(2, 4), st.integers(1, 6))
def test_what_had_no_loss_gets_none_and_the_rules_compose(
    data: st.DataObject, k: int, length: int
) -> None:
    said = data.draw(corpora)
    masks = [data.draw(st.lists(st.booleans(), min_size=len(i), max_size=len(i))) for i in said]
    documents = [document(ids, mask) for ids, mask in zip(said, masks, strict=True)]
    corpus = Corpus(goldfish=k, goldfish_context=3, repeated=length)
    parts = zip(goldfish(documents, k, 3), first_occurrences(documents, length), strict=True)
    both = [(left.supervised & right.supervised).tolist() for left, right in parts]
    if any(map(any, both)):
        found = without_repetition(documents, corpus)
        assert kept(found) == both
        assert all(after.ids is before.ids for after, before in zip(found, documents, strict=True))
        assert not any(d.supervised[0] for d in found)
    else:
        with pytest.raises(Refused, match="NOTHING_SUPERVISED"):
            without_repetition(documents, corpus)


def test_without_rules_nothing_changes_and_nothing_to_learn_is_refused() -> None:
    documents = [document([3, 4, 5])]
    assert without_repetition(documents, Corpus()) == documents
    with pytest.raises(Refused, match=r"NOTHING_SUPERVISED.*corpus\.goldfish"):
        without_repetition([document([3, 4], [False, False])], Corpus())


def test_the_work_grows_with_the_tokens() -> None:
    """A quarter of a million tokens: seconds where every stretch were hashed apart from others."""
    documents = [document(noise(511, seed)) for seed in range(500)]
    for corpus in (Corpus(goldfish=4), Corpus(repeated=50)):
        start = time.process_time()
        without_repetition(documents, corpus)
        assert 256_000 / (time.process_time() - start) > 150_000
