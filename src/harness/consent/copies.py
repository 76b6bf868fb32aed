"""The guard against copies: excluded content that comes back in another meeting, chat or quote.

Made once by whoever signs the manifest: an index of the four-word runs of excluded content, under
a key. Asked of each document: which turns hold a stretch of words that stands in excluded content
in the same order. What that finds, what it misses and what was measured: ``docs/copies.md``.

The index is the encrypted multimap of Cash et al. (NDSS 2014, scheme Π_bas): the n-th occurrence
of a run is filed under a pseudo-random label of (run, n), and where it stands is masked by more
bits of the same pseudo-random block. Without the key a file tells how many entries it has, and
nothing about which run is where or how often. Matches count only near one diagonal, as in FASTA
(Lipman and Pearson, Science 227, 1985), so that chance matches of common runs do not add up.
"""

import hmac
import mmap
import re
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from harness.consent.invisible import visible
from harness.errors import Refused

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

MIN_UTTERANCE_WORDS = 8
MIN_KEY_BYTES = 32

# --- words -----------------------------------------------------------------------------------

_MARKER = re.compile(r"\{[a-z]+\}")  # {vocalsound}: markup of QMSum, which no copy needs to keep
_ASCII = bytes(
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256)
)
# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words that are compared, of a turn or any other text without its speaker label.

    Markers (``{vocalsound}``: lower-case letters in braces) and invisible characters are taken out;
    the rest is brought to the form of Unicode's compatibility caseless matching (definition D146:
    NFD, case folded, NFKC, case folded, NFKC). A word is then the longest run of letters and
    digits; in scripts written without spaces each character is one. Apostrophes part words, so
    that ``it's``, ``it’s`` and ``it 's`` are the same two.
    """
    if "{" in text:
        text = _MARKER.sub(" ", text)
    if text.isascii():  # the same, ten times as fast
        return text.encode().translate(_ASCII).decode().split()
    return _WORD.findall(_caseless(visible(text)))


def _caseless(text: str) -> str:
    text = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def digest_utterance(words: Sequence[str], key: bytes) -> str:
    """The value of an exclusion rule of kind ``utterance``.

    Args:
        words: a turn's words, from :func:`words`; at least 8, since shorter turns are said by
            everybody (``docs/copies.md``).
        key: the key of the manifest's index, 32 bytes or more.

    Returns:
        HMAC-SHA256, in hexadecimal, of the words joined by one space, in UTF-8.

    Raises:
        Refused: ``UTTERANCE_TOO_SHORT``, ``INDEX_KEY_SHORT``.
    """
    if len(words) < MIN_UTTERANCE_WORDS:
        raise Refused("UTTERANCE_TOO_SHORT", f"a turn of fewer than {MIN_UTTERANCE_WORDS} words",
                      remedy="exclude it by its place, with a rule of kind turn")  # fmt: skip
    return hmac.digest(_checked(key), " ".join(words).encode(), "sha256").hex()


# --- the key ---------------------------------------------------------------------------------


def key_id(key: bytes) -> str:
    """32 hexadecimal digits that tell keys apart and do not reveal them.

    Raises:
        Refused: ``INDEX_KEY_SHORT``.
    """
    return _subkey(key, b"key id")[:16].hex()


def _subkey(key: bytes, purpose: bytes) -> bytes:
    # The zero byte keeps these apart from utterances, which hold none.
    return hmac.digest(_checked(key), b"\0harness/copies/v1/" + purpose, "sha256")


def _checked(key: bytes) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise Refused("INDEX_KEY_SHORT", f"a key of fewer than {MIN_KEY_BYTES} bytes",
                      remedy="make one with: openssl rand -hex 32")  # fmt: skip
    return key


# --- from words to pseudo-random blocks --------------------------------------------------------

# Odd, and no signed sum of some of them is divisible by more than 2^12 (tests/consent/
# test_copies.py): so two different runs of words, whose numbers are secret and random, get equal
# sums with a chance of 2^-52 at most.
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93,
     0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3],
    np.uint64,
)  # fmt: skip


class _Words(dict[str, int]):
    """Each word's 64-bit number, HMAC-SHA256 under the key, made when first asked for."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self.key = _subkey(key, b"word")

    def __missing__(self, word: str) -> int:
        digest = hmac.digest(self.key, word.encode(), "sha256")
        self[word] = number = int.from_bytes(digest[:8], "little")
        return number

    def numbers(self, words: Sequence[str]) -> U64:
        if len(self) > 1 << 18:  # a corpus has more words than a document: start anew
            self.clear()
        return np.fromiter(map(self.__getitem__, words), np.uint64, len(words))


def _sums(numbers: U64, gram: int) -> U64:
    """One 64-bit number for each run of ``gram`` words; sums wrap around."""
    count = max(0, len(numbers) - gram + 1)
    total = np.zeros(count, np.uint64)
    for place in range(gram):
        total += _FACTORS[place] * numbers[place : place + count]
    return total


class _Blocks:
    """AES-256 of (run, occurrence): a pseudo-random function with 128 bits of output.

    A block cipher is one for any feasible number of blocks (the PRP/PRF switching lemma), and one
    call enciphers a document; ECB is that function, and no block is ever given twice.
    """

    def __init__(self, key: bytes, salt: bytes) -> None:
        secret = _subkey(key, b"runs/" + salt)
        self._cipher = Cipher(algorithms.AES256(secret), modes.ECB())

    def of(self, runs: U64, occurrences: npt.ArrayLike) -> tuple[U64, npt.NDArray[np.uint32]]:
        """Label (64 bits) and mask (32 bits) of the n-th occurrence of each run."""
        clear = np.empty((len(runs), 2), "<u8")
        clear[:, 0] = runs
        clear[:, 1] = occurrences
        block = np.frombuffer(self._cipher.encryptor().update(clear.tobytes()), "<u8")
        return block[::2], block[1::2].astype(np.uint32)


# --- the file ----------------------------------------------------------------------------------

_MAGIC = b"harness-copies-2"
# magic, rule, bits of a bucket's number, entries, places, key id, salt, what it was made from
_HEADER = struct.Struct("<16s5H H Q Q 16s 16s 16s")
_SEAL_BYTES = 32
_TAG_BITS = 16


@dataclass(frozen=True, slots=True)
class Rule:
    """When a stretch of words counts as a copy.

    Attributes:
        gram: length in words of the runs that are indexed.
        repeats: how many occurrences of a run are kept, the first in an order made by the key.
        span: length in words of the stretch in which evidence is added up.
        drift: a net gain or loss of this many words parts evidence; of half as many, never.
        cover: words of a span that matching runs must cover.
    """

    gram: int = 4
    repeats: int = 16
    span: int = 64
    drift: int = 12
    cover: int = 16

    def __post_init__(self) -> None:
        if not (2 <= self.gram <= len(_FACTORS) and 1 <= self.repeats <= 255
                and self.gram <= self.cover <= self.span <= 4096
                and 2 <= self.drift <= self.span and self.drift % 2 == 0):  # fmt: skip
            raise Refused("INDEX_INVALID", "a rule out of range", remedy="see docs/copies.md")

    @property
    def gap(self) -> int:
        """Words between two documents in the count of places: no stretch lies on both."""
        return self.span + self.drift


def build_index(
    documents: Iterable[Sequence[str]], key: bytes, rule: Rule | None = None, made_from: str = ""
) -> bytes:
    """Make the index of excluded content.

    The same documents, in whatever order and however often, give the same bytes.

    Args:
        documents: for each excluded content its turns in order, texts without speaker labels.
        key: 32 secret bytes or more, kept outside manifest and run.
        rule: what counts as a copy; None for the one that was measured.
        made_from: a digest of all that the documents follow from, for :func:`is_made_from`.

    Returns:
        The file, about 6 bytes for each word.

    It needs some 60 bytes of memory for each word while it works.

    Raises:
        Refused: ``INDEX_KEY_SHORT``; ``INDEX_TOO_LARGE`` from about 2^32 words on.
    """
    rule = rule or Rule()
    runs, places, total, digests = _excluded_runs(documents, key, rule)
    # Derived, not drawn: files are reproducible, and two different ones share no label.
    salt = _subkey(key, b"salt/" + repr(astuple(rule)).encode() + b"".join(digests))[:16]
    runs, places, occurrences = _numbered(runs, places, rule.repeats)
    labels, masks = _Blocks(key, salt).of(runs, occurrences)
    bits = _bits(len(runs))
    order = np.argsort(labels)
    labels = labels[order]
    sizes = np.bincount(_buckets(labels, bits), minlength=1 << bits)
    places = (places.astype(np.uint32) ^ masks)[order]
    header = _HEADER.pack(_MAGIC, *astuple(rule), bits, len(runs), total,
                          _subkey(key, b"key id")[:16], salt, _source(key, made_from))  # fmt: skip
    body = b"".join((header, sizes.astype(np.uint8).tobytes(), places.astype("<u4").tobytes(),
                     _tags(labels, bits).astype("<u2").tobytes()))  # fmt: skip
    return body + _seal(key, memoryview(body))


def is_made_from(data: bytes, key: bytes, made_from: str) -> bool:
    """Whether a file is a whole index of this key, of the rule that was measured and of a source.

    Args:
        data: the file.
        key: 32 secret bytes or more.
        made_from: as for :func:`build_index`.
    """
    try:
        index = CopyIndex.parse(data, key, "")
    except Refused:
        return False
    return index.rule == Rule() and index.source == _source(key, made_from)


def _source(key: bytes, made_from: str) -> bytes:
    return _subkey(key, b"made from/" + made_from.encode())[:16]


def _excluded_runs(
    documents: Iterable[Sequence[str]], key: bytes, rule: Rule
) -> tuple[U64, U64, int, list[bytes]]:
    """Runs and their places in a count through all documents, the count, the documents' digests."""
    table, secret = _Words(key), _subkey(key, b"document")
    found: dict[bytes, U64] = {}
    for document in documents:
        runs = _sums(table.numbers([word for turn in document for word in words(turn)]), rule.gram)
        if len(runs):
            found[hmac.digest(secret, runs.tobytes(), "sha256")] = runs
    digests = sorted(found)
    lengths = np.array([len(found[digest]) + rule.gap for digest in digests], np.int64)
    total = int(lengths.sum())
    if total >= 1 << 32:
        raise Refused("INDEX_TOO_LARGE", "too many words for one index",
                      remedy="split the excluded content over several")  # fmt: skip
    starts = np.cumsum(lengths) - lengths
    places = [
        start + np.arange(len(found[digest])) for start, digest in zip(starts, digests, strict=True)
    ]
    empty = np.zeros(0, np.uint64)
    runs = np.concatenate([empty, *(found[digest] for digest in digests)])
    return runs, np.concatenate([empty, *places]).astype(np.uint64), total, digests


def _numbered(runs: U64, places: U64, repeats: int) -> tuple[U64, U64, I64]:
    """The first occurrences of each run, with their numbers from 0.

    Too common runs are cut short, not left out: else whoever adds copies of a passage to the
    excluded content would make the guard blind to it.
    """
    order = np.argsort(runs, kind="stable")
    runs, places = runs[order], places[order]
    _, starts, counts = np.unique(runs, return_index=True, return_counts=True)
    occurrences = np.arange(len(runs)) - np.repeat(starts, counts)
    kept = occurrences < repeats
    return runs[kept], places[kept], occurrences[kept]


def _bits(entries: int) -> int:
    """How many first bits of a label are its bucket's number: 2 to 4 entries for each bucket."""
    return max(2, (entries // 2).bit_length() - 1)


def _buckets(labels: U64, bits: int) -> I64:
    return (labels >> np.uint64(64 - bits)).astype(np.int64)


def _tags(labels: U64, bits: int) -> npt.NDArray[np.uint16]:
    return (labels >> np.uint64(64 - bits - _TAG_BITS)).astype(np.uint16)


def _seal(key: bytes, body: memoryview) -> bytes:
    return hmac.digest(_subkey(key, b"seal"), body, "sha256")


def _header(data: memoryview, key: bytes, where: str) -> tuple[Rule, int, int, bytes, bytes]:
    """Rule, numbers of entries and places, salt, source; after the whole file was checked."""
    if len(data) < _HEADER.size + _SEAL_BYTES:
        raise _invalid("too short to be an index", where)
    magic, *rule, bits, entries, total, keyed, salt, source = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise _invalid("not an index of excluded content, or of another version", where)
    if keyed.hex() != key_id(key):
        raise Refused("INDEX_KEY_MISMATCH", "made with another key", where,
                      "give the key it was made with, or make it again")  # fmt: skip
    size = _HEADER.size + (1 << _bits(entries)) + 6 * entries + _SEAL_BYTES
    if bits != _bits(entries) or len(data) != size or not entries <= total < 1 << 32:
        raise _invalid("not as long as it says", where)
    if not hmac.compare_digest(_seal(key, data[:-_SEAL_BYTES]), data[-_SEAL_BYTES:]):
        raise _invalid("changed after it was made", where)
    return _rule(rule, where), entries, total, salt, source


def _rule(numbers: list[int], where: str) -> Rule:
    try:
        return Rule(*numbers)
    except Refused as error:
        raise _invalid(error.what, where) from None


def _invalid(what: str, where: str) -> Refused:
    return Refused("INDEX_INVALID", what, where, "restore the file, or make it again")


class CopyIndex:
    """An index that was read and checked; made by :meth:`parse`.

    Attributes:
        rule: what counts as a copy.
        entries: number of indexed occurrences of runs.
        source: under the key, what it was made from.
    """

    def __init__(self, data: memoryview, key: bytes, where: str) -> None:
        self.rule, self.entries, self._total, salt, self.source = _header(data, key, where)
        self._table, self._blocks = _Words(key), _Blocks(key, salt)
        self._bits = _bits(self.entries)
        sizes = np.frombuffer(data, np.uint8, 1 << self._bits, _HEADER.size)
        at = _HEADER.size + len(sizes)
        self._places = np.frombuffer(data, "<u4", self.entries, at)
        self._tags = np.frombuffer(data, "<u2", self.entries, at + 4 * self.entries)
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        if self._starts[-1] != self.entries or not self._is_sorted():
            raise _invalid("entries out of order", where)

    @classmethod
    def parse(cls, data: bytes | memoryview | mmap.mmap, key: bytes, where: str) -> "CopyIndex":
        """Read an index strictly; entries stay where ``data`` is, in memory or on disk.

        Args:
            data: the whole file.
            key: the key it was made with.
            where: name of the file, for messages.

        Raises:
            Refused: ``INDEX_INVALID``, ``INDEX_KEY_MISMATCH``, ``INDEX_KEY_SHORT``.
        """
        return cls(memoryview(data), key, where)

    def flag(self, turns: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which turns of a document hold a word of a stretch that counts as a copy.

        Args:
            turns: the document's texts in order, without speaker labels.

        Returns:
            One truth value per turn; False for a turn without words.
        """
        said = [words(turn) for turn in turns]
        ends = np.cumsum([0, *map(len, said)])
        stretches = self.flag_windows([*chain.from_iterable(said)])
        depth = np.zeros(ends[-1] + 1, np.int64)
        for column, step in ((0, 1), (1, -1)):
            depth += step * np.bincount(stretches[:, column], minlength=len(depth))
        before = np.concatenate([[0], np.cumsum(np.cumsum(depth)[:-1] > 0)])
        flagged: npt.NDArray[np.bool_] = np.diff(before[ends]) > 0
        return flagged

    def flag_windows(self, words: Sequence[str]) -> I64:
        """The stretches of a document that count as copies; they overlap.

        Args:
            words: the document's words in order, from :func:`words`, over all turns.

        Returns:
            Array [stretches, 2]: first word, and word after the last, ``rule.span`` words at most.
        """
        at, places = self._matches(_sums(self._table.numbers(words), self.rule.gram))
        halves = (places - at + len(words)) // (self.rule.drift // 2)
        # A band is two halves, and each half is in two bands: near diagonals share one of them.
        return np.concatenate([self._dense(at, (halves + shift) // 2) for shift in (0, 1)])

    def _dense(self, at: I64, bands: I64) -> I64:
        """Stretches of one band each, from one matching run to another, that are covered enough."""
        gram, span = self.rule.gram, self.rule.span
        keys = np.sort(bands << 32 | at)
        covered = np.cumsum(np.minimum(np.diff(keys, prepend=keys[:1]), gram))
        first = np.searchsorted(keys, keys - (span - gram))
        dense = np.flatnonzero(covered - covered[first] + gram >= self.rule.cover)
        at = keys & 0xFFFFFFFF
        return np.stack([at[first[dense]], at[dense] + gram], axis=1)

    def _matches(self, runs: U64) -> tuple[I64, I64]:
        """Where runs of a document stand in it, and in the excluded content: all pairs."""
        at = np.arange(len(runs))
        found, places = [at[:0]], [at[:0]]
        for occurrence in range(self.rule.repeats):
            which, place = self._find(runs[at], occurrence)
            at = at[which]
            found.append(at)
            places.append(place)
            if not len(at):
                break
        return np.concatenate(found), np.concatenate(places)

    def _find(self, runs: U64, occurrence: int) -> tuple[I64, I64]:
        """Which runs have an n-th occurrence, and where."""
        labels, masks = self._blocks.of(runs, occurrence)
        buckets, tags = _buckets(labels, self._bits), _tags(labels, self._bits)
        starts = self._starts[buckets]
        sizes = self._starts[buckets + 1] - starts
        which = np.repeat(np.arange(len(runs)), sizes)
        entries = np.arange(len(which)) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
        equal = np.flatnonzero(self._tags[entries] == tags[which])
        which, entries = which[equal], entries[equal]
        places = (self._places[entries] ^ masks[which]).astype(np.int64)
        real = places < self._total  # a tag that is equal by chance gives any place
        return which[real], places[real]

    def _is_sorted(self) -> bool:
        falls = np.flatnonzero(self._tags[1:] < self._tags[:-1]) + 1
        return bool(np.array_equal(self._starts[np.searchsorted(self._starts, falls)], falls))
