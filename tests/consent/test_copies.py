"""The guard against copies: words, key, file, the rule held against a slow one, and QMSum."""

import hashlib
import hmac
import importlib.util
import itertools
import mmap
import random
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.consent.copies import (
    _FACTORS,
    CopyIndex,
    Rule,
    build_index,
    digest_utterance,
    is_made_from,
    key_id,
    words,
)
from harness.errors import Refused

KEY = bytes(range(32))
OTHER = bytes(range(32, 64))
ROOT = Path(__file__).parents[2]
QMSUM = ROOT.parent / "shared" / "data" / "qmsum"
HEADER = struct.Struct("<16s5H H Q Q 16s 16s 16s")
FIELDS = ["magic", "gram", "repeats", "span", "drift", "cover", "bits", "entries", "places"]

COMMON = st.sampled_from([f"w{n}" for n in range(12)])
RARE = st.integers(0, 400).map(lambda n: f"w{n}")


def texts(word: st.SearchStrategy[str], least: int, most: int) -> st.SearchStrategy[list[str]]:
    """Words of a document."""
    return st.lists(word, min_size=least, max_size=most)


@st.composite
def in_turns(draw: st.DrawFn, said: Sequence[str]) -> list[str]:
    """The words cut into turns anywhere; some turns are empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(said)), max_size=12)))
    return [" ".join(said[a:b]) for a, b in itertools.pairwise([0, *cuts, len(said)])]


def invented(seed: int, count: int) -> list[str]:
    """Words as rare as those of a large vocabulary."""
    rng = random.Random(seed)
    return [f"w{rng.randrange(3000)}" for _ in range(count)]


def index_of(*documents: Sequence[str], rule: Rule | None = None, key: bytes = KEY) -> CopyIndex:
    """The index of documents, made and read."""
    return CopyIndex.parse(build_index(documents, key, rule), key, "copies.bin")


def sealed(body: bytes, key: bytes = KEY) -> bytes:
    """A file as somebody with the key would make it."""
    secret = hmac.digest(key, b"\0harness/copies/v1/seal", "sha256")
    return body + hmac.digest(secret, body, "sha256")


def refusal(data: bytes, key: bytes = KEY) -> Refused:
    """What is said about a file that is not accepted."""
    with pytest.raises(Refused) as caught:
        CopyIndex.parse(data, key, "copies.bin")
    return caught.value


# --- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 4 o'clock , Mm-hmm .", "it s 4 o clock mm hmm"),
        ("IT’S ４ O’CLOCK — mm‑hmm…", "it s 4 o clock mm hmm"),
        ("it 's{vocalsound} 4 {disfmarker} o' clock, mm_hmm", "it s 4 o clock mm hmm"),
        ("pass\u00adword\u200b \u202eﬁle", "password file"),
        ("Straße STRASSE cafe\u0301 Café", "strasse strasse café café"),
        ("会议, テスト ok", "会 议 テ ス ト ok"),
        (" \t{gap}…", ""),
    ],
)  # fmt: skip
def test_words(text: str, expected: str) -> None:
    assert " ".join(words(text)) == expected


@given(st.text(st.characters(codec="utf-8")))
def test_words_are_stable(text: str) -> None:
    said = words(text)
    assert words(" ".join(said)) == said
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_of_ascii_is_the_long_way(text: str) -> None:
    assert words(f"{text} é") == [*words(text), "é"]
    assert words(text.upper()) == words(text.lower()) or "{" in text


# --- the digest of an utterance, and the key ---------------------------------------------------


def test_an_utterance_has_the_published_digest() -> None:
    said = words("We're going to sell 400 of them, I think.")
    expected = hmac.new(KEY, b"we re going to sell 400 of them i think", hashlib.sha256)
    assert digest_utterance(said, KEY) == expected.hexdigest() != digest_utterance(said, OTHER)


def test_short_utterances_and_short_keys_are_refused() -> None:
    with pytest.raises(Refused, match="UTTERANCE_TOO_SHORT"):
        digest_utterance(["yeah"] * 7, KEY)
    calls: list[Callable[[], object]] = [
        lambda: digest_utterance(["yeah"] * 8, KEY[1:]),
        lambda: key_id(b""),
        lambda: build_index([], KEY[1:]),
        lambda: CopyIndex.parse(build_index([], KEY), KEY[1:], "copies.bin"),
    ]
    for call in calls:
        with pytest.raises(Refused, match="INDEX_KEY_SHORT"):
            call()


# --- what is found -----------------------------------------------------------------------------


@given(st.data(), texts(RARE, 16, 120), texts(RARE, 0, 60), texts(RARE, 0, 60))
def test_an_exact_copy_is_found_wherever_it_is_cut(
    data: st.DataObject, excluded: list[str], before: list[str], after: list[str]
) -> None:
    assume(max(Counter(zip(*(excluded[n:] for n in range(4)), strict=False)).values()) <= 16)
    first = data.draw(st.integers(0, len(excluded) - 16))
    copied = excluded[first : data.draw(st.integers(first + 16, len(excluded)))]
    index = index_of(data.draw(in_turns(excluded)), invented(1, 50))
    turns = data.draw(in_turns(copied))
    flagged = index.flag([" ".join(before), *turns, " ".join(after)])[1:-1]
    assert flagged.tolist() == [bool(turn) for turn in turns]


@given(texts(COMMON, 0, 30), texts(COMMON, 0, 30), st.integers(2, 3), st.integers(3, 8))
@settings(max_examples=200)
def test_the_rule_is_that_of_a_slow_reading(
    excluded: list[str], said: list[str], gram: int, cover: int
) -> None:
    rule = Rule(gram=gram, repeats=255, span=12, drift=4, cover=max(gram, cover))
    stretches = index_of([" ".join(excluded)], rule=rule).flag_windows(said)
    pairs = itertools.product(range(len(said) - gram + 1), range(len(excluded) - gram + 1))
    hits = [
        (at, place - at) for at, place in pairs
        if said[at : at + gram] == excluded[place : place + gram]
    ]  # fmt: skip

    def dense(width: int) -> bool:
        return any(
            len({at + n for at, diagonal in hits for n in range(gram)
                 if 0 <= at - start <= rule.span - gram and 0 <= diagonal - low < width})
            >= rule.cover
            for start in range(len(said)) for low in {diagonal for _, diagonal in hits}
        )  # fmt: skip

    assert dense(rule.drift // 2 + 1) <= (len(stretches) > 0) <= dense(rule.drift)
    assert all(rule.cover <= after - first <= rule.span for first, after in stretches.tolist())


@given(texts(RARE, 0, 200))
def test_words_that_are_not_excluded_are_never_flagged(said: list[str]) -> None:
    index = index_of([" ".join(invented(2, 400)).replace("w", "x")])
    assert not index.flag([" ".join(said)]).any()
    assert index.flag_windows(said).shape == (0, 2)


def test_writing_does_not_matter() -> None:
    excluded = "I’m not sure the naïve café model — it's Ann's — will sell 400,000 units by May"
    index = index_of([excluded])
    copies = ["I'M NOT sure, the nai\u0308ve cafe\u0301 model (it 's {gap} Ann 's)",
              "", "will sell ４００，０００ units by\u200b may."]  # fmt: skip
    assert index.flag(copies).tolist() == [True, False, True]


def test_an_edited_copy_is_found_between_other_words() -> None:
    excluded, other = invented(3, 2000), invented(4, 300)
    edited = [word for n, word in enumerate(excluded[700:800]) if n % 7]
    turns = [" ".join(part) for part in (other[:150], edited, other[150:])]
    assert index_of([" ".join(excluded)]).flag(turns).tolist() == [False, True, False]


def test_evidence_of_two_documents_is_not_added_up() -> None:
    first, second = invented(5, 10), invented(6, 10)
    index = index_of([" ".join(first)], [" ".join(second)])
    assert not index.flag([" ".join(first + second)]).any()
    assert index_of([" ".join(first + second)]).flag([" ".join(first + second)]).all()


def test_more_copies_do_not_blind_the_guard() -> None:
    passage = invented(7, 60)
    documents = [[" ".join([*passage, f"version {n}"])] for n in range(40)]
    assert index_of(*documents).flag([" ".join(passage)]).all()


def test_nothing_excluded_and_nothing_said() -> None:
    for index in (index_of(), index_of([]), index_of(["", "yes of course"])):
        assert index.entries == 0
        assert index.flag([]).tolist() == []
        assert index.flag(["", "yes of course you can", "{gap}"]).tolist() == [False] * 3


# --- the file ----------------------------------------------------------------------------------


def test_order_and_repetition_of_documents_do_not_matter() -> None:
    documents = [[" ".join(invented(seed, 100))] for seed in range(5)]
    data = build_index(documents, KEY)
    assert build_index([*documents[::-1], documents[2]], KEY) == data
    assert build_index(documents[:4], KEY) != data != build_index(documents, KEY, Rule(cover=17))


def test_an_index_knows_what_it_was_made_from() -> None:
    document = [" ".join(invented(14, 50))]
    data = build_index([document], KEY, made_from="one")
    assert is_made_from(data, KEY, "one")
    assert not is_made_from(data, KEY, "other")
    assert not is_made_from(data, OTHER, "one")
    assert not is_made_from(data[:-1], KEY, "one")
    assert not is_made_from(build_index([document], KEY, Rule(cover=17), "one"), KEY, "one")


@given(st.integers(0, 500))
@settings(max_examples=20)
def test_size(count: int) -> None:
    data = build_index([[" ".join(f"w{n}" for n in range(count))]], KEY)
    entries = max(0, count - 3)
    index = CopyIndex.parse(data, KEY, "copies.bin")
    assert index.entries == entries
    assert len(data) <= 6.5 * entries + HEADER.size + 32 + 4


def test_two_files_of_one_key_have_nothing_in_common() -> None:
    common = invented(8, 500)
    files = [build_index([[" ".join(common[cut:])]], KEY) for cut in (0, 1)]
    masked = [set(struct.iter_unpack("4s", data[1000:2000])) for data in files]
    assert len(masked[0] & masked[1]) <= 1


def test_another_key_is_refused_and_would_find_nothing() -> None:
    passage = " ".join(invented(9, 200))
    data = build_index([[passage]], KEY)
    error = refusal(data, OTHER)
    assert error.code == "INDEX_KEY_MISMATCH"
    forged = data[:-32].replace(bytes.fromhex(key_id(KEY)), bytes.fromhex(key_id(OTHER)))
    index = CopyIndex.parse(sealed(forged, OTHER), OTHER, "copies.bin")
    assert not index.flag([passage]).any()
    assert CopyIndex.parse(data, KEY, "copies.bin").flag([passage]).all()


def test_every_truncation_and_every_flipped_bit_is_refused() -> None:
    data = build_index([[" ".join(invented(10, 24))]], KEY)
    codes = {refusal(data[:length]).code for length in range(len(data))}
    codes |= {refusal(data + b"\0").code}
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        codes.add(refusal(bytes(flipped)).code)
    assert codes == {"INDEX_INVALID", "INDEX_KEY_MISMATCH"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("magic", b"harness-copies-1"), ("gram", 1), ("gram", 9), ("gram", 17), ("repeats", 0),
        ("repeats", 256), ("span", 15), ("span", 5000), ("drift", 0), ("drift", 3), ("drift", 66),
        ("cover", 3), ("cover", 65), ("bits", 4), ("bits", 0), ("entries", 0), ("entries", 2**60),
        ("places", 3), ("places", 2**32), ("places", 2**63),
    ],
)  # fmt: skip
def test_a_sealed_file_with_a_wrong_header_is_refused(field: str, value: bytes | int) -> None:
    data = build_index([[" ".join(invented(11, 24))]], KEY)
    fields = list(HEADER.unpack_from(data))
    fields[FIELDS.index(field)] = value
    error = refusal(sealed(HEADER.pack(*fields) + data[HEADER.size : -32]))
    assert error.code == "INDEX_INVALID"


def test_a_sealed_file_with_entries_out_of_order_is_refused() -> None:
    data = bytearray(build_index([[" ".join(invented(12, 200))]], KEY)[:-32])
    sizes = np.frombuffer(data, np.uint8)[HEADER.size : HEADER.size + 64]
    tags = np.frombuffer(data, "<u2")[-197:]
    bucket = int(np.argmax(sizes > 1))
    pair = slice(first := int(sizes[:bucket].sum()), first + 2)
    tags[pair] = tags[pair][::-1].copy()
    assert refusal(sealed(bytes(data))).what == "entries out of order"
    tags[pair] = tags[pair][::-1].copy()
    CopyIndex.parse(sealed(bytes(data)), KEY, "copies.bin")
    sizes[0] += 1
    assert refusal(sealed(bytes(data))).what == "entries out of order"


def test_a_file_is_read_where_it_lies(tmp_path: Path) -> None:
    passage = " ".join(invented(13, 100))
    path = tmp_path / "copies.bin"
    path.write_bytes(build_index([[passage]], KEY))
    with path.open("rb") as file:
        index = CopyIndex.parse(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), KEY, "c")
    assert index.flag([passage]).all()


def test_neither_file_nor_message_holds_a_word() -> None:
    said = ["zanzibar", "quixotic", "marmalade", "periwinkle"] * 6
    data = build_index([[" ".join(said)]], KEY)
    with pytest.raises(Refused) as caught:
        digest_utterance(said[:7], KEY)
    messages = [caught.value, refusal(data[:-1]), refusal(data, OTHER), refusal(sealed(data[:90]))]
    for text in [*map(str, messages), *map(repr, messages), data.decode("latin-1")]:
        assert not any(word in text for word in said)


def test_sums_of_factors_keep_nearly_all_bits() -> None:
    factors = [int(factor) for factor in _FACTORS]
    sums = (
        sum(sign * factor for sign, factor in zip(signs, factors, strict=True)) % 2**64
        for signs in itertools.product((-1, 0, 1), repeat=len(factors)) if any(signs)
    )  # fmt: skip
    assert all(total % 2**13 for total in sums)


@pytest.mark.parametrize("changed", [{"gram": 1}, {"cover": 3}, {"drift": 5}, {"repeats": 0}])
def test_rules_out_of_range_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(Refused, match="INDEX_INVALID"):
        Rule(**changed)


# --- QMSum -------------------------------------------------------------------------------------


def bench() -> ModuleType:
    """The benchmark, whose edits and counts are used here on fewer passages."""
    spec = importlib.util.spec_from_file_location("bench_copies", ROOT / "scripts/bench/copies.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not QMSUM.is_dir(), reason=f"QMSum is not at {QMSUM}")
def test_copies_of_qmsum_meetings_are_found() -> None:
    copies, rng = bench(), random.Random(11)
    meetings = rng.sample(meetings := copies.read(QMSUM), len(meetings))
    excluded, clean = meetings[:60], meetings[60:]
    data = build_index(excluded, KEY)
    index = CopyIndex.parse(data, KEY, "copies.bin")
    said = [[word for turn in meeting for word in words(turn)] for meeting in excluded]
    pool = [word for meeting in said for word in meeting]
    passages = rng.sample([p for meeting in said for p in copies.windows(meeting)], 400)
    for percent, least in {0: 0.997, 10: 0.99, 20: 0.93, 30: 0.69}.items():
        assert copies.recall(index, passages, percent, pool, rng) >= least
    assert copies.false_alarms(index, clean[:40])["false alarms"] <= 0.016
    assert copies.speed(data, KEY, clean[:20]) >= 500_000
    assert len(data) <= 7 * len(pool)
